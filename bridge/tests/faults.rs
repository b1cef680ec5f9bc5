//! The lint: small changes to a good schema, and every fault and all the advice that each of them makes.
//! The texts stand in `golden/faults.txt` and `golden/advice.txt`. Every entry of the catalogue for schemas in the contract's form is
//! in one of them; those of mappings are in `mapping/catalogue.rs`.

#![allow(clippy::unwrap_used)]

#[path = "support/compile.rs"]
mod compile;

use std::{collections::BTreeSet, fmt::Write as _};

use kubridge_bridge::{
    model::{CATALOGUE, Fault, Rules, Schema, Severity},
    wire,
};
use prost::Message as _;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// What is replaced in `fixtures/small.proto`.
type Edits = &'static [(&'static str, &'static str)];

const RESOURCE: &str = "{ short_names: \"mach\" }";
const END: &str = "message CreateMachineRequest { Machine machine = 1; }";
const RACK: &str = "message CreateMachineRequest { Machine machine = 1; }
message Rack { option (kubridge.v1.resource) = { OPTIONS }; kubridge.v1.ObjectMeta metadata = 1; }
message RackList { kubridge.v1.ListMeta metadata = 1; repeated Rack items = 2; }
service Racks { rpc ListRack(kubridge.v1.ListRequest) returns (RackList); }";

