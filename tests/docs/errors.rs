//! docs/errors.md: everything that Kubridge says when it refuses something, made from the code that says it.

mod page;
mod scan;

use std::{collections::BTreeSet, fs, path::Path};

use kubridge_bridge::status::FAMILIES;

#[test]
fn the_page_says_what_the_code_says() {
    super::same("errors.md", &page::page());
}

/// A constructor that nobody documented would be missing on the page.
#[test]
fn every_constructor_of_a_status_is_a_family() {
    let source =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("bridge/src/status/errors.rs"))
            .unwrap();
    let file = syn::parse_file(&source).unwrap();
    let methods = file.items.iter().filter_map(|item| match item {
        syn::Item::Impl(block) => Some(&block.items),
        _ => None,
    });
    let makes = |method: &&syn::ImplItemFn| {
        matches!(method.vis, syn::Visibility::Public(_)) && method.sig.receiver().is_none()
    };
    let constructors: BTreeSet<String> = methods
        .flatten()
        .filter_map(|item| match item {
            syn::ImplItem::Fn(method) => Some(method),
            _ => None,
        })
        .filter(makes)
        .map(|method| method.sig.ident.to_string())
        .collect();
    let documented: BTreeSet<String> = FAMILIES.iter().map(|family| family.constructor.to_owned()).collect();
    assert_eq!(constructors, documented);
    assert_eq!(documented.len(), FAMILIES.len());
}
