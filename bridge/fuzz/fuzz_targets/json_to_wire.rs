//! `cargo +nightly fuzz run json_to_wire` in `bridge/`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::json_to_wire(concat!(env!("CARGO_MANIFEST_DIR"), "/.."), data));