const CASES: &[(&str, Edits)] = &[
    ("no list", &[("  rpc ListMachines(kubridge.v1.ListRequest) returns (MachineList);\n", "")]),
    (
        "no method at all",
        &[
            ("rpc GetMachine(", "rpc A("),
            ("rpc ListMachines(", "rpc B("),
            ("rpc WatchMachines(", "rpc C("),
            ("rpc CreateMachine(", "rpc D("),
            ("rpc UpdateMachine(", "rpc E("),
            ("rpc DeleteMachine(", "rpc F("),
            ("verb: CREATE kind: \"Machine\" subresource: \"powercycle\"", "ignore: true"),
        ],
    ),
    ("two messages with one plural", &[(END, RACK), ("OPTIONS", "plural: \"machines\"")]),
    (
        "two messages with one kind",
        &[
            (END, RACK),
            ("OPTIONS", "kind: \"Machine\" plural: \"others\""),
            ("rpc ListRack(", "rpc ListOthers("),
        ],
    ),
    (
        "a kind that is another's list",
        &[(END, RACK), ("OPTIONS", "kind: \"MachineList\""), ("rpc ListRack(", "rpc ListMachineList(")],
    ),
    ("short names collide", &[(END, RACK), ("OPTIONS", "short_names: \"mach\" short_names: \"machine\"")]),
    (
        "a verb bound twice",
        &[(
            "  rpc DeleteMachine",
            "  rpc FetchMachine(kubridge.v1.GetRequest) returns (Machine) { option (kubridge.v1.method) = {verb: GET}; }\n  rpc DeleteMachine",
        )],
    ),
    (
        "list by kind and by plural",
        &[(
            "  rpc DeleteMachine",
            "  rpc ListMachine(kubridge.v1.ListRequest) returns (MachineList);\n  rpc DeleteMachine",
        )],
    ),
    (
        "an action bound twice",
        &[(
            "  rpc DeleteMachine",
            "  rpc CycleMachine(PowerCycleRequest) returns (google.protobuf.Empty) { option (kubridge.v1.method) = {verb: CREATE subresource: \"powercycle\"}; }\n  rpc DeleteMachine",
        )],
    ),
    (
        "two readings: kind and plural",
        &[
            (END, RACK),
            ("OPTIONS", "kind: \"Machines\" plural: \"racks\""),
            ("rpc ListRack(", "rpc ListRacks("),
        ],
    ),
    (
        "two readings: delete and delete collection",
        &[
            (END, RACK),
            ("OPTIONS", "kind: \"CollectionMachine\" plural: \"racks\""),
            ("rpc ListRack(", "rpc ListRacks("),
            ("rpc DeleteMachine(", "rpc DeleteCollectionMachine("),
        ],
    ),
    (
        "two groups with one kind in one package",
        &[
            (END, RACK),
            ("OPTIONS", "kind: \"Machine\" group: \"other.example.com\""),
            (
                "rpc ListRack(",
                "rpc DeleteMachine(kubridge.v1.DeleteRequest) returns (Both); rpc ListMachine(",
            ),
            (
                END,
                "message CreateMachineRequest { Machine machine = 1; } message Both { Machine a = 1; Rack b = 2; }",
            ),
        ],
    ),
    (
        "a request field that nothing binds",
        &[("Machine machine = 1; }", "Machine machine = 1; string colour = 2; }")],
    ),
    (
        "a field of another verb",
        &[("Machine machine = 1; }", "Machine machine = 1; string label_selector = 2; }")],
    ),
    (
        "a field of the wrong type",
        &[(
            "Machine machine = 1; }",
            "Machine machine = 1; string dry_run = 2; repeated string field_manager = 3; string namespace = 4; int32 name = 5; }",
        )],
    ),
    (
        "two fields with one value",
        &[(
            "Machine machine = 1; }",
            "Machine machine = 1; kubridge.v1.CreateOptions a = 2; kubridge.v1.CreateOptions b = 3; }",
        )],
    ),
    ("a body of the wrong type", &[("Machine machine = 1; }", "MachineSpec machine = 1; }")]),
    ("a repeated body", &[("Machine machine = 1; }", "repeated Machine machine = 1; }")]),
    ("no body", &[("Machine machine = 1; }", "string namespace = 1; }")]),
    (
        "bind: BODY of something else",
        &[(
            "Machine machine = 1; }",
            "Machine machine = 1; string x = 2 [(kubridge.v1.field) = {bind: BODY}]; }",
        )],
    ),
    (
        "get without a name and a namespace",
        &[("rpc GetMachine(kubridge.v1.GetRequest)", "rpc GetMachine(google.protobuf.Empty)")],
    ),
    (
        "list without a namespace",
        &[("rpc ListMachines(kubridge.v1.ListRequest)", "rpc ListMachines(google.protobuf.Empty)")],
    ),
    (
        "get answers with something else",
        &[(
            "rpc GetMachine(kubridge.v1.GetRequest) returns (Machine)",
            "rpc GetMachine(kubridge.v1.GetRequest) returns (MachineSpec)",
        )],
    ),
    (
        "create and update answer with something else",
        &[
            (
                "(CreateMachineRequest) returns (Machine)",
                "(CreateMachineRequest) returns (google.protobuf.Empty)",
            ),
            (
                "rpc UpdateMachine(Machine) returns (Machine)",
                "rpc UpdateMachine(Machine) returns (MachineList)",
            ),
        ],
    ),
    (
        "a list without metadata and items",
        &[(
            "message MachineList {\n  kubridge.v1.ListMeta metadata = 1;\n  repeated Machine items = 2;",
            "message MachineList {\n  repeated Machine machines = 1;\n  string next = 2;",
        )],
    ),
    ("a list of something else", &[("repeated Machine items = 2;", "repeated MachineSpec items = 2;")]),
    (
        "an event of another shape",
        &[(
            "  Machine object = 2;\n  Machine previous = 3;\n  string resource_version = 4;\n",
            "  MachineSpec object = 2;\n  string before = 3;\n",
        )],
    ),
    (
        "streams where there are none",
        &[
            (
                "rpc GetMachine(kubridge.v1.GetRequest) returns (",
                "rpc GetMachine(kubridge.v1.GetRequest) returns (stream ",
            ),
            ("returns (stream MachineEvent)", "returns (MachineEvent)"),
            ("rpc CreateMachine(", "rpc CreateMachine(stream "),
        ],
    ),
    (
        "a bad group and version",
        &[("group: \"test.example.com\" version: \"v1\"", "group: \"Test_Example\" version: \"1.0\"")],
    ),
    ("a bad group and version of a resource", &[(RESOURCE, "{ group: \"-x\" version: \"v1gamma1\" }")]),
    ("no version in the core group", &[("group: \"test.example.com\" version: \"v1\"", "group: \"\"")]),
    ("no group", &[("option (kubridge.v1.api) = { group: \"test.example.com\" version: \"v1\" };\n", "")]),
    (
        "bad names",
        &[
            (
                RESOURCE,
                "{ kind: \"machine_x\" plural: \"Machines\" singular: \"a b\" short_names: \"M\" categories: \"\" }",
            ),
            ("kind: \"Machine\" subresource", "kind: \"machine_x\" subresource"),
        ],
    ),
    (
        "a kind of Kubernetes",
        &[
            (RESOURCE, "{ kind: \"Status\" plural: \"status\" }"),
            ("kind: \"Machine\" subresource", "kind: \"Status\" subresource"),
        ],
    ),
    ("metadata is field 4", &[("ObjectMeta metadata = 1;", "ObjectMeta metadata = 4;")]),
    (
        "metadata is something else",
        &[("kubridge.v1.ObjectMeta metadata = 1;", "kubridge.v1.ListMeta metadata = 1;")],
    ),
    ("no metadata", &[("kubridge.v1.ObjectMeta metadata = 1;", "string name = 1;")]),
    ("no metadata and no field 1", &[("  kubridge.v1.ObjectMeta metadata = 1;\n", "")]),
    (
        "spec and status elsewhere",
        &[
            ("MachineSpec spec = 2;", "MachineSpec spec = 3;"),
            ("MachineStatus status = 3;", "string status = 2;"),
        ],
    ),
    (
        "apiVersion of its own",
        &[(
            "MachineStatus status = 3;",
            "MachineStatus status = 3; string api_version = 4; string kind = 5;",
        )],
    ),
    (
        "columns that lead nowhere",
        &[(
            RESOURCE,
            "{ columns: {name: \"A\" path: \".spec.serail\"} columns: {name: \"A\" path: \"spec.serial\"} columns: {path: \".spec.disks.name\"} columns: {name: \"B\" path: \".spec.serial.x\" type: \"text\"} columns: {name: \"C\" path: \".spec.disks[?(@.nam==1)].name\"} columns: {name: \"D\" path: \".spec[0]\"} columns: {name: \"E\" path: \".spec.disks[\"} }",
        )],
    ),
    (
        "selectable fields that are no scalars",
        &[(
            RESOURCE,
            "{ selectable_fields: \".spec.disks[0].name\" selectable_fields: \".spec\" selectable_fields: \".spec.nothing\" selectable_fields: \"spec.serial\" }",
        )],
    ),
    (
        "enum values with one name",
        &[(
            "POWER_ON = 1;",
            "POWER_ON = 1; ON = 2; POWER_HOT = 3 [(kubridge.v1.value) = {name: \"On\"}]; OFF = 4; X = 5 [(kubridge.v1.value) = {name: \"OFF\"}];",
        )],
    ),
    (
        "list types",
        &[
            ("string serial = 1;", "string serial = 1 [(kubridge.v1.field) = {list_type: SET}];"),
            (
                "repeated Disk disks = 2;",
                "repeated Disk disks = 2 [(kubridge.v1.field) = {list_type: MAP, list_map_keys: \"nam\"}]; repeated Disk b = 4 [(kubridge.v1.field) = {list_type: MAP}]; repeated Disk c = 5 [(kubridge.v1.field) = {list_type: SET}]; repeated string d = 6 [(kubridge.v1.field) = {list_type: MAP}]; repeated string e = 7 [(kubridge.v1.field) = {list_map_keys: \"x\"}];",
            ),
        ],
    ),
    (
        "an action named status",
        &[(
            "verb: CREATE kind: \"Machine\" subresource: \"powercycle\"",
            "verb: CREATE kind: \"Machine\" subresource: \"status\"",
        )],
    ),
    ("an action named scale", &[("\"powercycle\"", "\"scale\"")]),
    ("an action whose name is no label", &[("\"powercycle\"", "\"powerCycle\"")]),
    ("an action of an unknown kind", &[("kind: \"Machine\" subresource", "kind: \"Machin\" subresource")]),
    ("an action of no kind", &[("kind: \"Machine\" subresource", "subresource")]),
    ("an action without a verb", &[("verb: CREATE kind", "kind")]),
    ("a list of a subresource", &[("verb: CREATE kind", "verb: LIST kind")]),
    (
        "an action without a name and a namespace",
        &[(
            "message PowerCycleRequest { string namespace = 1; string name = 2; int32 pause = 3; }",
            "message PowerCycleRequest { int32 pause = 3; }",
        )],
    ),
    ("a GET action with a body", &[("verb: CREATE kind", "verb: GET kind")]),
    (
        "status update of something else",
        &[(
            "  rpc DeleteMachine",
            "  rpc UpdateMachineStatus(MachineStatus) returns (MachineStatus) { option (kubridge.v1.method) = {subresource: \"status\"}; }\n  rpc DeleteMachine",
        )],
    ),
    (
        "status update without a status",
        &[
            ("  MachineStatus status = 3;\n", ""),
            (
                "  rpc DeleteMachine",
                "  rpc UpdateMachineStatus(Machine) returns (Machine) { option (kubridge.v1.method) = {subresource: \"status\"}; }\n  rpc DeleteMachine",
            ),
        ],
    ),
    (
        "delete collection of a managed resource",
        &[(
            "  rpc DeleteMachine",
            "  rpc DeleteCollectionMachines(kubridge.v1.DeleteCollectionRequest) returns (google.protobuf.Empty);\n  rpc DeleteMachine",
        )],
    ),
    ("ignored, and not", &[("verb: CREATE kind", "ignore: true verb: CREATE kind")]),
    (
        "nothing but the import",
        &[
            ("option (kubridge.v1.api) = { group: \"test.example.com\" version: \"v1\" };\n", ""),
            ("  option (kubridge.v1.resource) = { short_names: \"mach\" };\n", ""),
            (
                "    option (kubridge.v1.method) = { verb: CREATE kind: \"Machine\" subresource: \"powercycle\" };\n",
                "",
            ),
        ],
    ),
    ("no resource", &[("  option (kubridge.v1.resource) = { short_names: \"mach\" };\n", "")]),
    ("a list under another name", &[("rpc ListMachines(", "rpc ListMachnes(")]),
    ("spec has another name in JSON", &[("spec = 2;", "spec = 2 [json_name = \"specification\"];")]),
    (
        "an action of several kinds",
        &[
            (END, RACK),
            ("OPTIONS", ""),
            ("kind: \"Machine\" subresource", "subresource"),
            ("PowerCycleRequest)", "Both)"),
            (
                END,
                "message CreateMachineRequest { Machine machine = 1; } message Both { string namespace = 1; string name = 2; Machine a = 3; Rack b = 4; }",
            ),
        ],
    ),
    (
        "numbers of a newer api.proto",
        &[
            (RESOURCE, "{ scope: 7 lifecycle: 8 }"),
            ("string serial = 1;", "string serial = 1 [(kubridge.v1.field) = {list_type: 9}];"),
            (
                "Machine machine = 1; }",
                "Machine machine = 1; string x = 2 [(kubridge.v1.field) = {bind: 10}]; }",
            ),
            ("verb: CREATE kind", "verb: 11 kind"),
        ],
    ),
];

