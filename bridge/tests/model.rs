//! A good schema: what is bound to what.

#![allow(clippy::unwrap_used)]

#[path = "support/compile.rs"]
mod compile;

use std::sync::Arc;

use kubridge_bridge::{
    model::{ActionVerb, Binding, Resource, Rules, Schema, Source},
    proto, wire,
};
use prost::Message as _;

fn schema() -> Schema {
    Schema::from_descriptor_set(&compile::inventory(), Rules::default()).unwrap()
}

fn resource(schema: &Schema, plural: &str) -> Arc<Resource> {
    let all = schema.apis.iter().flat_map(|api| &api.resources);
    Arc::clone(all.into_iter().find(|resource| resource.plural == plural).unwrap())
}

fn bindings(bindings: &[(Option<u32>, Source)]) -> Vec<Binding> {
    bindings.iter().map(|(field, source)| Binding { field: *field, source: *source }).collect()
}

#[test]
fn names_scopes_and_comments_are_read() {
    let schema = schema();
    let [api] = schema.apis.as_slice() else { panic!("{:?}", schema.apis) };
    assert_eq!((api.group.as_str(), api.version.as_str()), ("inventory.example.com", "v1"));
    let machine = resource(&schema, "machines");
    assert_eq!((machine.kind.as_str(), machine.list_kind.as_str()), ("Machine", "MachineList"));
    assert_eq!(
        (machine.singular.as_str(), machine.api_version().as_str()),
        ("machine", "inventory.example.com/v1")
    );
    assert_eq!(
        (&machine.short_names, &machine.categories),
        (&vec!["mach".to_owned()], &vec!["all".to_owned()])
    );
    assert!(machine.namespaced && machine.managed && machine.versioned && machine.status_subresource);
    assert_eq!((machine.spec_field, machine.status_field), (Some(2), Some(3)));
    assert_eq!(
        machine.description,
        "A machine in a rack.\n\nIt has a serial number and may be switched on and off."
    );
    assert_eq!(machine.selectable_fields, ["spec.rack", "status.power"]);
    assert_eq!(
        machine.verbs(),
        ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    );
    let rack = resource(&schema, "racks");
    assert!(!rack.namespaced && !rack.status_subresource);
    assert_eq!((rack.spec_field, rack.status_field), (None, None));
    assert_eq!(rack.deprecation_warning.as_deref(), Some("racks are deprecated"));
    assert_eq!(rack.verbs(), ["get", "list", "watch"], "a watch is made of List");
    assert!(rack.makes_watch() && rack.is_remembered() && !machine.makes_watch() && !machine.is_remembered());
    assert_eq!(rack.message.full_name(), "inventory.v1.Rack");
}

#[test]
fn columns_take_type_and_description_from_the_field() {
    let machine = resource(&schema(), "machines");
    let columns: Vec<_> = machine
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.column_type.as_str(), c.description.as_str(), c.priority))
        .collect();
    assert_eq!(
        columns,
        [
            ("Serial", "string", "The serial number on the case.", 0),
            ("Power", "string", "", 0),
            ("Cores", "integer", "", 1),
            ("Ready", "string", "True, False or Unknown.", 0),
            ("Booted", "date", "When it was last started.", 0),
        ]
    );
}

