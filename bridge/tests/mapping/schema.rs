//! What is derived of descriptors, and what is refused.

use kubridge_bridge::{
    describe::{ApiFacts, By, page},
    mapping::{Home, Origin, Verb},
};

use crate::support::{LIBRARY, changed, faults, read};

#[test]
fn resources_are_derived() {
    let schema = read(&LIBRARY).unwrap();
    let [api] = schema.apis.as_slice() else { panic!("{schema:?}") };
    assert_eq!((api.group.as_str(), api.version.as_str()), ("library.example.com", "v1"));
    let found: Vec<_> = api
        .resources
        .iter()
        .map(|r| (r.kind.as_str(), r.plural.as_str(), r.singular.as_str(), r.namespaced, r.verbs().join(" ")))
        .collect();
    let all = "create delete deletecollection get list patch update watch";
    let unchanging = "create delete deletecollection get list watch";
    assert_eq!(
        found,
        [
            ("Publisher", "publishers", "publisher", false, unchanging.to_owned()),
            ("Book", "books", "book", true, all.to_owned()),
            ("Settings", "settings", "settings", true, "get list patch update watch".to_owned()),
            ("Note", "notes", "note", true, all.to_owned()),
            ("Edition", "editions", "edition", true, unchanging.to_owned()),
        ]
    );
    let book = &api.resources[1];
    assert!(!book.versioned && !book.status_subresource);
    assert_eq!(book.description, "A book that has been published.");
    let actions: Vec<_> = book.actions.iter().map(|a| (a.name.as_str(), a.kind.as_str())).collect();
    assert_eq!(
        actions,
        [
            ("recite", "ReciteBookRequest"),
            ("reprint", "ReprintBookRequest"),
            ("setaside", "ReserveBookRequest")
        ]
    );
    assert_eq!(
        &*book.methods.get.as_ref().unwrap().path,
        "/example.library.v1.LibraryService/GetBook",
        "the path that people know"
    );
    let columns: Vec<_> = book.columns.iter().map(|c| (c.name.as_str(), c.path.as_str())).collect();
    assert_eq!(columns, [("Title", ".spec.title"), ("State", ".status.state")]);
}

#[test]
fn every_fact_remembers_what_it_follows_from() {
    let schema = read(&LIBRARY).unwrap();
    let mapping = schema.mapped.as_ref().unwrap().mapping();
    let book = mapping.resources.iter().find(|r| r.kind.as_ref().unwrap().value == "Book").unwrap();
    let from = |origin: &Origin| match origin {
        Origin::Derived(from) => from.clone(),
        Origin::File => panic!("no file"),
    };
    let version = book.version.as_ref().unwrap();
    assert_eq!(
        (version.value.as_str(), from(&version.origin)),
        ("v1", "the package example.library.v1".to_owned())
    );
    let group = book.group.as_ref().unwrap();
    assert_eq!(from(&group.origin), "google.api.resource of example.library.v1.Book: the service in type");
    let state = book.fields["state"].to.as_ref().unwrap();
    assert_eq!((state.value, from(&state.origin)), (Home::Status, "field_behavior OUTPUT_ONLY".to_owned()));
    let etag = book.fields["etag"].to.as_ref().unwrap();
    assert_eq!(
        (etag.value, from(&etag.origin)),
        (Home::ResourceVersion, "the field's name and type (AIP-154)".into())
    );
    let method = book.methods.of(Verb::List).unwrap().method.as_ref().unwrap();
    assert_eq!(method.value, "example.library.v1.LibraryService.ListBooks");
}

#[test]
fn what_is_not_served_is_said() {
    let advice: Vec<String> = read(&LIBRARY).unwrap().advice.iter().map(ToString::to_string).collect();
    let says = |words: &[&str]| advice.iter().any(|a| words.iter().all(|word| a.contains(word)));
    assert!(says(&["CountBooks", "is not served", "actions"]), "{advice:#?}");
    assert!(says(&["Note.etag", "no etag"]), "{advice:#?}");
    let twice = changed(
        "int32 copy_count = 11 [(google.api.field_behavior) = OUTPUT_ONLY]",
        "int32 copy_count = 11 [(google.api.field_behavior) = OUTPUT_ONLY, (google.api.field_behavior) = REQUIRED]",
    );
    let schema = read(&twice).unwrap();
    let advice: Vec<String> = schema.advice.iter().map(ToString::to_string).collect();
    assert!(advice.iter().any(|a| a.contains("Book.copy_count: is REQUIRED and OUTPUT_ONLY")), "{advice:#?}");
}