const ADVICE: &[(&str, Edits)] = &[
    (
        "names that are nearly verbs and kinds",
        &[
            ("rpc UpdateMachine(", "rpc UpdateMachines("),
            ("rpc GetMachine(", "rpc FetchMachine("),
            ("rpc DeleteMachine(", "rpc DelteMachine("),
            ("rpc CreateMachine(", "rpc Createmachine("),
            ("rpc WatchMachines(", "rpc StreamMachines("),
        ],
    ),
    (
        "a service of another name that nobody reads",
        &[
            (
                END,
                "message CreateMachineRequest { Machine machine = 1; } service Other { rpc PutMachine(Machine) returns (Machine); rpc Ping(Machine) returns (Machine); }",
            ),
            ("  rpc UpdateMachine(Machine) returns (Machine);\n", ""),
        ],
    ),
    (
        "a method that does nothing",
        &[("  rpc DeleteMachine", "  rpc Ping(Machine) returns (Machine);\n  rpc DeleteMachine")],
    ),
    (
        "a second method for what is bound",
        &[("  rpc DeleteMachine", "  rpc ReadMachine(Machine) returns (Machine);\n  rpc DeleteMachine")],
    ),
    (
        "an update of the status without its option",
        &[(
            "  rpc DeleteMachine",
            "  rpc UpdateMachineStatus(Machine) returns (Machine);\n  rpc DeleteMachine",
        )],
    ),
    (
        "zeros in the status",
        &[("{ string phase = 1; }", "{ string phase = 1; bool on = 2; optional int64 n = 3; }")],
    ),
    (
        "a delete without a version",
        &[
            ("rpc DeleteMachine(kubridge.v1.DeleteRequest)", "rpc DeleteMachine(Gone)"),
            (
                END,
                "message CreateMachineRequest { Machine machine = 1; } message Gone { string namespace = 1; string name = 2; }",
            ),
        ],
    ),
    ("a group that is one word", &[("group: \"test.example.com\"", "group: \"test\"")]),
];

