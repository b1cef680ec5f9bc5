//! Pages of docs/ that are made of the code.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod cli;
mod crd;
mod errors;

use std::{fs, path::Path};

/// Compares with `docs/NAME`; `UPDATE_GOLDEN=1` writes it.
#[track_caller]
fn same(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(path, made).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    let differing = made.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert!(made == written, "docs/{name}: UPDATE_GOLDEN=1 writes it anew; first: {differing:#?}");
}