#[test]
fn methods_are_bound_by_name_and_by_option() {
    let machine = resource(&schema(), "machines");
    let methods = &machine.methods;
    let path =
        |method: &Option<Arc<kubridge_bridge::model::Method>>| method.as_ref().unwrap().path.to_string();
    assert_eq!(path(&methods.get), "/inventory.v1.Machines/GetMachine");
    assert_eq!(path(&methods.list), "/inventory.v1.Machines/ListMachines");
    assert_eq!(path(&methods.update_status), "/inventory.v1.Machines/UpdateMachineStatus");
    assert!(methods.delete_collection.is_none());
    let list = methods.list.as_ref().unwrap();
    assert!(list.streaming && methods.watch.as_ref().unwrap().streaming);
    assert!(!methods.get.as_ref().unwrap().streaming);
    assert_eq!(list.output.full_name(), "inventory.v1.ListMachinesResponse");
    assert_eq!(list.request, bindings(&[(Some(1), Source::Namespace), (Some(2), Source::ListOptions)]));
    assert_eq!(
        methods.get.as_ref().unwrap().request,
        bindings(&[(Some(1), Source::Namespace), (Some(2), Source::Name), (Some(3), Source::GetOptions)])
    );
    assert_eq!(
        methods.create.as_ref().unwrap().request,
        bindings(&[(Some(1), Source::Object), (Some(2), Source::CreateOptions)])
    );
    assert_eq!(
        methods.update.as_ref().unwrap().request,
        bindings(&[(Some(1), Source::Object), (Some(2), Source::DryRunFlag), (Some(3), Source::Nothing)])
    );
    assert_eq!(methods.update_status.as_ref().unwrap().request, bindings(&[(None, Source::Object)]));
    let rack = resource(&schema(), "racks");
    assert_eq!(
        rack.methods.list.as_ref().unwrap().request,
        bindings(&[(Some(1), Source::LabelSelector), (Some(2), Source::Limit), (Some(3), Source::Continue)])
    );
}

#[test]
fn actions_take_namespace_and_name_from_the_url_and_the_rest_from_the_body() {
    let machine = resource(&schema(), "machines");
    let names: Vec<_> = machine.actions.iter().map(|action| action.name.as_str()).collect();
    assert_eq!(names, ["console", "powercycle"]);
    let (verb, console) = &machine.actions[0].methods[0];
    assert_eq!(*verb, ActionVerb::Get);
    assert!(console.streaming);
    assert_eq!(console.request, bindings(&[(Some(1), Source::Namespace), (Some(2), Source::Name)]));
    let (verb, cycle) = &machine.actions[1].methods[0];
    assert_eq!((*verb, machine.actions[1].kind.as_str()), (ActionVerb::Create, "PowerCycleMachineRequest"));
    assert_eq!(
        cycle.request,
        bindings(&[
            (None, Source::Object),
            (Some(1), Source::Namespace),
            (Some(2), Source::Name),
            (Some(5), Source::DryRunFlag)
        ])
    );
}

#[test]
fn advice_names_what_could_be_better() {
    let advice = schema().advice;
    let found: Vec<_> = advice.iter().map(|a| (a.element.as_str(), a.field.as_str())).collect();
    assert_eq!(found, [("inventory.v1.MachineStatus", "reboots")]);
}

/// The files of a set, by name.
fn files(set: &[u8]) -> Vec<(String, Vec<u8>)> {
    let file = |raw: &[u8]| prost_types::FileDescriptorProto::decode(raw).unwrap().name().to_owned();
    wire::fields(set).map(|field| field.unwrap().value).map(|raw| (file(raw), raw.to_vec())).collect()
}

fn set<'a>(files: impl IntoIterator<Item = &'a (String, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, raw) in files {
        wire::put_bytes(&mut out, 1, raw);
    }
    out
}

#[test]
fn sets_are_read_as_reflection_gives_them() {
    let files = files(&compile::inventory());
    // Ours alone, everything in reverse, everything twice.
    let alone = set(files.iter().filter(|(name, _)| name == "inventory/v1/inventory.proto"));
    let reversed = set(files.iter().rev());
    let twice = set(files.iter().chain(&files));
    for (name, bytes) in [("alone", alone), ("reversed", reversed), ("twice", twice)] {
        let schema = Schema::from_descriptor_set(&bytes, Rules::default());
        let schema = schema.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        assert_eq!(resource(&schema, "machines").columns.len(), 5, "{name}");
    }
}

