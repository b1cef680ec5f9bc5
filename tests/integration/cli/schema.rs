//! `kubridge lint`, completions and help: what a person at a terminal reads.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::kubridge;

/// The inventory's proto with a few changes, as a descriptor set.
fn inventory(dir: &TempDir, edits: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text =
        fs::read_to_string(root.join("examples/inventory/proto/inventory/v1/inventory.proto")).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{from:?}");
        text = text.replace(from, to);
    }
    fs::write(dir.path().join("a.proto"), text).unwrap();
    let mut compiler = protox::Compiler::new([dir.path(), &root.join("proto")]).unwrap();
    compiler.include_imports(true).include_source_info(true).open_file("a.proto").unwrap();
    let file = dir.path().join("schema.bin");
    fs::write(&file, compiler.encode_file_descriptor_set()).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn lint_names_the_place_the_mend_and_the_code_of_each_fault() {
    let dir = TempDir::new().unwrap();
    let bad = inventory(
        &dir,
        &[("rpc ListMachines(", "rpc ListMachinez("), ("string serial = 1 [", "string apiVersion = 1 [")],
    );
    let output = kubridge(&["lint", "--descriptor-set", &bad]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let said = output.stdout;
    assert!(said.starts_with("The schema has "), "{said}");
    assert!(
        said.contains(
            "- a.proto: inventory.v1.Machine: Machine has no List, and ListMachinez looks like one; rename ListMachinez \
             ListMachines, or write `option (kubridge.v1.method) = { verb: LIST kind: \"Machine\" };` in it [misnamed_list]\n"
        ),
        "{said}"
    );
    // The same faults keep the other commands from going on; standard output is for what was asked for.
    let complaint = kubridge(&["describe", "--descriptor-set", &bad]).await.fails(1);
    assert_eq!(complaint, said);
    let args = ["register", "--backend", "grpc://a:1", "--descriptor-set", &bad];
    let output = kubridge(&args).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert_eq!(output.stderr, said);

    let misnamed = inventory(&dir, &[("rpc UpdateMachine(", "rpc UpdateMachines(")]);
    let said = kubridge(&["lint", "--descriptor-set", &misnamed]).await.ok();
    assert!(said.contains("It could be better:") && said.contains("rename it UpdateMachine,"), "{said}");
    assert!(said.contains("[near_miss]\n"), "{said}");
}

#[tokio::test]
async fn every_command_helps_with_an_example_and_completes() {
    let help = kubridge(&["--help"]).await.ok();
    let commands = ["serve", "lint", "describe", "register", "protos", "completions"];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let help = kubridge(&[command, "--help"]).await.ok();
        assert!(help.contains("Examples:\n") && help.contains(&format!("kubridge {command} ")), "{help}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = kubridge(&["completions", shell]).await.ok();
        for word in commands.into_iter().chain(["descriptor-set", "service-ca-file"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // Files are completed where a file is meant.
    let zsh = kubridge(&["completions", "zsh"]).await.ok();
    assert!(zsh.contains("--descriptor-set") && zsh.contains(":_files"), "{zsh}");
}
