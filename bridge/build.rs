//! Compiles the contract with protox: no protoc to install.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 4] = [
    "kubridge/v1/api.proto",
    "kubridge/v1/meta.proto",
    "kubridge/v1/requests.proto",
    "kubridge/v1/schema.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // prost's own descriptor types lose custom options; the bytes keep them.
    fs::write(out.join("contract.bin"), compiler.encode_file_descriptor_set())?;
    let mut set = compiler.file_descriptor_set();
    set.file.retain(|file| file.package() != "google.protobuf");
    debug_assert!(set.encoded_len() > 0);
    prost_build::Config::new().bytes(["kubridge.v1.Event", "google.rpc.Status"]).compile_fds(set)?;
    Ok(())
}
