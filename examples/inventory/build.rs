//! Compiles the protos with protox: no protoc to install.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let includes = [here.join("proto"), here.join("../../proto")];
    for include in &includes {
        println!("cargo::rerun-if-changed={}", include.display());
    }
    let mut compiler = protox::Compiler::new(&includes)?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(["inventory/v1/inventory.proto", "kubridge/v1/schema.proto"])?;
    // What is served as schema and by reflection. These bytes keep the custom options;
    // prost's own descriptor types, used below, would lose them.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let fds = compiler.file_descriptor_set();
    let mut contract = fds.clone();
    contract.file.retain(|file| !file.package().starts_with("inventory."));
    let contract_out = out.join("contract");
    fs::create_dir_all(&contract_out)?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .out_dir(contract_out)
        .compile_fds(contract)?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .extern_path(".kubridge.v1", "crate::contract")
        // Stored as it came, with fields that this build does not know.
        .extern_path(".kubridge.v1.ObjectMeta", "crate::meta::Meta")
        .btree_map(".inventory.v1")
        .out_dir(&out)
        .compile_fds(fds)?;
    Ok(())
}
