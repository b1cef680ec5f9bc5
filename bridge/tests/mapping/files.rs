//! Mapping files: what they say over what is derived, services that are no AIP services, and every fault of a file.

use kubridge_bridge::{
    mapping::{MappingFile, read_schema, read_schema_by, relevant},
    model::{Fault, Rules, Schema},
};
use serde_json::json;

use crate::{
    descriptors::compile,
    service::{State, text},
    support::{Client, LIBRARY, changed, client_with},
};

fn file(text: &str) -> Vec<MappingFile> {
    MappingFile::read("library.yaml", text).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn mapping(spec: &str) -> Vec<MappingFile> {
    file(&format!(
        "apiVersion: kubridge.io/v1alpha1\nkind: Mapping\nmetadata: {{name: library}}\nspec:\n{spec}"
    ))
}

fn schema(descriptors: &[u8], files: &[MappingFile]) -> Schema {
    read_schema(descriptors, Rules::default(), files).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn faults(descriptors: &[u8], files: &[MappingFile]) -> Vec<String> {
    let faults = read_schema(descriptors, Rules::default(), files).expect_err("it has faults");
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_overrides_what_is_derived() {
    let files = mapping(
        "
  group: books.example.com
  resources:
  - kind: Book
    plural: volumes
    shortNames: [vol]
    columns: [{name: Shelf, path: .spec.shelf.room}, {name: Reader, path: .status.reader, priority: 1}]
    selectableFields: [.spec.title]
    fields: {copy_count: {to: spec}, page_count: {to: status}, pin: {to: nowhere}}
    methods: {delete: {ignore: true}}
    actions: {recite: {ignore: true}, reprint: {ignore: true}}
  - kind: Edition
    ignore: true
",
    );
    let schema = schema(&LIBRARY, &files);
    let groups: Vec<&str> = schema.apis.iter().map(|api| api.group.as_str()).collect();
    assert_eq!(groups, ["books.example.com", "library.example.com"]);
    let [book] = schema.apis[0].resources.as_slice() else { panic!("{:?}", schema.apis[0]) };
    assert_eq!(
        (book.plural.as_str(), book.short_names[0].as_str(), book.verbs().join(" ").as_str()),
        ("volumes", "vol", "create get list patch update watch")
    );
    assert_eq!(book.columns.len(), 2);
    assert_eq!(book.actions.len(), 1);
    let names = |part: &str| -> Vec<String> {
        let message = book.message.descriptor().get_field_by_name(part).unwrap();
        message.kind().as_message().unwrap().fields().map(|field| field.name().to_owned()).collect()
    };
    assert!(names("spec").contains(&"copy_count".into()) && !names("spec").contains(&"pin".into()));
    assert!(names("status").contains(&"page_count".into()));
    let others = &schema.apis[1].resources;
    assert!(others.iter().all(|resource| resource.kind != "Edition"), "{others:?}");
}

#[test]
fn a_file_mends_what_was_refused() {
    let unversioned = changed("package example.library.v1;", "package example.library;");
    schema(
        &unversioned,
        &mapping(
            "  version: v2\n  resources:\n  - {kind: Book}\n  - {kind: Note}\n  - {kind: Edition}\n  - {kind: Settings}\n  - {kind: Publisher}\n",
        ),
    );
    let unpatterned = changed("pattern: \"publishers/{publisher}/settings\"", "");
    schema(
        &unpatterned,
        &mapping(
            "  resources:\n  - kind: Settings\n    names: {patterns: [\"publishers/{publisher}/settings\"]}\n",
        ),
    );
    let twice = changed(
        "string title = 3 [(google.api.field_behavior) = REQUIRED]",
        "string title = 3 [(google.api.field_behavior) = REQUIRED, (google.api.field_behavior) = OUTPUT_ONLY]",
    );
    let files = mapping(
        "  resources:\n  - kind: Book\n    columns: []\n    fields: {title: {to: spec, required: true}}\n",
    );
    let advice: Vec<String> = schema(&twice, &files).advice.iter().map(ToString::to_string).collect();
    assert!(!advice.iter().any(|a| a.contains("REQUIRED and OUTPUT_ONLY")), "{advice:#?}");
    let needy = changed(
        "string book_id = 3;",
        "string book_id = 3;\n  string shop = 9 [(google.api.field_behavior) = REQUIRED];",
    );
    let files =
        mapping("  resources:\n  - kind: Book\n    methods: {create: {request: {shop: {value: main}}}}\n");
    schema(&needy, &files);
    // Another service has a GetBook, too.
    let again = changed(
        "message GetPublisherRequest {",
        "service Mirror { rpc GetBook(GetBookRequest) returns (Book); }\nmessage GetPublisherRequest {",
    );
    let found = faults(&again, &[]);
    assert!(found.iter().any(|f| f.contains("Mirror.GetBook: get of Book is there twice")), "{found:#?}");
    let files = mapping(
        "  resources:\n  - kind: Book\n    methods: {get: {method: example.library.v1.Mirror.GetBook}}\n",
    );
    let book = &schema(&again, &files).apis[0].resources[1];
    assert_eq!(&*book.methods.get.as_ref().unwrap().path, "/example.library.v1.Mirror/GetBook");
}

#[test]
fn every_fault_of_a_file_is_told_at_once() {
    let text = "
apiVersion: kubridge.io/v1
kind: Mapping
metadata: {}
spec:
  groups: x
  resources:
  - kind: 7
    shortNames: bk
    fields: {title: {to: metadata.title, must: true}}
    methods:
      get: {request: {name: name, view: {constant: x}}}
      fetch: {}
  - names: {patterns: [1]}
    columns: [{name: A}]
";
    let faults: Vec<String> =
        MappingFile::read("a.yaml", text).unwrap_err().iter().map(ToString::to_string).collect();
    for (place, words) in [
        ("apiVersion", "write \"kubridge.io/v1alpha1\""),
        ("metadata.name", "is missing"),
        ("spec.groups", "is not known; leave it out; what may stand here: group, resources, version"),
        ("spec.resources[0].kind", "is 7; write a string"),
        ("spec.resources[0].shortNames", "write a list"),
        ("spec.resources[0].fields.title.to", "metadata.creationTimestamp"),
        ("spec.resources[0].fields.title.must", "is not known"),
        ("spec.resources[0].methods.get.request.name", "write one of \"nothing\", \"resourceName\""),
        ("spec.resources[0].methods.get.request.view", "{value: ...}"),
        ("spec.resources[0].methods.fetch", "what may stand here: create, delete, get, list, update"),
        ("spec.resources[1].names.patterns[0]", "write a string"),
        ("spec.resources[1].columns[0].path", "is missing"),
    ] {
        let found = faults.iter().find(|f| f.starts_with(&format!("a.yaml: {place}: ")));
        assert!(found.is_some_and(|f| f.contains(words)), "{place}: {faults:#?}");
    }
    assert_eq!(faults.len(), 12, "{faults:#?}");
    let broken = MappingFile::read("a.yaml", "kind: [").unwrap_err();
    assert!(broken[0].to_string().contains("is no YAML"), "{broken:?}");
    assert!(MappingFile::read("a.yaml", "").is_err());
}

#[test]
fn what_a_file_names_must_be_there() {
    let files = mapping(
        "
  resources:
  - kind: Book
    fields: {colour: {to: spec}, title: {to: metadata.labels}, isbn: {to: metadata.uid}}
    names: {patterns: ['publishers/*']}
    methods:
      get: {method: example.library.v1.LibraryService.FetchBook}
      list: {request: {parent: {variable: shelf}, page_size: pageToken, shelf: id}}
  - message: example.library.v1.Shelf
",
    );
    let found = faults(&LIBRARY, &files);
    for words in [
        &["Book.colour", "has no such field"][..],
        &["Book.title", "cannot be metadata.labels", "map<string, string>"],
        &["Book.isbn", "uid is metadata.uid too"],
        &["Book.pattern", "wildcard"],
        &["library.yaml: library.spec.resources[1]", "no message \"example.library.v1.Shelf\""],
    ] {
        assert!(found.iter().any(|f| words.iter().all(|word| f.contains(word))), "{words:?}: {found:#?}");
    }
    let files = mapping(
        "
  resources:
  - kind: Book
    methods:
      get: {method: example.library.v1.LibraryService.FetchBook}
      list: {request: {parent: {variable: shelf}, page_size: pageToken, shelf: id}}
      update: {request: {book: nothing}}
",
    );
    let found = faults(&LIBRARY, &files);
    for words in [
        &["Book.get", "has no method \"example.library.v1.LibraryService.FetchBook\""][..],
        &["ListBooks.parent", "no pattern has the variable \"shelf\""],
        &["ListBooks.page_size", "it is no string"],
        &["ListBooks.shelf", "has no such field"],
        &["Book.update", "nothing in the request", "is filled from the object"],
    ] {
        assert!(found.iter().any(|f| words.iter().all(|word| f.contains(word))), "{words:?}: {found:#?}");
    }
    // A file of which the backend has nothing is another backend's; alone it is no help.
    let other = mapping("  resources: [{message: fleet.v1.Robot}]\n");
    let advice = schema(&LIBRARY, &other).advice;
    assert!(advice.iter().any(|a| a.to_string().contains("it says nothing here")), "{advice:#?}");
    let found = faults(&compile("a.proto", "syntax = \"proto3\"; message A {}"), &other);
    assert!(found.iter().any(|f| f.contains("has none of its messages: fleet.v1.Robot")), "{found:#?}");
}

/// A service of its own style: ids in fields, answers in wrappers, no etag, no resource names.
const FLEET: &str = r#"
syntax = "proto3";
package fleet.v1;
import "google/protobuf/empty.proto";

service Fleet {
  rpc FetchRobot(FetchRobotRequest) returns (RobotReply);
  rpc AllRobots(AllRobotsRequest) returns (AllRobotsReply);
  rpc Register(RegisterRequest) returns (RobotReply);
  rpc Change(ChangeRequest) returns (google.protobuf.Empty);
  rpc Scrap(FetchRobotRequest) returns (google.protobuf.Empty);
  rpc Wave(WaveRequest) returns (WaveReply);
}

// Moves things.
message Robot {
  int64 serial = 1;
  string yard = 2;
  string model = 3;
  int32 battery = 4;
  map<string, string> tags = 5;
}

message FetchRobotRequest { string yard = 1; int64 serial = 2; }
message RobotReply { Robot robot = 3; }
message AllRobotsRequest { string yard = 1; int32 max = 2; string after = 3; }
message AllRobotsReply { repeated Robot all = 1; string next = 2; }
message RegisterRequest { string yard = 1; int64 serial = 2; string model = 3; string by = 4; }
message ChangeRequest { Robot robot = 1; }
message WaveRequest { int64 robot = 1; int32 times = 2; }
message WaveReply { string said = 1; }
"#;

const FLEET_MAPPING: &str = "
apiVersion: kubridge.io/v1alpha1
kind: Mapping
metadata: {name: fleet}
spec:
  group: fleet.example.com
  resources:
  - message: fleet.v1.Robot
    names: {field: serial, namespaceField: yard}
    fields:
      battery: {to: status}
      tags: {to: metadata.labels}
      model: {required: true}
    columns: [{name: Model, path: .spec.model}]
    methods:
      get:
        method: fleet.v1.Fleet.FetchRobot
        request: {yard: namespace, serial: id}
        items: robot
      list:
        method: fleet.v1.Fleet.AllRobots
        request: {yard: namespace, max: pageSize, after: pageToken}
        items: all
        nextPageToken: next
      create:
        method: fleet.v1.Fleet.Register
        request: {yard: namespace, serial: id, model: {field: model}, by: {value: kubridge}}
        items: robot
      update:
        method: fleet.v1.Fleet.Change
      delete:
        method: fleet.v1.Fleet.Scrap
        request: {yard: namespace, serial: id}
    actions:
      wave:
        method: fleet.v1.Fleet.Wave
        request: {robot: id}
";

const ROBOTS: &str = "/apis/fleet.example.com/v1/namespaces/north/robots";

fn fleet() -> Client {
    let client = client_with(&compile("fleet.proto", FLEET), &file(FLEET_MAPPING));
    client.service.answer(State::fleet);
    client
}

#[tokio::test(start_paused = true)]
async fn any_service_is_mapped_method_by_method() {
    let client = fleet();
    let robot =
        |serial: &str| json!({"metadata": {"name": serial, "labels": {"a": "b"}}, "spec": {"model": "M1"}});
    let made = client.post(ROBOTS, &robot("7")).await.expect(201);
    assert_eq!((&made["metadata"]["name"], &made["metadata"]["namespace"]), (&json!("7"), &json!("north")));
    assert_eq!((&made["spec"], &made["status"]), (&json!({"model": "M1"}), &json!({"battery": 100})));
    assert_eq!(text(&client.service.last("Register"), "by"), "kubridge");
    client.post(ROBOTS, &robot("8")).await.expect(201);
    client
        .post(&ROBOTS.replace("north", "South_2").replace("South_2", "x0-53outh-5f2"), &robot("9"))
        .await
        .expect(201);
    assert_eq!(client.names(ROBOTS).await.0, ["north/7", "north/8"]);
    assert_eq!(text(&client.service.last("AllRobots"), "yard"), "north");
    let all = ["x0-53outh-5f2/9", "north/7", "north/8"];
    assert_eq!(client.names("/apis/fleet.example.com/v1/robots").await.0, all);

    let path = format!("{ROBOTS}/7");
    let patch = json!({"spec": {"model": "M2"}, "metadata": {"labels": {"c": "d"}}});
    let changed = client.merge(&path, &patch).await.expect(200);
    assert_eq!((&changed["spec"]["model"], &changed["metadata"]["labels"]["c"]), (&json!("M2"), &json!("d")));
    assert_eq!(changed["status"]["battery"], 100, "all of it was sent: the service replaces");
    let answer = client.merge(&path, &json!({"spec": {"model": null}})).await;
    answer.expect(422);
    assert_eq!(answer.causes()[0].0, "spec.model");

    let waved = client.post(&format!("{path}/wave"), &json!({"times": 3})).await.expect(201);
    assert_eq!(waved["said"], "robot 7 waved 3 times");
    client.delete(&path).await.expect(200);
    client.get(&path).await.expect(404);
    // No robot has a serial that is no number.
    client.get(&format!("{ROBOTS}/rusty")).await.expect(404);
    let unnumbered = client.post(ROBOTS, &robot("rusty")).await;
    unnumbered.expect(422);
    assert_eq!(unnumbered.causes()[0].0, "metadata.name");
}

#[test]
fn the_files_of_the_documentation_are_good() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/aip.md")).unwrap();
    let blocks: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let blocks: Vec<&str> = blocks.into_iter().filter(|block| block.contains("kind: Mapping")).collect();
    assert_eq!(blocks.len(), 2);
    let library = schema(&LIBRARY, &file(blocks[0]));
    let book = library.apis[0].resources.iter().find(|resource| resource.kind == "Book").unwrap();
    assert_eq!((book.short_names.as_slice(), book.methods.delete.is_none()), (&["bk".to_owned()][..], true));
    let fleet = schema(&compile("fleet.proto", FLEET), &file(blocks[1]));
    assert_eq!(
        fleet.apis[0].resources[0].verbs().join(" "),
        "create delete deletecollection get list patch update watch"
    );
}

#[test]
fn a_mapping_is_chosen_by_its_name() {
    let files = file(
        "
apiVersion: kubridge.io/v1alpha1
kind: Mapping
metadata: {name: volumes}
spec: {resources: [{kind: Book, plural: volumes}]}
---
apiVersion: kubridge.io/v1alpha1
kind: Mapping
metadata: {name: tomes}
spec: {resources: [{message: example.library.v1.Book, plural: tomes}]}
---
apiVersion: kubridge.io/v1alpha1
kind: Mapping
metadata: {name: fleet}
spec: {resources: [{message: fleet.v1.Robot}]}
",
    );
    let read = |name: &str| {
        let chosen = MappingFile::named(&files, name).unwrap();
        read_schema_by(&LIBRARY, Rules::default(), chosen)
    };
    for plural in ["volumes", "tomes"] {
        let schema = read(plural).unwrap();
        assert!(schema.apis[0].resources.iter().any(|resource| resource.plural == plural), "{plural}");
    }
    let refused = |found: Result<Schema, Vec<Fault>>| {
        let faults = found.expect_err("it is refused");
        faults.into_iter().map(|fault| (fault.code, fault.to_string())).collect::<Vec<_>>()
    };
    let [(code, text)] = refused(read("fleet")).try_into().unwrap();
    assert_eq!(code, "mapping_of_another_backend");
    assert!(text.starts_with("library.yaml: fleet: "), "{text}");
    // Nobody chooses.
    let [(code, text)] = refused(read_schema(&LIBRARY, Rules::default(), &files)).try_into().unwrap();
    assert_eq!(code, "mapped_twice");
    assert!(text.contains("volumes (in library.yaml) and tomes (in library.yaml)"), "{text}");
    let relevant = relevant(&LIBRARY, &files);
    let names: Vec<&str> = relevant.iter().map(|mapping| mapping.metadata.name.as_str()).collect();
    assert_eq!(names, ["volumes", "tomes"]);
    // None of that name, or two.
    let none = MappingFile::named(&files, "scrolls").unwrap_err();
    assert_eq!(none.code, "no_such_mapping");
    assert!(none.to_string().contains("(there is \"volumes\", \"tomes\", \"fleet\")"), "{none}");
    let twice = [files.clone(), files].concat();
    assert_eq!(MappingFile::named(&twice, "tomes").unwrap_err().code, "mapping_named_twice");
}
