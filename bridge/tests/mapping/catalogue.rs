//! Small changes to a service and to mapping files, and every fault and all the advice that each of them makes.
//! The texts stand in `golden/mapping-faults.txt` and `golden/mapping-advice.txt`. Every entry of the catalogue is in one
//! of them.

use std::{collections::BTreeSet, fmt::Write as _};

use kubridge_bridge::{
    mapping::{MappingFile, read_schema, read_schema_by},
    model::{CATALOGUE, Fault, Rules, Severity},
    wire,
};
use prost::Message as _;
use prost_types::FileDescriptorProto;

use crate::{
    compile,
    support::{LIBRARY, PROTO, compile as compiled},
};

/// What is replaced in the library's proto.
type Edits = &'static [(&'static str, &'static str)];

const LIST_EDITIONS: &str = "rpc ListEditions(ListEditionsRequest) returns (ListEditionsResponse);";
const RECITE: &str = "rpc ReciteBook(ReciteBookRequest) returns (stream Line);";

/// What descriptors make alone.
const DERIVED: &[(&str, Edits)] = &[
    ("a package without a version", &[("package example.library.v1;", "package example.library;")]),
    ("no pattern", &[("pattern: \"publishers/{publisher}/settings\"", "")]),
    (
        "a pattern that is no pattern",
        &[("pattern: \"publishers/{publisher}/editions/{edition}\"", "pattern: \"*\"")],
    ),
    (
        "a group that is no DNS name",
        &[("type: \"library.example.com/Edition\"", "type: \"Library_x/Edition\"")],
    ),
    ("a kind of Kubernetes' own", &[("library.example.com/Note", "library.example.com/Status")]),
    ("a plural with a space", &[("plural: \"notes\"", "plural: \"my notes\"")]),
    ("no List", &[(LIST_EDITIONS, "")]),
    (
        "no name",
        &[("string name = 1 [(google.api.field_behavior) = IDENTIFIER];\n  int32 year", "int32 year")],
    ),
    (
        "a name that is a number",
        &[(
            "string name = 1 [(google.api.field_behavior) = IDENTIFIER];\n  int32 year",
            "bytes name = 1;\n  int32 year",
        )],
    ),
    (
        "a Get that is there twice",
        &[(
            "message GetPublisherRequest {",
            "service Mirror { rpc GetBook(GetBookRequest) returns (Book); }\nmessage GetPublisherRequest {",
        )],
    ),
    (
        "a field that is required and unknown",
        &[(
            "string book_id = 3;",
            "string book_id = 3;\n  string shop = 9 [(google.api.field_behavior) = REQUIRED];",
        )],
    ),
    ("an operation that ends in nothing", &[("response_type: \"Book\"", "response_type: \"Tome\"")]),
];

/// What descriptors make that are served all the same.
const ADVICE: &[(&str, Edits)] = &[
    ("a service as it is", &[]),
    (
        "REQUIRED and OUTPUT_ONLY",
        &[(
            "int32 copy_count = 11 [(google.api.field_behavior) = OUTPUT_ONLY]",
            "int32 copy_count = 11 [(google.api.field_behavior) = OUTPUT_ONLY, (google.api.field_behavior) = REQUIRED]",
        )],
    ),
    (
        "four parents",
        &[(
            "publishers/{publisher}/editions/{edition}",
            "publishers/{publisher}/as/{a}/bs/{b}/editions/{edition}",
        )],
    ),
    ("a custom method of nobody", &[(RECITE, "rpc Recite(ReciteBookRequest) returns (stream Line);")]),
    (
        "a custom method with a stream of requests",
        &[(RECITE, "rpc ReciteBook(stream ReciteBookRequest) returns (Line);")],
    ),
    (
        "a custom method called status",
        &[(RECITE, "rpc StatusBook(ReciteBookRequest) returns (stream Line);")],
    ),
    (
        "a custom method called as another",
        &[(RECITE, "rpc SetAsideBook(ReciteBookRequest) returns (stream Line);")],
    ),
];

