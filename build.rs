//! Compiles Kubridge's own APIs (APIService, the self-subject reviews) with protox: no protoc to install.

use std::{env, fs, path::PathBuf};

const FILES: [&str; 4] = [
    "kubridge/apiregistration/v1/apiregistration.proto",
    "kubridge/authentication/v1/authentication.proto",
    "kubridge/authorization/v1/authorization.proto",
    "kubridge/backend/v1alpha1/backend.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("proto");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // prost's own descriptor types lose custom options; the bytes keep them.
    fs::write(out.join("builtin.bin"), compiler.encode_file_descriptor_set())?;
    let mut set = compiler.file_descriptor_set();
    set.file.retain(|file| file.package() != "google.protobuf");
    prost_build::Config::new()
        .extern_path(".kubridge.v1", "::kubridge_bridge::proto")
        .extern_path(".google.rpc", "::kubridge_bridge::proto::rpc")
        .compile_fds(set)?;
    Ok(())
}
