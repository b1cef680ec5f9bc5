//! What `kubridge protos` does: writes the contract's protos, as this program has them inside.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Every file that a backend's own proto may import from us: path below the import root, and text.
pub const PROTOS: [(&str, &str); 5] = [
    ("google/rpc/status.proto", include_str!("../../proto/google/rpc/status.proto")),
    ("kubridge/v1/api.proto", include_str!("../../proto/kubridge/v1/api.proto")),
    ("kubridge/v1/meta.proto", include_str!("../../proto/kubridge/v1/meta.proto")),
    ("kubridge/v1/requests.proto", include_str!("../../proto/kubridge/v1/requests.proto")),
    ("kubridge/v1/schema.proto", include_str!("../../proto/kubridge/v1/schema.proto")),
];

/// Writes [`PROTOS`] below `out`; says what was written, and what to do next. All of them, or, where a file is there
/// that says something else, none: `force` replaces it.
///
/// # Errors
/// Such files, or what the file system says.
pub fn protos(out: &Path, force: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut unlike: Vec<String> = Vec::new();
    let mut to_write: Vec<(PathBuf, &str)> = Vec::new();
    for (name, wanted) in PROTOS {
        let path = out.join(name);
        let present = match fs::read(&path) {
            Ok(present) => Some(present),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        match present {
            Some(present) if present == wanted.as_bytes() => {
                let _ = writeln!(text, "unchanged {}", path.display());
            }
            Some(_) if !force => unlike.push(path.display().to_string()),
            _ => to_write.push((path, wanted)),
        }
    }
    if !unlike.is_empty() {
        anyhow::bail!(
            "there is something else in {}: look at it, and replace it with --force, or write to another --out",
            unlike.join(", ")
        );
    }
    for (path, wanted) in to_write {
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(out))?;
            fs::write(&path, wanted)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        let _ = writeln!(text, "wrote {}", path.display());
    }
    text.push_str(&next(out));
    Ok(text)
}

/// How the three compilers take them.
fn next(out: &Path) -> String {
    let out = out.display();
    format!(
        "\nNext, with your own protos in ./proto:\n  \
         protoc -I {out} -I proto --include_imports --include_source_info --descriptor_set_out=schema.bin proto/FILE.proto\n  \
         python3 -m grpc_tools.protoc -I {out} -I proto --python_out=gen --grpc_python_out=gen proto/FILE.proto {out}/kubridge/v1/*.proto\n  \
         buf build -o schema.bin, with `- path: {out}` and `- path: proto` among the modules of buf.yaml\n  \
         kubridge lint --descriptor-set schema.bin\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn they_are_written_once_and_never_over_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("third_party");
        let said = protos(&out, false).unwrap();
        assert_eq!(said.matches("wrote ").count(), PROTOS.len(), "{said}");
        for (name, text) in PROTOS {
            assert_eq!(fs::read_to_string(out.join(name)).unwrap(), text);
        }
        let said = protos(&out, false).unwrap();
        assert_eq!(said.matches("unchanged ").count(), PROTOS.len(), "{said}");

        let [changed, gone] = ["kubridge/v1/api.proto", "kubridge/v1/meta.proto"].map(|name| out.join(name));
        fs::write(&changed, "mine").unwrap();
        fs::remove_file(&gone).unwrap();
        let error = protos(&out, false).unwrap_err().to_string();
        assert!(error.contains("api.proto: look at it") && error.contains("--force"), "{error}");
        assert!(!gone.exists() && fs::read_to_string(&changed).unwrap() == "mine", "all, or none");
        let said = protos(&out, true).unwrap();
        assert_eq!((said.matches("wrote ").count(), said.matches("unchanged ").count()), (2, 3), "{said}");
        assert_ne!(fs::read_to_string(&changed).unwrap(), "mine");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = format!("{:#}", protos(file.path(), false).unwrap_err());
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