/// What mapping files of the library make: the resources in them.
const MAPPED: &[(&str, Edits, &str)] = &[
    (
        "a message that is not there",
        &[],
        "[{kind: Book}, {message: example.library.v1.Shelf}, {kind: Page}, {plural: x}]",
    ),
    ("a version of another form", &[], "[{message: example.library.v1.Book, version: one}]"),
    ("a field that is not there", &[], "[{kind: Book, fields: {colour: {to: spec}}}]"),
    (
        "fields in places of others",
        &[],
        "[{kind: Book, fields: {title: {to: metadata.labels}, isbn: {to: metadata.uid}}}]",
    ),
    ("a namespace that is not there", &[], "[{kind: Book, names: {field: isbn, namespaceField: colour}}]"),
    (
        "methods that are not there, or stream",
        &[],
        "[{kind: Book, methods: {
            get: {method: example.library.v1.LibraryService.FetchBook},
            delete: {method: example.library.v1.LibraryService.ReciteBook},
            create: {method: example.library.v1.LibraryService.DeleteEdition}}}]",
    ),
    (
        "requests of other fields and types",
        &[],
        "[{kind: Book, methods: {
            list: {request: {parent: {variable: shelf}, page_size: pageToken, shelf: id}},
            create: {request: {book_id: {field: colour}, validate_only: {value: perhaps}}},
            update: {request: {book: nothing}},
            delete: {request: {name: nothing}}}}]",
    ),
    (
        "resource names where there are none",
        &[],
        "[{kind: Book, names: {field: isbn}, methods: {get: {request: {name: resourceName}}}}]",
    ),
    (
        "answers of other types",
        &[],
        "[{kind: Book, methods: {
            get: {method: example.library.v1.LibraryService.GetNote, request: {name: resourceName}},
            list: {items: pages, nextPageToken: books},
            delete: {items: book}}},
          {kind: Note, methods: {list: {nextPageToken: notes}}}]",
    ),
    (
        "an action with a stream of requests",
        &[(RECITE, "rpc ReciteBook(stream ReciteBookRequest) returns (Line);")],
        "[{kind: Book, actions: {recite: {method: example.library.v1.LibraryService.ReciteBook}}}]",
    ),
];

/// Texts that are no mapping files.
const TEXTS: &[(&str, &str)] = &[
    ("no YAML", "kind: ["),
    ("nothing", ""),
    (
        "values of other types",
        "apiVersion: kubridge.io/v1\nkind: Mapping\nmetadata: {}\nspec: {groups: x, resources: [{kind: 7}]}",
    ),
    (
        "a number that is too large",
        "apiVersion: kubridge.io/v1alpha1\nkind: Mapping\nmetadata: {name: m}\n\
         spec: {resources: [{kind: Book, columns: [{name: A, path: .b, priority: 3000000000}]}]}",
    ),
];

fn library(edits: Edits) -> Vec<u8> {
    let mut text = PROTO.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    compiled("example/library/v1/library.proto", &text)
}