fn small(edits: Edits) -> Vec<u8> {
    let mut text = compile::fixture("small.proto");
    for (from, to) in edits {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        text = text.replacen(from, to, 1);
    }
    compile::compile("test.proto", &text)
}

/// What no compiler writes: each with its name.
fn raw() -> Vec<(&'static str, Vec<u8>)> {
    let file = |name: &str, imports: &[&str], field: &str| {
        let field = FieldDescriptorProto {
            name: Some("a".to_owned()),
            number: Some(1),
            type_name: Some(field.to_owned()),
            ..FieldDescriptorProto::default()
        };
        let message =
            DescriptorProto { name: Some("M".to_owned()), field: vec![field], ..DescriptorProto::default() };
        let file = FileDescriptorProto {
            name: Some(name.to_owned()),
            dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
            message_type: vec![message],
            ..FileDescriptorProto::default()
        };
        FileDescriptorSet { file: vec![file] }.encode_to_vec()
    };
    vec![
        ("no bytes", Vec::new()),
        ("other bytes", b"garbage".to_vec()),
        ("an import that is missing", file("a.proto", &["b.proto"], ".google.protobuf.Empty")),
        ("a type that is nowhere", file("a.proto", &[], ".nowhere.B")),
        ("two fields with one JSON name", one_json_name_twice()),
        ("an option that cannot be decoded", undecodable_option()),
    ]
}

