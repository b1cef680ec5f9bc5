//! `cargo +nightly fuzz run wire_to_json` in `bridge/`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::wire_to_json(concat!(env!("CARGO_MANIFEST_DIR"), "/.."), data));