fn mapping(name: &str, resources: &str) -> Vec<MappingFile> {
    let text = format!(
        "apiVersion: kubridge.io/v1alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\nspec:\n  resources: {resources}"
    );
    MappingFile::read("library.yaml", &text).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn faults(descriptors: &[u8], files: &[MappingFile]) -> Vec<Fault> {
    read_schema(descriptors, Rules::default(), files).map(|_| Vec::new()).unwrap_or_else(|faults| faults)
}

fn advice(descriptors: &[u8], files: &[MappingFile]) -> Vec<Fault> {
    let schema = read_schema(descriptors, Rules::default(), files);
    schema.unwrap_or_else(|faults| panic!("{faults:#?}")).advice
}

/// The library, of which Google's option for Book cannot be decoded.
fn undecodable() -> Vec<u8> {
    let mut out = Vec::new();
    for field in wire::fields(&LIBRARY) {
        let mut raw = field.unwrap().value.to_vec();
        let mut file = FileDescriptorProto::decode(raw.as_slice()).unwrap();
        match file.name() {
            "example/library/v1/library.proto" => {
                // `type` becomes a number.
                let at =
                    raw.windows(25).position(|window| window == b"\x18library.example.com/Book").unwrap();
                raw[at - 1] = 0x08;
            }
            "google/api/resource.proto" => {
                // Nobody else decodes it before us.
                file.extension.retain(|extension| extension.name() != "resource");
                raw = file.encode_to_vec();
            }
            _ => {}
        }
        wire::put_bytes(&mut out, 1, &raw);
    }
    out
}

/// Everything else that is refused.
fn others() -> Vec<(&'static str, Vec<Fault>)> {
    let empty = compiled("a.proto", "syntax = \"proto3\"; message A {}");
    let stripped = "syntax = \"proto3\"; import \"google/api/resource.proto\"; message A {}";
    let group =
        "syntax = \"proto2\"; package a.v1; message A { optional string name = 1; optional group G = 2 {} }
        message AllRequest {} message AllReply { repeated A all = 1; }
        service S { rpc All(AllRequest) returns (AllReply); rpc Get(A) returns (AllReply); }";
    let same = "syntax = \"proto3\"; package kubridge.v1; message ObjectMeta { string name = 1; }
        message ListRequest { } message Reply { repeated ObjectMeta all = 1; }
        service S { rpc All(ListRequest) returns (Reply); }";
    let listed = |message: &str, service: &str| {
        mapping(
            "m",
            &format!(
                "[{{message: {message}, group: a.example.com, version: v1, names: {{field: name}}, \
              methods: {{list: {{method: {service}.S.All, items: all}}}}}}]"
            ),
        )
    };
    let got = mapping(
        "m",
        "[{message: a.v1.A, group: a.example.com, names: {field: name}, methods: {get: {method: a.v1.S.Get}, \
           list: {method: a.v1.S.All, items: all}}}]",
    );
    let one = mapping("one", "[{kind: Book}]");
    let two = mapping("two", "[{message: example.library.v1.Book}]");
    let robots = mapping("fleet", "[{message: fleet.v1.Robot}]");
    let both = [one.clone(), two].concat();
    let named = |files: &[MappingFile], name: &str| vec![*MappingFile::named(files, name).unwrap_err()];
    vec![
        ("options that a server stripped", faults(&compiled("a.proto", stripped), &[])),
        ("an option that cannot be decoded", faults(&undecodable(), &[])),
        ("another service's mapping alone", faults(&empty, &robots)),
        (
            "another service's mapping, chosen",
            read_schema_by(&LIBRARY, Rules::default(), &robots[0]).unwrap_err(),
        ),
        ("two mappings of one message", faults(&LIBRARY, &both)),
        ("a mapping that is not there", named(&both, "three")),
        ("a mapping that is there twice", named(&[one.clone(), one].concat(), "one")),
        ("a group of proto2", faults(&compiled("a.proto", group), &listed("a.v1.A", "a.v1"))),
        (
            "a Get that answers otherwise",
            faults(&compiled("a.proto", &group.replace("optional group G = 2 {}", "")), &got),
        ),
        (
            "types of the contract's names",
            faults(&compiled("mine.proto", same), &listed("kubridge.v1.ObjectMeta", "kubridge.v1")),
        ),
    ]
}

/// Everything that `cases` make, each under its name.
fn told(
    cases: impl IntoIterator<Item = (&'static str, Vec<Fault>)>,
    codes: &mut BTreeSet<&'static str>,
) -> String {
    let mut out = String::new();
    for (name, found) in cases {
        assert!(!found.is_empty(), "{name}: nothing is said");
        let is_whole = |fault: &Fault| ![fault.code, &fault.message, &fault.mend].contains(&"");
        assert!(found.iter().all(is_whole), "{name}: {found:?}");
        codes.extend(found.iter().map(|fault| fault.code));
        writeln!(out, "# {name}").unwrap();
        for Fault { file, element, field, message, mend, code } in found {
            writeln!(out, "{file} {element} [{field}] {code}\n    {message}\n    -> {mend}").unwrap();
        }
        out.push('\n');
    }
    out
}

/// The codes that only a mapping can get, of those that were found and of those that there are.
fn compare(found: &BTreeSet<&'static str>, severity: Severity) {
    let of = |entries: &'static [kubridge_bridge::model::Entry]| -> BTreeSet<&'static str> {
        entries.iter().filter(|entry| entry.severity == severity).map(|entry| entry.code).collect()
    };
    let [contract, mapping] = CATALOGUE;
    let found: BTreeSet<&str> = found.difference(&of(contract)).copied().collect();
    assert_eq!(found, of(mapping), "what a fixture makes, and what the catalogue has");
}

#[test]
fn every_fault_is_found_with_its_place_and_its_mend() {
    let mut codes = BTreeSet::new();
    let derived = DERIVED.iter().map(|(name, edits)| (*name, faults(&library(edits), &[])));
    let mapped =
        MAPPED.iter().map(|(name, edits, text)| (*name, faults(&library(edits), &mapping("library", text))));
    let texts =
        TEXTS.iter().map(|(name, text)| (*name, MappingFile::read("library.yaml", text).unwrap_err()));
    let out = told(texts.chain(derived).chain(mapped).chain(others()), &mut codes);
    compile::golden("mapping-faults.txt", &out);
    compare(&codes, Severity::Fault);
}

#[test]
fn all_advice_is_found_with_its_place_and_its_mend() {
    let mut codes = BTreeSet::new();
    let usual = advice(&LIBRARY, &[]);
    let cases = ADVICE.iter().map(|(name, edits)| {
        let found = advice(&library(edits), &[]);
        // What is said of the service as it is stands there once.
        let news = found.into_iter().filter(|found| edits.is_empty() || !usual.contains(found));
        (*name, news.collect())
    });
    let unused = advice(&LIBRARY, &mapping("fleet", "[{message: fleet.v1.Robot}]"));
    let machines = mapping("machines", "[{message: inventory.v1.Machine}]");
    let overruled = advice(&compile::inventory(), &machines);
    let of_files = [("another service's mapping", unused), ("a service that keeps the contract", overruled)]
        .map(|(name, found)| {
            (name, found.into_iter().filter(|found| found.file == "library.yaml").collect())
        });
    let out = told(cases.chain(of_files), &mut codes);
    compile::golden("mapping-advice.txt", &out);
    compare(&codes, Severity::Advice);
}