#[test]
fn what_cannot_be_served_is_refused_with_the_mend() {
    for (from, to, words) in [
        (
            "package example.library.v1;",
            "package example.library;",
            vec!["Book.version", "has no version", "write `version` in a mapping file"],
        ),
        (
            "pattern: \"publishers/{publisher}/settings\"",
            "",
            vec!["Settings.pattern", "has no pattern", "names: {patterns"],
        ),
        (
            "pattern: \"publishers/{publisher}/editions/{edition}\"",
            "pattern: \"*\"",
            vec!["Edition.pattern", "wildcard", "names: {patterns"],
        ),
        (
            "string book_id = 3;",
            "string book_id = 3;\n  string shop = 9 [(google.api.field_behavior) = REQUIRED];",
            vec!["CreateBook.shop", "is REQUIRED, and nothing says what it is filled with"],
        ),
        (
            "rpc ListEditions(ListEditionsRequest) returns (ListEditionsResponse);",
            "",
            vec!["Edition", "has no List", "methods: {list"],
        ),
        (
            "type: \"library.example.com/Edition\"",
            "type: \"Library_x/Edition\"",
            vec!["Edition.group", "is not an API group", "`group` in a mapping file"],
        ),
        ("response_type: \"Edition\"", "response_type: \"Nothing\"", vec!["Edition"]),
    ] {
        let found = match read(&changed(from, to)) {
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            // No fault, but nothing creates it either.
            Ok(schema) => schema.advice.iter().map(ToString::to_string).collect(),
        };
        assert!(found.iter().any(|f| words.iter().all(|word| f.contains(word))), "{to}: {found:#?}");
    }
}

#[test]
fn stripped_options_and_no_resources_are_told_apart() {
    let stripped = faults(&crate::support::compile(
        "a.proto",
        "syntax = \"proto3\"; import \"google/api/resource.proto\"; message A {}",
    ));
    assert!(stripped[0].contains("reflection strips custom options"), "{stripped:?}");
    let nothing = faults(&crate::support::compile("a.proto", "syntax = \"proto3\"; message A {}"));
    assert!(nothing[0].contains("no message is a resource"), "{nothing:?}");
}

#[test]
fn the_json_schema_of_mapping_files_is_that_of_the_types() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mapping.schema.json");
    let schema =
        serde_json::to_string_pretty(kubridge_bridge::mapping::MappingFile::json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == schema, "{} is not what the types say: UPDATE_GOLDEN=1 writes it", path.display());
}

#[test]
fn four_parents_are_many() {
    let deep = changed(
        "pattern: \"publishers/{publisher}/books/{book}/notes/{note}\"",
        "pattern: \"publishers/{publisher}/books/{book}/pages/{page}/notes/{note}\"",
    );
    let advice: Vec<String> = read(&deep).unwrap().advice.iter().map(ToString::to_string).collect();
    assert!(
        advice.iter().any(|a| a.contains("Note.pattern: objects have three parents or more")),
        "{advice:#?}"
    );
}

#[test]
fn two_messages_with_one_kind_are_refused() {
    let twice = changed("type: \"library.example.com/Note\"", "type: \"library.example.com/Book\"");
    assert!(read(&twice).is_err());
}

/// What people are told is what the service has: nothing that was made, and no name for two uses of one method.
#[test]
fn a_description_names_the_methods_that_are_called() {
    let pool = prost_reflect::DescriptorPool::decode(LIBRARY.as_slice()).unwrap();
    let methods: Vec<String> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
        .collect();
    let facts = ApiFacts::of_api(&read(&LIBRARY).unwrap().apis[0]);
    let named = |resource: &str, verb: &str| {
        let resource = facts.resources.iter().find(|facts| facts.resource == resource).unwrap();
        resource.verbs.iter().find(|duty| duty.what == verb).unwrap().by.clone()
    };
    let method = |name: &str| format!("/example.library.v1.LibraryService/{name}");
    assert_eq!(named("books", "list"), By::Method(method("ListBooks")));
    let polled = format!("polled List ({})", method("ListBooks"));
    assert_eq!(named("books", "watch"), By::Aggregator(polled));
    // The list of singletons is made of the one method that they have.
    assert_eq!(named("settings", "get"), By::Method(method("GetSettings")));
    assert_eq!(named("settings", "list"), By::Method(method("GetSettings")));
    let subresources = facts.resources.iter().flat_map(|facts| &facts.subresources);
    let verbs = facts.resources.iter().flat_map(|facts| &facts.verbs);
    for duty in verbs.chain(subresources.flat_map(|sub| &sub.verbs)) {
        if let By::Method(path) = &duty.by {
            assert!(methods.contains(path), "{path} is no method of the service");
        }
    }
    let page = page(&facts);
    assert!(!page.contains('#') && !page.contains("Mapped"), "{page}");
}
