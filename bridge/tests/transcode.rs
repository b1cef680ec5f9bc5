//! Transcoding, case by case and against prost-reflect.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "transcode/errors.rs"]
mod errors;
#[path = "transcode/profile.rs"]
mod profile;
#[path = "transcode/random.rs"]
mod random;
#[path = "transcode/support.rs"]
mod support;
#[path = "transcode/wire.rs"]
mod wire;
