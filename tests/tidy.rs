//! The rules of the house that a compiler does not hold: the ladder, the bridge's dependencies, file sizes.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The ladder of `src`, lowest rung first. A room imports only rooms on lower rungs.
const LADDER: [&[&str]; 10] = [
    &["telemetry", "lifecycle", "data_dir", "body", "memo", "backoff"],
    &["config", "metrics", "cluster"],
    &["registry", "pki", "last_known_good", "made_watch", "brown_out"],
    &["upstream"],
    &["availability"],
    &["discovery", "openapi", "authn", "authz"],
    &["proxy"],
    &["server"],
    &["app"],
    &["cli"],
];

/// What the bridge may depend on. Nothing that opens a socket, starts a task or reads a file.
const BRIDGE_DEPENDENCIES: [&str; 21] = [
    "base64",
    "bytes",
    "futures",
    "http",
    "itoa",
    "json-patch",
    "memchr",
    "percent-encoding",
    "prost",
    "prost-reflect",
    "prost-types",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "sha2",
    "simdutf8",
    "strsim",
    "thiserror",
    "uuid",
    "zmij",
];

/// Beyond this a file is more than one idea.
const MAX_LINES: usize = 800;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "node_modules", "corpus"].contains(&name.as_str()) && !name.starts_with('.') {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn rust_files(dirs: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in dirs {
        files(&root().join(dir), "rs", &mut found);
    }
    assert!(found.len() > 10, "the walk finds nothing: {dirs:?}");
    found.sort();
    found
}

fn rung(room: &str) -> Option<usize> {
    LADDER.iter().position(|rooms| rooms.contains(&room))
}

/// The room of a file in `src`: `src/proxy/x.rs` and `src/proxy.rs` are `proxy`.
fn room(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Every `crate::ROOM` in a text.
fn imports(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.match_indices("crate::").map(move |(at, _)| &line[at + "crate::".len()..]))
        .flat_map(|rest| {
            let group = rest.strip_prefix('{').and_then(|r| r.split('}').next());
            match group {
                Some(names) => names.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>(),
                None => vec![rest.to_owned()],
            }
        })
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn rooms_import_only_lower_rungs() {
    let mut faults = Vec::new();
    for path in rust_files(&["src"]) {
        let here = room(&path);
        if here == "main" || here == "lib" {
            continue;
        }
        let Some(own) = rung(&here) else {
            faults.push(format!("{}: `{here}` has no rung in the ladder", path.display()));
            continue;
        };
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            if let Some(other) = rung(&import)
                && import != here
                && other >= own
            {
                faults.push(format!(
                    "{}: `{here}` (rung {own}) imports `{import}` (rung {other})",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_import_scan_sees_both_forms() {
    assert_eq!(imports("use crate::proxy::X;"), ["proxy"]);
    assert_eq!(imports("use crate::{body::Body, server};"), ["body", "server"]);
    assert_eq!(imports("let x = crate::app::run();"), ["app"]);
    assert!(imports("// crate::app").is_empty());
}

#[test]
fn the_bridge_depends_on_nothing_that_does_io() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let bridge = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["name"] == "kubridge-bridge")
        .expect("the bridge is in the workspace");
    let found: Vec<&str> = bridge["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| d["kind"].is_null())
        .map(|d| d["name"].as_str().unwrap())
        .collect();
    let extra: Vec<_> = found.iter().filter(|name| !BRIDGE_DEPENDENCIES.contains(name)).collect();
    assert!(extra.is_empty(), "the bridge may not depend on {extra:?}");
}

#[test]
fn the_bridge_has_no_clock_socket_task_or_file() {
    let mut faults = Vec::new();
    for path in rust_files(&["bridge/src"]) {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in [
                "SystemTime::now",
                "Instant::now",
                "std::fs",
                "std::net",
                "std::env",
                "std::thread",
                "tokio::",
            ] {
                if code.contains(word) && !path.ends_with("tests.rs") {
                    faults.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_one_idea_long() {
    let long: Vec<_> = rust_files(&["src", "bridge/src", "examples", "tests"])
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = rust_files(&["src", "bridge/src"])
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "these files do not begin with //!: {silent:?}");
}

#[test]
fn no_mod_rs() {
    let found: Vec<_> = rust_files(&["src", "bridge/src", "examples"])
        .into_iter()
        .filter(|p| p.ends_with("mod.rs"))
        .collect();
    assert!(found.is_empty(), "foo.rs and foo/, not foo/mod.rs: {found:?}");
}

#[test]
fn manifests_and_lints_agree() {
    for manifest in ["Cargo.toml", "bridge/Cargo.toml", "examples/inventory/Cargo.toml"] {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest} does not take the workspace's lints");
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""), "unsafe is forbidden");
}

/// `NAME=IMAGE` of each `ARG NAME=IMAGE` before the first stage.
fn image_arguments(dockerfile: &str) -> Vec<String> {
    let before = dockerfile.lines().take_while(|line| !line.starts_with("FROM"));
    before.filter_map(|line| line.strip_prefix("ARG ")).map(str::to_owned).collect()
}

#[test]
fn images_are_the_same_wherever_they_are_named() {
    let compose = fs::read_to_string(root().join("docker-compose.yaml")).unwrap();
    for dockerfile in ["Dockerfile", "examples/library/Dockerfile", "examples/metrics/Dockerfile"] {
        let text = fs::read_to_string(root().join(dockerfile)).unwrap();
        let arguments = image_arguments(&text);
        assert!(!arguments.is_empty(), "{dockerfile} names no image");
        for argument in arguments {
            let (name, image) = argument.split_once('=').unwrap();
            assert!(
                compose.contains(&format!("{name}: ${{{name}:-{image}}}"))
                    || compose.contains(&format!("{name}: \"${{{name}:-{image}}}\"")),
                "docker-compose.yaml does not have {name} as {dockerfile} has it: {image}"
            );
        }
        assert!(!text.contains("# syntax="), "{dockerfile}: the classic builder knows no frontends");
    }
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let minor = toolchain.split('"').nth(1).unwrap().rsplit_once('.').unwrap().0;
    assert!(
        dockerfile.contains(&format!("ARG RUST_IMAGE=rust:{minor}-")),
        "rust-toolchain.toml says {minor}"
    );
}

#[test]
fn the_dockerfile_has_every_member_of_the_workspace() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    for member in members.split('"').skip(1).step_by(2).filter(|member| *member != ".") {
        let copy = format!("COPY {member}/Cargo.toml {member}/");
        assert!(dockerfile.contains(&copy), "the dependency layer of the Dockerfile needs `{copy}`");
    }
}
