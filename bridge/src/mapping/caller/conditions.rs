//! What long-running operations say of objects after the requests that began them are over: as conditions, for
//! `kubectl wait`.

use std::collections::HashMap;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{MappedCaller, operation::Operation};
use crate::{
    caller::{Call, CallError, Caller, Class, Code},
    env::Env,
    mapping::{
        object::Operated,
        plan::{About, OperationsPlan, Plan},
    },
    proto::{Condition, Time},
    wire,
};

const LIST: &str = "/google.longrunning.Operations/ListOperations";
/// How many pages of operations are looked at.
const PAGES: usize = 10;
const PAGE: i32 = 100;

/// `google.longrunning.ListOperationsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct ListRequest {
    #[prost(int32, tag = "2")]
    page_size: i32,
    #[prost(string, tag = "3")]
    page_token: String,
    /// The collection.
    #[prost(string, tag = "4")]
    name: String,
}

/// `google.longrunning.ListOperationsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    operations: Vec<Operation>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

/// What operations say, at one time.
#[derive(Debug)]
pub(super) enum Known {
    /// They say nothing: the resource has none, or the service does not list them.
    Nothing,
    /// They could not be listed.
    Unavailable,
    /// By resource name, the last one of each that has one.
    Of(HashMap<String, Last>),
}

/// The last operation of an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Last {
    name: String,
    begun: Option<i64>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Running,
    Done,
    /// Why.
    Failed(String),
}

impl<C: Caller, E: Env> MappedCaller<C, E> {
    /// What operations say of the objects of a plan.
    pub(super) async fn operations(&self, plan: &Plan) -> Known {
        let Some(operations) = plan.operations.as_ref().filter(|found| found.listed.get() != Some(false))
        else {
            return Known::Nothing;
        };
        match self.list_operations(operations).await {
            Ok(found) => Known::Of(found),
            Err(CallError::Status(error)) if error.code == Code::Unimplemented => {
                operations.listed.set(false);
                Known::Nothing
            }
            // An object is shown all the same.
            Err(_) => Known::Unavailable,
        }
    }

    async fn list_operations(&self, plan: &OperationsPlan) -> Result<HashMap<String, Last>, CallError> {
        let mut found: HashMap<String, Last> = HashMap::new();
        let mut page_token = String::new();
        for _ in 0..PAGES {
            let request = ListRequest { page_size: PAGE, page_token, name: "operations".to_owned() };
            let message = request.encode_to_vec().into();
            let answer = self.inner.unary(Call { path: LIST.into(), message, class: Class::Read }).await?;
            let answer = ListResponse::decode(answer)
                .map_err(|error| super::errors::status(Code::Internal, error.to_string()))?;
            for operation in answer.operations {
                if let Some((resource, last)) = read(plan, operation)
                    && found.get(&resource).is_none_or(|known| follows(&last, known))
                {
                    found.insert(resource, last);
                }
            }
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

/// Whether `last` says more of the present than `known`: it is running, or began later, or comes later in the list.
fn follows(last: &Last, known: &Last) -> bool {
    match (&last.state, &known.state) {
        (State::Running, _) => true,
        (_, State::Running) => false,
        _ => match (last.begun, known.begun) {
            (Some(last), Some(known)) => last >= known,
            _ => true,
        },
    }
}

/// Which object an operation is about, and how it is.
fn read(plan: &OperationsPlan, operation: Operation) -> Option<(String, Last)> {
    let metadata = operation.metadata?;
    let about: &About = plan.about.get(metadata.type_url.rsplit('/').next()?)?;
    let resource = wire::message_field(&metadata.value, about.resource).ok()?;
    let resource = String::from_utf8(resource.into_owned()).ok()?;
    let begun = about.begun.and_then(|number| {
        let time = wire::message_field(&metadata.value, number).ok()?;
        Some(Time::decode(&*time).ok()?.seconds)
    });
    let state = match (operation.done, operation.error) {
        (false, _) => State::Running,
        (true, None) => State::Done,
        (true, Some(error)) => State::Failed(error.message),
    };
    Some((resource, Last { name: operation.name, begun, state }))
}

impl Known {
    /// The conditions of the object with a resource name.
    pub(super) fn of(&self, resource: &str) -> Operated {
        let condition = |kind: &str, status: &str, reason: &str, message: String| Condition {
            r#type: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            ..Condition::default()
        };
        match self {
            Self::Nothing => Operated::default(),
            Self::Unavailable => {
                let why = "the backend's operations could not be listed".to_owned();
                let ready = condition("Ready", "Unknown", "OperationsUnavailable", why);
                Operated { conditions: vec![ready], mark: String::new() }
            }
            Self::Of(found) => {
                let last = found.get(resource);
                let conditions = match last.map(|last| (last, &last.state)) {
                    None | Some((_, State::Done)) => {
                        vec![condition("Ready", "True", "Settled", "no operation is running".to_owned())]
                    }
                    Some((last, State::Running)) => {
                        let why = format!("{} is running", last.name);
                        vec![
                            condition("Ready", "False", "OperationRunning", why.clone()),
                            condition("Reconciling", "True", "OperationRunning", why),
                        ]
                    }
                    Some((last, State::Failed(error))) => {
                        let why = format!("{} failed: {error}", last.name);
                        vec![
                            condition("Ready", "False", "OperationFailed", why.clone()),
                            condition("Stalled", "True", "OperationFailed", why),
                        ]
                    }
                };
                let mark = last.filter(|last| last.state != State::Done).map(mark).unwrap_or_default();
                Operated { conditions, mark }
            }
        }
    }
}

/// A few letters for an operation and how it is.
fn mark(last: &Last) -> String {
    let running = last.state == State::Running;
    let digest = Sha256::digest(format!("{running} {}", last.name));
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
