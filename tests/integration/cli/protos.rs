//! `kubridge protos`: what it writes compiles, and is the contract.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::kubridge;

#[tokio::test]
async fn what_is_written_compiles_and_is_the_repositorys() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("third_party");
    let said = kubridge(&["protos", "--out", out.to_str().unwrap()]).await.ok();
    assert!(
        said.contains("wrote ") && said.contains("protoc -I ") && said.contains("grpc_tools.protoc"),
        "{said}"
    );

    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut contract: Vec<String> = fs::read_dir(repository.join("kubridge/v1"))
        .unwrap()
        .map(|entry| format!("kubridge/v1/{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    contract.sort();
    assert!(contract.len() >= 4, "{contract:?}");
    for name in contract.iter().map(String::as_str).chain(["google/rpc/status.proto"]) {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(repository.join(name)).unwrap(), "{name}");
    }

    // A backend's own proto, with nothing but what was written.
    let inventory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory/proto");
    let mut compiler = protox::Compiler::new([&out, &inventory]).unwrap();
    compiler.include_imports(true).open_files(contract).unwrap();
    compiler.open_file("inventory/v1/inventory.proto").unwrap();
    let set = dir.path().join("schema.bin");
    fs::write(&set, compiler.encode_file_descriptor_set()).unwrap();
    let said = kubridge(&["lint", "--descriptor-set", set.to_str().unwrap()]).await.ok();
    assert!(said.contains("inventory.example.com/v1 machines"), "{said}");
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let dir = TempDir::new().unwrap();
    let api = dir.path().join("kubridge/v1/api.proto");
    fs::create_dir_all(api.parent().unwrap()).unwrap();
    fs::write(&api, "// mine\n").unwrap();
    let out = ["protos", "--out", dir.path().to_str().unwrap()];
    let complaint = kubridge(&out).await.fails(1);
    assert!(complaint.contains("api.proto") && complaint.contains("--force"), "{complaint}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else was written");
    kubridge(&[&out[..], &["--force"]].concat()).await.ok();
    assert!(fs::read_to_string(&api).unwrap().contains("package kubridge.v1;"));
    let said = kubridge(&out).await.ok();
    assert!(!said.contains("wrote "), "{said}");
}
