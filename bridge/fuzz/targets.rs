//! What holds for any bytes, in both directions. Run by cargo-fuzz, and by `tests/fuzz_smoke.rs`.

#![allow(clippy::unwrap_used, reason = "a fault is to panic")]
#![allow(dead_code, reason = "each fuzz target uses one of two")]

use std::sync::OnceLock;

use kubridge_bridge::transcode::{MessageType, Tables};
use prost_reflect::{DescriptorPool, DynamicMessage, prost::Message as _};
use serde_json::value::RawValue;

const MESSAGES: [&str; 6] = [
    "test.v1.All",
    "test.v1.Specials",
    "test.v1.Inner",
    "test.v1.InnerList",
    "test.legacy.Legacy",
    "test.v1.Reference",
];

/// The first byte chooses the message ('0' is the first one), the rest is the input. `bridge`: the crate's directory.
fn choose<'a>(bridge: &str, data: &'a [u8]) -> Option<(MessageType, &'a [u8])> {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let include = [format!("{bridge}/../proto"), format!("{bridge}/tests/transcode")];
        let mut compiler = protox::Compiler::new(include).unwrap();
        compiler.include_imports(true).open_files(["profile.proto", "legacy.proto"]).unwrap();
        Tables::compile(&DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap())
    });
    let (choice, input) = data.split_first()?;
    Some((tables.message(MESSAGES[usize::from(*choice) % MESSAGES.len()]).unwrap(), input))
}

/// Anything at all as a message: an error, or JSON that means the same.
pub(crate) fn wire_to_json(bridge: &str, data: &[u8]) {
    let Some((message, wire)) = choose(bridge, data) else { return };
    drop(message.unknown_fields(wire));
    let mut json = Vec::new();
    if message.to_json(wire, None, &mut json).is_err() {
        assert!(json.is_empty(), "an error leaves nothing behind");
        return;
    }
    serde_json::from_slice::<&RawValue>(&json).expect("what is written is JSON");
    // prost-reflect's own form of the same message reads the same.
    if let Ok(oracle) = DynamicMessage::decode(message.descriptor().clone(), wire) {
        let mut same = Vec::new();
        message.to_json(&oracle.encode_to_vec(), None, &mut same).unwrap();
        assert_eq!(text(&same), text(&json));
    }
    // And it can be read back, except for quantities, which are only checked on their way in.
    match message.from_json(&json) {
        Ok(parsed) => {
            assert!(parsed.unknown.is_empty() && parsed.duplicates.is_empty(), "{parsed:?} {}", text(&json));
            let mut again = Vec::new();
            message.to_json(&parsed.wire, None, &mut again).unwrap();
            assert_eq!(text(&again), text(&json));
        }
        Err(error) => assert!(error.to_string().contains("quantity"), "{error}: {}", text(&json)),
    }
}

/// Anything at all as JSON: an error, or a message that means the same.
pub(crate) fn json_to_wire(bridge: &str, data: &[u8]) {
    let Some((message, json)) = choose(bridge, data) else { return };
    let Ok(parsed) = message.from_json(json) else { return };
    serde_json::from_slice::<&RawValue>(json).expect("what is read is JSON");
    let descriptor = message.descriptor().clone();
    let decoded =
        DynamicMessage::decode(descriptor.clone(), &*parsed.wire).expect("what is written is a message");
    // From here on nothing changes any more.
    let mut out = Vec::new();
    message.to_json(&parsed.wire, None, &mut out).unwrap();
    let again = message.from_json(&out).unwrap();
    assert!(again.unknown.is_empty() && again.duplicates.is_empty(), "{again:?}");
    let mut same = Vec::new();
    message.to_json(&again.wire, None, &mut same).unwrap();
    assert_eq!(text(&same), text(&out));
    // Where prost-reflect reads the JSON too, it reads the same: messages without Kubernetes' own types.
    let plain = ["test.v1.Inner", "test.v1.Reference"].contains(&message.full_name());
    if plain && parsed.unknown.is_empty() && parsed.duplicates.is_empty() && !has_fractions(json) {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        if let Ok(oracle) = DynamicMessage::deserialize(descriptor, &mut deserializer) {
            // As JSON: an implicit zero that was set is no other than one that was not.
            let [oracle, ours] = [oracle, decoded].map(|message| serde_json::to_value(message).unwrap());
            assert_eq!(ours, oracle, "{}", text(json));
        }
    }
}

/// prost-reflect reads integers with a fraction or exponent through a double, which rounds them.
fn has_fractions(json: &[u8]) -> bool {
    json.windows(2).any(|pair| pair[0].is_ascii_digit() && matches!(pair[1], b'.' | b'e' | b'E'))
}

fn text(json: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(json)
}
