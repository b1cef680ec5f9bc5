//! `google.longrunning.Operation`: waited for within the request.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::{MappedCaller, errors::status};
use crate::{
    caller::{BackendStatus, Call, CallError, Caller, Class, Code, Detail},
    env::Env,
    mapping::plan::Plan,
    proto::rpc,
    status::details,
};

const GET: &str = "/google.longrunning.Operations/GetOperation";
const WAIT: &str = "/google.longrunning.Operations/WaitOperation";
/// The pauses between two looks at an operation, in milliseconds; the last is repeated.
const PAUSES: [u64; 6] = [20, 50, 100, 250, 500, 1000];

/// `google.longrunning.Operation`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Operation {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<prost_types::Any>,
    #[prost(bool, tag = "3")]
    pub(super) done: bool,
    #[prost(message, optional, tag = "4")]
    pub(super) error: Option<rpc::Status>,
    #[prost(message, optional, tag = "5")]
    pub(super) response: Option<prost_types::Any>,
}

/// `google.longrunning.GetOperationRequest`, and WaitOperationRequest.
#[derive(Clone, PartialEq, prost::Message)]
struct OperationRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    timeout: Option<prost_types::Duration>,
}

impl<C: Caller, E: Env> MappedCaller<C, E> {
    /// What an operation ends in; `None`: in nothing. Waits for its end as long as the request may take.
    pub(super) async fn finished(&self, plan: &Plan, answer: Bytes) -> Result<Option<Bytes>, CallError> {
        let mut operation = decode(plan, answer)?;
        let mut waits = true;
        for turn in 0.. {
            if operation.done {
                break;
            }
            let Some(left) = self.left() else { return Err(still_running(&operation.name)) };
            // A WaitOperation may answer at once, too: not before what was there has had time to change.
            if turn > 0 || !waits {
                let pause = PAUSES.get(turn).or(PAUSES.last()).copied().unwrap_or(1000);
                self.env.sleep(Duration::from_millis(pause).min(left)).await;
            }
            match self.look(&operation.name, waits.then_some(left)).await {
                Ok(answer) => operation = decode(plan, answer)?,
                Err(CallError::Status(error)) if waits && error.code == Code::Unimplemented => waits = false,
                // Waiting took as long as it may, or the way to the backend broke: the operation goes on.
                Err(CallError::Status(error)) if error.code == Code::DeadlineExceeded => {}
                Err(CallError::Status(error)) if error.code != Code::Unavailable => {
                    return Err(CallError::Status(error));
                }
                Err(_) => return Err(still_running(&operation.name)),
            }
        }
        if let Some(error) = operation.error {
            return Err(CallError::Status(Box::new(BackendStatus {
                code: Code::from_number(error.code),
                details: details(&error),
                message: error.message,
            })));
        }
        Ok(operation.response.map(|any| any.value.into()))
    }

    /// How much time is left for waiting; `None`: none.
    fn left(&self) -> Option<Duration> {
        match self.deadline {
            None => Some(Duration::from_secs(60)),
            Some(deadline) => deadline.duration_since(self.env.now()).ok().filter(|left| !left.is_zero()),
        }
    }

    async fn look(&self, name: &str, wait: Option<Duration>) -> Result<Bytes, CallError> {
        let timeout = wait.map(|left| prost_types::Duration {
            seconds: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(left.subsec_nanos()).unwrap_or_default(),
        });
        let request = OperationRequest { name: name.to_owned(), timeout };
        let path = if wait.is_some() { WAIT } else { GET };
        let message = request.encode_to_vec().into();
        self.inner.unary(Call { path: path.into(), message, class: Class::Read }).await
    }
}

fn decode(plan: &Plan, answer: Bytes) -> Result<Operation, CallError> {
    Operation::decode(answer)
        .map_err(|error| status(Code::Internal, format!("an operation of a {}: {error}", plan.kind)))
}

/// The write goes on without us.
fn still_running(name: &str) -> CallError {
    CallError::Status(Box::new(BackendStatus {
        code: Code::DeadlineExceeded,
        message: format!("the operation {name} is not done"),
        details: vec![Detail::StillRunning { operation: name.to_owned() }],
    }))
}
