//! The fuzz targets, without a fuzzer: the committed corpus, the corpus damaged, and random bytes.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;

use proptest::prelude::*;

#[path = "../fuzz/targets.rs"]
mod targets;

const BRIDGE: &str = env!("CARGO_MANIFEST_DIR");

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(format!("{BRIDGE}/fuzz/corpus/{target}")).unwrap();
    let inputs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 6, "a seed for each message");
    inputs
}

#[test]
fn the_corpus_holds() {
    corpus("wire_to_json").iter().for_each(|input| targets::wire_to_json(BRIDGE, input));
    corpus("json_to_wire").iter().for_each(|input| targets::json_to_wire(BRIDGE, input));
}

/// Some bytes replaced, removed or inserted.
fn damaged(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let edit = (any::<prop::sample::Index>(), 0..3_u8, any::<u8>());
    (prop::sample::select(corpus(target)), prop::collection::vec(edit, 1..4)).prop_map(
        |(mut input, edits)| {
            for (at, what, byte) in edits {
                let at = at.index(input.len().max(1));
                match what {
                    0 if at < input.len() => input[at] = byte,
                    1 if at < input.len() => drop(input.remove(at)),
                    _ => input.insert(at.min(input.len()), byte),
                }
            }
            input
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_wire_holds(input in damaged("wire_to_json")) {
        targets::wire_to_json(BRIDGE, &input);
    }

    #[test]
    fn damaged_json_holds(input in damaged("json_to_wire")) {
        targets::json_to_wire(BRIDGE, &input);
    }

    #[test]
    fn random_bytes_hold(input in prop::collection::vec(any::<u8>(), 0..200)) {
        targets::wire_to_json(BRIDGE, &input);
        targets::json_to_wire(BRIDGE, &input);
    }

    #[test]
    fn random_tokens_hold(choice in 0..6_u8, tokens in prop::collection::vec(token(), 0..60)) {
        let mut input = vec![b'0' + choice];
        input.extend(tokens.concat().bytes());
        targets::json_to_wire(BRIDGE, &input);
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "1e3",
        "\"\"",
        "\"a\"",
        "\"name\"",
        "\"count\"",
        "\"inner\"",
        "\"labels\"",
        "\"struct\"",
        "\"value\"",
        "\"any\"",
        "\"@type\"",
        "\"x/test.v1.Inner\"",
        "\"\\u00e9\"",
        "\"raw\"",
        "{\"name\":\"a\"}",
        "\"metadata\":{}",
        "\"i32\":1",
    ])
}
