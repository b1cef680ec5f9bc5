//! Response messages: whether they are what the verb must answer.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{
    bind::Role,
    catalogue::Problem,
    fault::Faults,
    resource::{Draft, is_message},
};

/// Checks the response of a bound method.
pub(super) fn check(method: &MethodDescriptor, role: &Role, draft: &Draft, faults: &mut Faults) {
    match role {
        Role::Get | Role::Create | Role::Update | Role::UpdateStatus => {
            if method.output() != draft.message {
                let (answer, message) = (method.output(), draft.message.full_name());
                let problem = Problem::wrong_answer(role.verb(), answer.full_name(), &draft.kind, message);
                faults.report(method, problem);
            }
        }
        Role::List => list(method, draft, faults),
        Role::Watch => watch(method, draft, faults),
        // Delete: the resource, Empty, or anything, which is not read. Actions: anything.
        Role::Delete | Role::DeleteCollection | Role::Action(..) => {}
    }
    if *role == Role::DeleteCollection && draft.managed {
        faults.report(method, Problem::managed_delete_collection(&draft.kind, draft.message.full_name()));
    }
}

fn list(method: &MethodDescriptor, draft: &Draft, faults: &mut Faults) {
    let output = method.output();
    let metadata =
        field(&output, 1, "metadata").is_some_and(|field| is_message(&field, "kubridge.v1.ListMeta"));
    if !metadata {
        faults.report_field(method, "metadata", Problem::list_metadata(output.full_name()));
    }
    let items = field(&output, 2, "items").is_some_and(|field| {
        field.is_list() && matches!(field.kind(), Kind::Message(m) if m == draft.message)
    });
    if !items {
        let problem = Problem::list_items(output.full_name(), draft.message.full_name());
        faults.report_field(method, "items", problem);
    }
}

fn field(message: &MessageDescriptor, number: u32, name: &str) -> Option<FieldDescriptor> {
    message.get_field(number).filter(|field| field.name() == name)
}

fn watch(method: &MethodDescriptor, draft: &Draft, faults: &mut Faults) {
    let output = method.output();
    let object = |field: &FieldDescriptor| {
        // Bytes are the same on the wire: kubridge.v1.Event itself will do.
        !field.is_list() && (field.kind() == Kind::Bytes || is_message(field, draft.message.full_name()))
    };
    let resource = draft.message.full_name();
    type Check<'a> = &'a dyn Fn(&FieldDescriptor) -> bool;
    let shape: [(u32, &str, String, Check<'_>, bool); 5] = [
        (1, "type", "kubridge.v1.EventType".to_owned(), &|field| is_event_type(field), true),
        (2, "object", resource.to_owned(), &object, true),
        (3, "previous", resource.to_owned(), &object, false),
        (
            4,
            "resource_version",
            "string".to_owned(),
            &|field| !field.is_list() && field.kind() == Kind::String,
            true,
        ),
        (5, "error", "google.rpc.Status".to_owned(), &|field| is_message(field, "google.rpc.Status"), true),
    ];
    for (number, name, type_name, fits, required) in shape {
        let problem = match output.get_field(number) {
            Some(field) if field.name() == name && fits(&field) => continue,
            Some(_) => "has something else",
            None if !required => continue,
            None => "has nothing",
        };
        let problem = Problem::event_shape(output.full_name(), problem, number, type_name, name);
        faults.report_field(method, name, problem);
    }
}

fn is_event_type(field: &FieldDescriptor) -> bool {
    !field.is_list() && matches!(field.kind(), Kind::Enum(e) if e.full_name() == "kubridge.v1.EventType")
}