/// Compilers refuse it; descriptors from elsewhere may have it all the same.
fn one_json_name_twice() -> Vec<u8> {
    let mut set = FileDescriptorSet::decode(small(&[]).as_slice()).unwrap();
    let file = set.file.iter_mut().find(|file| file.name() == "test.proto").unwrap();
    let spec = file.message_type.iter_mut().find(|message| message.name() == "MachineSpec").unwrap();
    spec.field[1].json_name = Some("serial".to_owned());
    set.encode_to_vec()
}

fn undecodable_option() -> Vec<u8> {
    let mut out = Vec::new();
    for field in wire::fields(&small(&[])) {
        let mut raw = field.unwrap().value.to_vec();
        let mut file = FileDescriptorProto::decode(raw.as_slice()).unwrap();
        match file.name() {
            "test.proto" => {
                // `short_names: "mach"` becomes a field of another wire type.
                let at = raw.windows(6).position(|window| window == b"\x22\x04mach").unwrap();
                raw[at] = 0x20;
            }
            "kubridge/v1/api.proto" => {
                // An api.proto that does not know the option: nobody else decodes it before us.
                file.extension.retain(|extension| extension.name() != "resource");
                raw = file.encode_to_vec();
            }
            _ => {}
        }
        wire::put_bytes(&mut out, 1, &raw);
    }
    out
}

fn faults(set: &[u8]) -> Vec<Fault> {
    Schema::from_descriptor_set(set, Rules::default()).map(|_| Vec::new()).unwrap_or_else(|faults| faults)
}

fn write(out: &mut String, faults: &[Fault]) {
    for Fault { file, element, field, message, mend, code } in faults {
        writeln!(out, "{file} {element} [{field}] {code}\n    {message}\n    -> {mend}").unwrap();
    }
}

/// Everything that `cases` make, each under its name.
fn told(
    cases: impl IntoIterator<Item = (&'static str, Vec<Fault>)>,
    codes: &mut BTreeSet<&'static str>,
) -> String {
    let mut out = String::new();
    for (name, found) in cases {
        assert!(!found.is_empty(), "{name}: nothing is said");
        assert!(found.is_sorted(), "{name}");
        let is_whole = |fault: &Fault| ![fault.code, &fault.message, &fault.mend].contains(&"");
        assert!(found.iter().all(is_whole), "{name}: {found:?}");
        codes.extend(found.iter().map(|fault| fault.code));
        writeln!(out, "# {name}").unwrap();
        write(&mut out, &found);
        out.push('\n');
    }
    out
}

fn codes_of(severity: Severity) -> BTreeSet<&'static str> {
    let [contract, _] = CATALOGUE;
    contract.iter().filter(|entry| entry.severity == severity).map(|entry| entry.code).collect()
}

#[test]
fn every_fault_is_found_with_its_place_and_its_mend() {
    let mut codes = BTreeSet::new();
    let cases = CASES.iter().map(|(name, edits)| (*name, small(edits))).chain(raw());
    let out = told(cases.map(|(name, set)| (name, faults(&set))), &mut codes);
    compile::golden("faults.txt", &out);
    assert_eq!(codes, codes_of(Severity::Fault), "what a fixture makes, and what the catalogue has");
}

