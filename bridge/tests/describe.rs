//! A served API on one page: from a schema, and from another server's documents.

#![allow(clippy::unwrap_used)]

#[path = "support/compile.rs"]
mod compile;

use kubridge_bridge::{
    describe::{ApiFacts, By, page},
    discovery_doc::VersionDocument,
    model::{Rules, Schema},
};
use serde_json::Value;

const RESOURCES: &[u8] = include_bytes!("golden/discovery-004-resources.json");
const OPENAPI: &str = include_str!("golden/openapi-020-v3-wardle.json");

fn facts(set: &[u8]) -> ApiFacts {
    ApiFacts::of_api(&Schema::from_descriptor_set(set, Rules::default()).unwrap().apis[0])
}

fn edited(edits: &[(&str, &str)]) -> ApiFacts {
    let mut text = compile::fixture("small.proto");
    for (from, to) in edits {
        assert!(text.contains(from), "{from:?}");
        text = text.replacen(from, to, 1);
    }
    facts(&compile::compile("test.proto", &text))
}

fn by(facts: &ApiFacts, what: &str) -> By {
    let machine = &facts.resources[0];
    let found = machine.verbs.iter().chain(&machine.also).find(|duty| duty.what == what);
    found.unwrap_or_else(|| panic!("{what}: {machine:?}")).by.clone()
}

#[test]
fn a_schema_is_described_in_full() {
    let facts = facts(&compile::inventory());
    compile::golden("describe-inventory.txt", &page(&facts));
    let json = serde_json::to_vec(&facts).unwrap();
    assert_eq!(serde_json::from_slice::<ApiFacts>(&json).unwrap(), facts, "nothing is lost on the way");
}

#[test]
fn what_the_backend_lacks_is_made_or_named() {
    let without = |methods: &[&str]| {
        let text = compile::fixture("small.proto");
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| !methods.iter().any(|method| line.contains(&format!("rpc {method}("))))
            .collect();
        facts(&compile::compile("test.proto", &kept.join("\n")))
    };
    let made = |how: &str| By::Aggregator(how.to_owned());
    let nobody = |needs: &str| By::Nobody(needs.to_owned());
    let all = without(&[]);
    assert_eq!(by(&all, "get"), By::Method("/test.v1.Machines/GetMachine".to_owned()));
    assert_eq!(by(&all, "patch"), made("Get, the patch, Update under the version that was read"));
    assert_eq!(by(&all, "deletecollection"), made("List, then Delete of each"));
    let listed = without(&["GetMachine", "CreateMachine", "DeleteMachine"]);
    assert_eq!(by(&listed, "get"), made("List, narrowed to the name"));
    assert_eq!(by(&listed, "patch"), made("List, the patch, Update under the version that was read"));
    assert_eq!(by(&listed, "create"), nobody("needs CreateMachine"));
    assert_eq!(by(&listed, "deletecollection"), nobody("needs DeleteMachine"));
    let read_only = without(&["UpdateMachine"]);
    assert_eq!(by(&read_only, "patch"), nobody("needs UpdateMachine"));
    assert!(read_only.resources[0].subresources.iter().all(|sub| sub.name != "status"));
}

#[test]
fn dry_run_is_the_backends_where_its_request_has_a_place_for_it() {
    let all = edited(&[]);
    assert_eq!(
        by(&all, "dry run of create, update, delete"),
        By::Aggregator("everything but the write".to_owned())
    );
    let native = edited(&[("Machine machine = 1; }", "Machine machine = 1; bool validate_only = 2; }")]);
    assert_eq!(by(&native, "dry run of create"), By::Backend("the request tells it".to_owned()));
    assert_eq!(
        by(&native, "dry run of update, delete"),
        By::Aggregator("everything but the write".to_owned())
    );
    let own = edited(&[("{ short_names: \"mach\" }", "{ lifecycle: BACKEND }")]);
    assert_eq!(by(&own, "metadata"), By::Backend("lifecycle: BACKEND".to_owned()));
    assert_eq!(by(&own, "dry run of delete"), By::Backend("the request tells it".to_owned()));
}

#[test]
fn another_servers_documents_are_described_as_far_as_they_go() {
    let discovery = VersionDocument::from_resource_list(RESOURCES, "wardle.example.com", "v1alpha1").unwrap();
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let facts = ApiFacts::of_documents("wardle.example.com", "v1alpha1", &discovery, &openapi);
    compile::golden("describe-wardle.txt", &page(&facts));
    let bare = ApiFacts::of_documents("wardle.example.com", "v1alpha1", &discovery, &Value::Null);
    assert!(bare.resources.iter().all(|resource| resource.fields.is_empty() && !resource.verbs.is_empty()));
}

#[test]
fn fields_that_hold_themselves_and_words_that_are_too_much_do_no_harm() {
    let facts = facts(&compile::inventory());
    let machine = facts.resources.iter().find(|resource| resource.resource == "machines").unwrap();
    let paths: Vec<&str> = machine.fields.iter().map(|field| field.path.as_str()).collect();
    assert!(paths.contains(&"spec.part.parts") && !paths.contains(&"spec.part.parts.parts"), "{paths:?}");
    let loud = edited(&[("// A machine.", "// A \u{1b}[31mmachine\u{7}. And more.")]);
    let page = page(&loud);
    assert!(page.contains("\n  A [31mmachine\n"), "{page}");
    assert!(!page.contains(['\u{1b}', '\u{7}']), "{page}");
}
