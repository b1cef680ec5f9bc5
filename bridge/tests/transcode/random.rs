//! Random schemas, random messages, prost-reflect as the oracle.

use kubridge_bridge::transcode::{MessageType, Tables};
use proptest::prelude::*;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, prost::Message as _};

#[path = "fill.rs"]
mod fill;
#[path = "schema.rs"]
mod schema;
#[path = "shuffle.rs"]
mod shuffle;

use fill::Rng;

/// A message of a random schema, with its table.
struct Case {
    descriptor: MessageDescriptor,
    table: MessageType,
    message: DynamicMessage,
    rng: Rng,
}

fn case(spec: &[Vec<schema::FieldSpec>], seed: u64, unknown_enums: bool) -> Case {
    let descriptor = schema::build(spec);
    let tables = Tables::compile(descriptor.parent_pool());
    let table = tables.message(descriptor.full_name()).unwrap();
    let mut rng = Rng::new(seed, unknown_enums);
    let message = fill::message(&descriptor, &mut rng, 0);
    Case { descriptor, table, message, rng }
}

fn to_json(table: &MessageType, wire: &[u8]) -> String {
    let mut out = Vec::new();
    table.to_json(wire, None, &mut out).unwrap_or_else(|error| panic!("{error}: {wire:?}"));
    String::from_utf8(out).unwrap()
}

fn decode(descriptor: &MessageDescriptor, wire: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(descriptor.clone(), wire).unwrap()
}

/// For comparison: maps in order, NaN equal to itself, presence kept.
fn normal(message: &DynamicMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap()
}

/// prost-reflect's own reading of JSON.
fn oracle_from_json(descriptor: &MessageDescriptor, json: &str) -> DynamicMessage {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(descriptor.clone(), &mut deserializer, &options)
        .unwrap_or_else(|error| panic!("{error}: {json}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_json_is_read_by_prost_reflect(spec in schema::spec(), seed: u64) {
        let case = case(&spec, seed, false);
        let json = to_json(&case.table, &case.message.encode_to_vec());
        let back = oracle_from_json(&case.descriptor, &json);
        prop_assert_eq!(normal(&back), normal(&case.message), "{}", json);
    }

    #[test]
    fn json_of_prost_reflect_is_read_by_us(spec in schema::spec(), seed: u64) {
        let case = case(&spec, seed, true);
        let json = serde_json::to_string(&case.message).unwrap();
        let parsed = case.table.from_json(json.as_bytes()).unwrap_or_else(|error| panic!("{error}: {json}"));
        prop_assert!(parsed.unknown.is_empty() && parsed.duplicates.is_empty());
        prop_assert_eq!(normal(&decode(&case.descriptor, &parsed.wire)), normal(&case.message), "{}", json);
        // White space between all tokens changes nothing.
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let pretty = case.table.from_json(serde_json::to_string_pretty(&value).unwrap().as_bytes()).unwrap();
        prop_assert_eq!(normal(&decode(&case.descriptor, &pretty.wire)), normal(&case.message), "{}", json);
    }

    #[test]
    fn there_and_back_is_the_same(spec in schema::spec(), seed: u64) {
        let case = case(&spec, seed, true);
        let json = to_json(&case.table, &case.message.encode_to_vec());
        let parsed = case.table.from_json(json.as_bytes()).unwrap_or_else(|error| panic!("{error}: {json}"));
        prop_assert_eq!(normal(&decode(&case.descriptor, &parsed.wire)), normal(&case.message), "{}", json);
        prop_assert_eq!(to_json(&case.table, &parsed.wire), json);
    }

    #[test]
    fn any_order_and_any_pieces_are_the_same(spec in schema::spec(), seed: u64) {
        let mut case = case(&spec, seed, true);
        let wire = shuffle::shuffle(&case.descriptor, &case.message.encode_to_vec(), &mut case.rng);
        let same = decode(&case.descriptor, &wire);
        prop_assert_eq!(normal(&same), normal(&case.message));
        prop_assert_eq!(to_json(&case.table, &wire), to_json(&case.table, &case.message.encode_to_vec()));
    }

    #[test]
    fn every_truncation_is_an_error_or_a_message(spec in schema::spec(), seed: u64) {
        let mut case = case(&spec, seed, true);
        let wire = case.message.encode_to_vec();
        let json = to_json(&case.table, &wire);
        let mut out = Vec::new();
        for end in 0..wire.len().min(2000) {
            out.clear();
            if case.table.to_json(&wire[..end], None, &mut out).is_ok() {
                prop_assert!(DynamicMessage::decode(case.descriptor.clone(), &wire[..end]).is_ok());
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
            } else {
                prop_assert!(out.is_empty());
            }
            drop(case.table.unknown_fields(&wire[..end]));
        }
        for end in 0..json.len().min(2000) {
            prop_assert!(case.table.from_json(&json.as_bytes()[..end]).is_err());
        }
        // And every kind of damage.
        for _ in 0..200 {
            let mut damaged = wire.clone();
            let mut text = json.clone().into_bytes();
            for bytes in [&mut damaged, &mut text] {
                if !bytes.is_empty() {
                    let at = case.rng.below(bytes.len());
                    bytes[at] = case.rng.next() as u8;
                }
            }
            out.clear();
            if case.table.to_json(&damaged, None, &mut out).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
                // What both can read is the same to both.
                let oracle = DynamicMessage::decode(case.descriptor.clone(), &*damaged);
                if let Some(Ok(oracle)) = oracle.ok().map(serde_json::to_value) {
                    let parsed = case.table.from_json(&out).unwrap();
                    let ours = decode(&case.descriptor, &parsed.wire);
                    prop_assert_eq!(normal(&ours), oracle, "{:?} {}", damaged, String::from_utf8_lossy(&out));
                }
            }
            if let Ok(parsed) = case.table.from_json(&text) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
                prop_assert!(DynamicMessage::decode(case.descriptor.clone(), &*parsed.wire).is_ok());
            }
        }
    }
}
