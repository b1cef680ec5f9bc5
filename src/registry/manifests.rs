//! `--manifests DIR`: files of APIServices, read again when they change.
//!
//! The directory is looked at every two seconds: change notifications miss network mounts, bind mounts and the
//! symlink swap of a ConfigMap volume.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Registry, StoreError,
    owned::{Applied, Owner},
    proto::apiregistration::ApiService,
};

mod parse;

#[cfg(test)]
mod tests;

pub use parse::{FileFault, parse};

/// How often the directory is looked at.
pub const EVERY: Duration = Duration::from_secs(2);

/// A larger file is not read.
const LARGEST: u64 = 3 << 20;

/// Keeps the registry as the files of a directory say.
#[derive(Debug)]
pub struct Manifests {
    registry: Registry,
    directory: PathBuf,
    /// By file name: what was read last.
    seen: BTreeMap<String, Seen>,
    /// Whether the directory's last fault was logged.
    unreadable: bool,
}

#[derive(Debug)]
struct Seen {
    text: Vec<u8>,
    /// What the file says; `None`: it is bad, and what it said before stays.
    services: Option<Vec<ApiService>>,
    /// The names that somebody else owns, as last logged.
    conflicts: Vec<String>,
}

impl Manifests {
    /// Watches over `directory`: its `.yaml`, `.yml` and `.json` files, not those of directories below.
    pub fn new(registry: Registry, directory: impl Into<PathBuf>) -> Self {
        Self { registry, directory: directory.into(), seen: BTreeMap::new(), unreadable: false }
    }

    /// Looks again and again. Runs until it is dropped.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.poll().await {
                tracing::error!(%error, "manifests could not be applied");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Looks once. Faults of files are logged and change nothing; only the store's faults are errors.
    pub async fn poll(&mut self) -> Result<(), StoreError> {
        let directory = self.directory.clone();
        let read = tokio::task::spawn_blocking(move || read(&directory)).await;
        let files = match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(files) => files,
            Err(error) => {
                if !self.unreadable {
                    let directory = self.directory.display();
                    tracing::error!(%directory, %error, "--manifests cannot be read; what it said before stays");
                }
                self.unreadable = true;
                return Ok(());
            }
        };
        self.unreadable = false;
        self.seen.retain(|file, _| files.contains_key(file));
        for (file, text) in &files {
            self.look_at(file, text);
        }
        for file in files.keys() {
            self.apply(file).await?;
        }
        for owner in self.registry.owners().await? {
            if let Owner::Manifest(file) = &owner
                && !files.contains_key(file)
            {
                log(file, &self.registry.apply(&owner, Vec::new()).await?);
            }
        }
        Ok(())
    }

    fn look_at(&mut self, file: &str, text: &io::Result<Vec<u8>>) {
        let text = match text {
            Ok(text) => text.clone(),
            // Looks like no file's text, so that it is read again once it can be.
            Err(error) => format!("\0{error}").into_bytes(),
        };
        if self.seen.get(file).is_some_and(|seen| seen.text == text) {
            return;
        }
        let services = match text.strip_prefix(b"\0") {
            Some(error) => {
                Err(FileFault { line: None, message: String::from_utf8_lossy(error).into_owned() })
            }
            None => parse(&text),
        };
        if let Err(fault) = &services {
            tracing::error!(file, line = fault.line, "bad manifest: {fault}; what it said before stays");
        }
        self.seen.insert(file.into(), Seen { text, services: services.ok(), conflicts: Vec::new() });
    }

    async fn apply(&mut self, file: &str) -> Result<(), StoreError> {
        let Some(seen) = self.seen.get_mut(file) else { return Ok(()) };
        let Some(services) = seen.services.clone() else { return Ok(()) };
        let outcome = self.registry.apply(&Owner::Manifest(file.into()), services).await?;
        log(file, &outcome);
        let mut conflicts = Vec::new();
        for (name, applied) in outcome {
            if let Applied::Conflict(owner) = applied {
                if !seen.conflicts.contains(&name) {
                    let owner = owner.map_or_else(|| "a client made it".into(), |owner| format!("{owner:?}"));
                    tracing::warn!(
                        file,
                        name,
                        owner,
                        "an APIService of that name is not the manifest's; left alone"
                    );
                }
                conflicts.push(name);
            }
        }
        seen.conflicts = conflicts;
        Ok(())
    }
}

fn log(file: &str, outcome: &[(String, Applied)]) {
    for (name, applied) in outcome {
        if matches!(applied, Applied::Created | Applied::Updated | Applied::Removed) {
            tracing::info!(file, name, ?applied, "manifest");
        }
    }
}

/// The files of the directory. One that cannot be read is a fault of its own, never a file that is gone.
fn read(directory: &Path) -> io::Result<BTreeMap<String, io::Result<Vec<u8>>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if !["yaml", "yml", "json"].contains(&extension) || name.starts_with('.') {
            continue;
        }
        // Follows symlinks: a ConfigMap volume is made of them.
        let text = std::fs::metadata(&path).and_then(|metadata| {
            if metadata.len() > LARGEST {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("larger than {LARGEST} bytes"),
                ));
            }
            std::fs::read(&path)
        });
        files.insert(name, text);
    }
    Ok(files)
}