#[test]
fn a_missing_import_that_nobody_knows_is_a_fault() {
    let text = compile::fixture("small.proto");
    let mut file = files(&compile::compile("test.proto", &text)).pop().unwrap();
    file.1.extend_from_slice(b"\x1a\x0bother.proto"); // dependency
    let faults = Schema::from_descriptor_set(&set([&file]), Rules::default()).unwrap_err();
    assert_eq!(faults[0].message, "imports other.proto, which is not in the descriptor set");
    assert_eq!(faults[0].file, "test.proto");
}

#[test]
fn an_older_and_a_newer_api_proto_do_no_harm() {
    let files = files(&compile::inventory());
    for older in [true, false] {
        let mut files = files.clone();
        let api = files.iter_mut().find(|(name, _)| name == "kubridge/v1/api.proto").unwrap();
        let mut descriptor = prost_types::FileDescriptorProto::decode(api.1.as_slice()).unwrap();
        let resource = descriptor.message_type.iter_mut().find(|m| m.name() == "Resource").unwrap();
        if older {
            // It knows neither columns nor the field and value options.
            resource.field.retain(|field| field.name() != "columns");
            descriptor.extension.retain(|extension| extension.name() != "field");
        } else {
            let mut field = resource.field[0].clone();
            field.name = Some("shiny".to_owned());
            field.json_name = Some("shiny".to_owned());
            field.number = Some(99);
            resource.field.push(field);
        }
        api.1 = descriptor.encode_to_vec();
        let schema = Schema::from_descriptor_set(&set(&files), Rules::default()).unwrap();
        let machine = resource_of(&schema);
        assert_eq!(machine.columns.len(), 5, "older: {older}");
        let cycle = &machine.actions[1].methods[0].1;
        assert!(cycle.binds(&Source::Name), "older: {older}");
    }
}

fn resource_of(schema: &Schema) -> Arc<Resource> {
    resource(schema, "machines")
}

#[test]
fn without_source_info_it_is_served_and_advised() {
    let text = compile::fixture("inventory.proto");
    let bytes = compile::compile_with("inventory/v1/inventory.proto", &text, |compiler| {
        compiler.include_imports(true);
    });
    let schema = Schema::from_descriptor_set(&bytes, Rules::default()).unwrap();
    assert_eq!(resource(&schema, "machines").description, "");
    assert!(schema.advice.iter().any(|advice| advice.message.contains("no comments")), "{:?}", schema.advice);
}

#[test]
fn the_contract_alone_serves_nothing() {
    let faults = Schema::from_descriptor_set(proto::DESCRIPTORS, Rules::default()).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].message, "no message is a resource");
}

#[test]
fn enums_and_types_of_google_keep_objects_from_being_relayed_undecoded() {
    let schema = schema();
    assert_eq!(resource(&schema, "racks").twin_obstacles(), Vec::<String>::new());
    assert_eq!(
        resource(&schema, "machines").twin_obstacles(),
        [
            "spec.desiredPower is an enum",
            "spec.free is a google.protobuf.Struct",
            "spec.anything is a google.protobuf.Value",
            "spec.allowedPower is an enum",
            "spec.bought is a google.protobuf.Timestamp",
            "status.power is an enum",
        ]
    );
}

#[test]
fn the_core_group_is_written_out() {
    let declared = "group: \"test.example.com\" version: \"v1\"";
    let text = compile::fixture("small.proto").replace(declared, "group: \"\" version: \"v1\"");
    let schema =
        Schema::from_descriptor_set(&compile::compile("test.proto", &text), Rules::default()).unwrap();
    assert_eq!((schema.apis[0].group.as_str(), schema.apis[0].version.as_str()), ("", "v1"));
    let machine = resource(&schema, "machines");
    assert_eq!(machine.api_version(), "v1");
    assert!(schema.advice.iter().all(|advice| advice.field != "group"), "{:?}", schema.advice);

    // A resource may be in it alone.
    let text = compile::fixture("small.proto").replace("short_names: \"mach\"", "group: \"\"");
    let schema =
        Schema::from_descriptor_set(&compile::compile("test.proto", &text), Rules::default()).unwrap();
    assert_eq!(resource(&schema, "machines").api_version(), "v1");
}
