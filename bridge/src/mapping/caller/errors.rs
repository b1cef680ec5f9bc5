//! What the service says of its own fields, in the words of the contract form.

use crate::{
    caller::{BackendStatus, CallError, Code, Detail, FieldViolation},
    mapping::{
        facts::Home,
        object::Unfit,
        plan::{MethodPlan, Plan},
    },
    wire::Malformed,
};

pub(super) fn status(code: Code, message: impl Into<String>) -> CallError {
    CallError::Status(Box::new(BackendStatus { code, message: message.into(), details: Vec::new() }))
}

/// The service's message is no protobuf. Which one is for the log.
pub(super) fn malformed(plan: &Plan) -> impl Fn(Malformed) -> CallError {
    move |error| status(Code::Internal, format!("{}: {error}", plan.message.full_name()))
}

/// The service's message is no object.
pub(super) fn unfit(plan: &Plan) -> impl Fn(Unfit) -> CallError {
    move |why| match why {
        Unfit::Malformed(error) => malformed(plan)(error),
        Unfit::Name(name) => status(
            Code::Internal,
            format!(
                "the backend calls a {} {name:?}, which fits no pattern of its names; write `names: {{patterns: [...]}}` \
                 in a mapping file",
                plan.kind
            ),
        ),
    }
}

/// INVALID_ARGUMENT with what is wrong with fields: path, description, reason.
pub(super) fn invalid(violations: Vec<(String, &str, &str)>) -> CallError {
    let violations = violations
        .into_iter()
        .map(|(field, description, reason)| FieldViolation {
            field,
            description: description.to_owned(),
            reason: reason.to_owned(),
        })
        .collect();
    CallError::Status(Box::new(BackendStatus {
        code: Code::InvalidArgument,
        message: "the object is not valid".to_owned(),
        details: vec![Detail::FieldViolations(violations)],
    }))
}

/// The same error, with the paths of fields as the contract form has them.
pub(super) fn translated(plan: &Plan, method: &MethodPlan, error: CallError) -> CallError {
    let CallError::Status(mut status) = error else { return error };
    for detail in &mut status.details {
        match detail {
            Detail::FieldViolations(violations) => {
                for violation in violations {
                    violation.field = path(plan, method, &violation.field);
                }
            }
            Detail::PreconditionViolations(violations) => {
                for violation in violations {
                    violation.subject = path(plan, method, &violation.subject);
                }
            }
            Detail::QuotaViolations(_)
            | Detail::RetryAfter(_)
            | Detail::StillRunning { .. }
            | Detail::ErrorInfo { .. } => {}
        }
    }
    CallError::Status(status)
}

/// "book.author.name", "author.name" -> "spec.author.name"; "parent" -> "metadata.namespace".
fn path(plan: &Plan, method: &MethodPlan, path: &str) -> String {
    let body = &method.body;
    let inner = path.strip_prefix(body.as_str()).and_then(|rest| rest.strip_prefix('.'));
    if let Some(path) = inner.filter(|_| !body.is_empty()) {
        return of_object(plan, path).unwrap_or_else(|| path.to_owned());
    }
    if let Some(path) = of_object(plan, path) {
        return path;
    }
    match path {
        "parent" => "metadata.namespace".to_owned(),
        "name" => "metadata.name".to_owned(),
        _ if path.ends_with("_id") => "metadata.name".to_owned(),
        _ => path.to_owned(),
    }
}

/// The place of a field of the message, by the path of it.
pub(super) fn of_object(plan: &Plan, path: &str) -> Option<String> {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (first, rest) = path.split_at(end);
    let message = &plan.message;
    let field = message.get_field_by_name(first).or_else(|| message.get_field_by_json_name(first))?;
    Some(match plan.homes.get(&field.number())? {
        Home::Spec => format!("spec.{path}"),
        Home::Status => format!("status.{path}"),
        home @ (Home::Labels | Home::Annotations) => format!("{}{rest}", home.as_str()),
        Home::Nowhere => path.to_owned(),
        home => home.as_str().to_owned(),
    })
}
