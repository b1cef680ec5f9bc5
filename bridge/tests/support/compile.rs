//! Compiles proto source against the contract, and keeps golden files.

#![allow(dead_code, clippy::unwrap_used, reason = "every test binary uses its part")]

use std::{env, fs, path::PathBuf};

use kubridge_bridge::proto;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};

struct Source {
    name: String,
    text: String,
}

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == self.name {
            File::from_source(name, &self.text)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

/// Descriptor-set bytes of one file, with imports and comments.
pub(crate) fn compile(name: &str, text: &str) -> Vec<u8> {
    compile_with(name, text, |compiler| {
        compiler.include_imports(true).include_source_info(true);
    })
}

pub(crate) fn compile_with(name: &str, text: &str, configure: impl FnOnce(&mut protox::Compiler)) -> Vec<u8> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source { name: name.to_owned(), text: text.to_owned() });
    resolver.add(DescriptorSetFileResolver::decode(proto::DESCRIPTORS).unwrap());
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    configure(&mut compiler);
    if let Err(error) = compiler.open_file(name) {
        panic!("{name}: {error:?}\n{text}");
    }
    compiler.encode_file_descriptor_set()
}

pub(crate) fn fixture(name: &str) -> String {
    fs::read_to_string(root().join("fixtures").join(name)).unwrap()
}

/// Descriptor-set bytes of the inventory fixture.
pub(crate) fn inventory() -> Vec<u8> {
    compile("inventory/v1/inventory.proto", &fixture("inventory.proto"))
}

/// Compares with `tests/golden/NAME`; `UPDATE_GOLDEN=1` writes it.
pub(crate) fn golden(name: &str, actual: &str) {
    let path = root().join("golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let line = expected.lines().zip(actual.lines()).position(|(e, a)| e != a);
        let line = line.unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
        panic!(
            "{name} differs from line {}:\n expected: {:?}\n actual:   {:?}\n(UPDATE_GOLDEN=1 writes it)",
            line + 1,
            expected.lines().nth(line),
            actual.lines().nth(line),
        );
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}
