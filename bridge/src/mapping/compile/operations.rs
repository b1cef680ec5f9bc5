//! Whether, and how, operations say something of an object after the request that began them is over.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, MessageDescriptor};

use crate::mapping::{
    annotations::{self, OPERATION},
    derive::{is_string, is_timestamp},
    facts::ResourceMapping,
    merge,
    plan::{About, Learnt, OperationsPlan, Plan},
};

/// The number of `conditions` in the status: beyond those that people give their fields, below the reserved ones.
const CONDITIONS: u32 = 18_999;

/// `None`: no method of the resource is an operation, or none of its operations says which object it is about.
pub(super) fn compile(
    pool: &DescriptorPool,
    mapping: &ResourceMapping,
    plan: &Plan,
) -> Option<OperationsPlan> {
    let message = &plan.message;
    if message.get_field(CONDITIONS).is_some()
        || message.fields().any(|field| field.json_name() == "conditions")
    {
        return None;
    }
    let standard = mapping.methods.iter().map(|(_, method)| method);
    let mut about = HashMap::new();
    for said in standard.chain(mapping.actions.values()) {
        let found = said.method.as_ref().and_then(|method| merge::method(pool, &method.value));
        let Some(method) = found.filter(|method| method.output().full_name() == OPERATION) else { continue };
        let info = annotations::operation_info(&method).unwrap_or_default();
        let name = annotations::full_name(&method, &info.metadata_type);
        if let Some(metadata) = pool.get_message_by_name(&name)
            && let Some(found) = about_in(&metadata, plan)
        {
            about.insert(name, found);
        }
    }
    (!about.is_empty()).then(|| OperationsPlan { conditions: CONDITIONS, about, listed: Learnt::default() })
}

/// Where metadata says which object it is about: in a field that refers to the resource, or that is called so.
fn about_in(metadata: &MessageDescriptor, plan: &Plan) -> Option<About> {
    let declared = annotations::resource(&plan.message).ok().flatten().unwrap_or_default().r#type;
    let fields = || metadata.fields().filter(is_string);
    let refers = |field: &prost_reflect::FieldDescriptor| {
        !declared.is_empty() && annotations::reference(field) == declared
    };
    let called = ["target", "resource", "resource_name", "name"];
    let by_name = || called.iter().find_map(|name| fields().find(|field| field.name() == *name));
    let resource = fields().find(refers).or_else(by_name)?;
    let begun = ["create_time", "start_time"].iter().find_map(|name| metadata.get_field_by_name(name));
    Some(About { resource: resource.number(), begun: begun.filter(is_timestamp).map(|field| field.number()) })
}