#[test]
fn all_advice_is_found_with_its_place_and_its_mend() {
    let advice = |set: &[u8]| Schema::from_descriptor_set(set, Rules::default()).unwrap().advice;
    assert_eq!(advice(&small(&[])), [], "of the schema without changes");
    let without_comments =
        compile::compile_with("test.proto", &compile::fixture("small.proto"), |compiler| {
            compiler.include_imports(true);
        });
    let mut codes = BTreeSet::new();
    let cases = ADVICE.iter().map(|(name, edits)| (*name, small(edits)));
    let cases = cases.chain([("descriptors without comments", without_comments)]);
    let out = told(cases.map(|(name, set)| (name, advice(&set))), &mut codes);
    compile::golden("advice.txt", &out);
    assert_eq!(codes, codes_of(Severity::Advice), "what a fixture makes, and what the catalogue has");
}

#[test]
fn codes_are_told_apart() {
    let all = CATALOGUE.concat();
    let codes: BTreeSet<&str> = all.iter().map(|entry| entry.code).collect();
    assert_eq!(codes.len(), all.len());
    let silent: Vec<_> =
        all.iter().filter(|entry| [entry.when, entry.message, entry.mend].contains(&"")).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn the_schema_without_changes_has_none() {
    assert_eq!(faults(&small(&[])), []);
}

#[test]
fn all_faults_come_at_once() {
    let one: Edits = &[
        ("group: \"test.example.com\"", "group: \"X\""),
        ("MachineSpec spec = 2;", "MachineSpec spec = 7;"),
        ("rpc ListMachines(kubridge.v1.ListRequest)", "rpc ListMachines(google.protobuf.Empty)"),
        ("Machine machine = 1; }", "Machine machine = 1; string colour = 2; }"),
    ];
    let places: Vec<_> = faults(&small(one)).into_iter().map(|fault| (fault.element, fault.field)).collect();
    let expected = [
        ("", "group"),
        ("test.v1.Machine", "spec"),
        ("test.v1.Machines.CreateMachine", "colour"),
        ("test.v1.Machines.ListMachines", ""),
    ];
    assert_eq!(places, expected.map(|(element, field)| (element.to_owned(), field.to_owned())));
}

#[test]
fn bytes_that_are_no_descriptor_set_are_a_fault() {
    for bytes in [&b""[..], b"\x0a", b"\x0a\x05hello", b"garbage", &[0x0a, 2, 0x0a, 0xff]] {
        let found = faults(bytes);
        assert_eq!(found.len(), 1, "{bytes:?}");
        assert!(
            found[0].message.contains("descriptor set") || found[0].message.contains("FileDescriptorSet"),
            "{found:?}"
        );
    }
}

#[test]
fn kinds_of_kubernetes_keep_their_numbers_where_the_rules_allow_it() {
    let set = small(&[
        ("  MachineSpec spec = 2;\n", ""),
        ("MachineStatus status = 3;", "MachineStatus status = 2;"),
    ]);
    assert_eq!(faults(&set).len(), 1);
    let schema = Schema::from_descriptor_set(&set, Rules::OWN_KINDS).unwrap();
    assert_eq!(schema.apis[0].resources[0].status_field, Some(2));
}

#[test]
fn a_create_only_kind_is_allowed_where_the_rules_allow_it() {
    let set = small(&[("  rpc ListMachines(kubridge.v1.ListRequest) returns (MachineList);\n", "")]);
    assert!(Schema::from_descriptor_set(&set, Rules::default()).is_err());
    let schema = Schema::from_descriptor_set(&set, Rules::OWN_KINDS).unwrap();
    assert!(!schema.apis[0].resources[0].verbs().contains(&"list"));
}

/// A backend may send anything. (What each change means is not asked: only that there is an answer.)
#[test]
fn hostile_descriptors_do_no_harm() {
    let set = small(&[]);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..400 {
        let mut bytes = set.clone();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The file of the test is the last one: most changes go there.
            let start = if state & 3 == 0 { 0 } else { bytes.len() - 2500 };
            let at = start + (state >> 8) as usize % (bytes.len() - start);
            bytes[at] = (state >> 40) as u8;
        }
        let _ = faults(&bytes);
    }
}
