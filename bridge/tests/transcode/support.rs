//! Tables of the test schemas, and short ways through the transcoder.

use std::sync::LazyLock;

use kubridge_bridge::transcode::{JsonError, MessageType, Parsed, Tables, WireError};
use prost_reflect::DescriptorPool;

pub(crate) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut compiler =
        protox::Compiler::new([format!("{root}/../proto"), format!("{root}/tests/transcode")]).unwrap();
    compiler.include_imports(true).open_files(["profile.proto", "legacy.proto"]).unwrap();
    DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap()
});

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::compile(&POOL));

pub(crate) fn message(name: &str) -> MessageType {
    TABLES.message(name).unwrap()
}

pub(crate) fn all() -> MessageType {
    message("test.v1.All")
}

pub(crate) fn specials() -> MessageType {
    message("test.v1.Specials")
}

pub(crate) fn to_json(message: &MessageType, wire: &[u8]) -> Result<String, WireError> {
    let mut out = b"before".to_vec();
    let done = message.to_json(wire, None, &mut out);
    let out = String::from_utf8(out).unwrap();
    let out = out.strip_prefix("before").unwrap().to_owned();
    if done.is_err() {
        assert_eq!(out, "", "an error leaves the output as it was");
    }
    done.map(|_| out)
}

pub(crate) fn parse(message: &MessageType, json: &str) -> Result<Parsed, JsonError> {
    message.from_json(json.as_bytes())
}

/// JSON -> wire -> JSON.
pub(crate) fn there_and_back(message: &MessageType, json: &str) -> String {
    let parsed = parse(message, json).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert!(parsed.unknown.is_empty() && parsed.duplicates.is_empty(), "{json}: {parsed:?}");
    to_json(message, &parsed.wire).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// A length-delimited field.
pub(crate) fn len(number: u32, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    kubridge_bridge::wire::put_bytes(&mut out, number, contents);
    out
}

/// A varint field.
pub(crate) fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    kubridge_bridge::wire::put_varint(&mut out, number, value);
    out
}
