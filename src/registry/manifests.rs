//! `--manifests DIR`: files of APIServices, Backends and Mappings, read again when they change.
//!
//! The directory is looked at every two seconds: change notifications miss network mounts, bind mounts and the
//! symlink swap of a ConfigMap volume.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kubridge_bridge::mapping::MappingFile;
use tokio::sync::watch;

use super::{
    Registry, StoreError,
    owned::{Applied, Kind, Owner},
    proto::{apiregistration::ApiService, backend::Backend},
};

mod parse;

#[cfg(test)]
mod tests;

pub use parse::{FileFault, Manifest, parse};

/// How often the directory is looked at.
pub const EVERY: Duration = Duration::from_secs(2);

/// A larger file is not read.
const LARGEST: u64 = 3 << 20;

/// Keeps the registry, and the Mappings, as the files of a directory say.
#[derive(Debug)]
pub struct Manifests {
    registry: Registry,
    directory: PathBuf,
    /// Those that are there without any file, and where all are told.
    given: Arc<[MappingFile]>,
    mappings: watch::Sender<Arc<[MappingFile]>>,
    /// By file name: what was read last.
    seen: BTreeMap<String, Seen>,
    /// Whether the directory's last fault was logged.
    unreadable: bool,
}

#[derive(Debug)]
struct Seen {
    text: Vec<u8>,
    /// What the file says; `None`: it is bad, and what it said before stays.
    objects: Option<(Vec<ApiService>, Vec<Backend>)>,
    /// What it says, or said last while it was good.
    mappings: Vec<MappingFile>,
    /// The names that somebody else owns, as last logged.
    conflicts: Vec<String>,
}

impl Manifests {
    /// Watches over `directory`: its `.yaml`, `.yml` and `.json` files, not those of directories below.
    /// `mappings` has those that are given elsewhere, and is told all.
    pub fn new(
        registry: Registry,
        directory: impl Into<PathBuf>,
        mappings: watch::Sender<Arc<[MappingFile]>>,
    ) -> Self {
        let given = Arc::clone(&mappings.borrow());
        let (directory, seen) = (directory.into(), BTreeMap::new());
        Self { registry, directory, given, mappings, seen, unreadable: false }
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
        // First: an APIService may name one of them.
        self.tell_mappings();
        for file in files.keys() {
            self.apply(file).await?;
        }
        self.remove_other_than::<ApiService>(&files).await?;
        self.remove_other_than::<Backend>(&files).await
    }

    /// Removes what is from files that are gone.
    async fn remove_other_than<K: Kind>(
        &self,
        files: &BTreeMap<String, io::Result<Vec<u8>>>,
    ) -> Result<(), StoreError> {
        for owner in self.registry.owners::<K>().await? {
            if let Owner::Manifest(file) = &owner
                && !files.contains_key(file)
            {
                log(file, &self.registry.apply::<K>(&owner, Vec::new()).await?);
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
        let manifest = match text.strip_prefix(b"\0") {
            Some(error) => {
                Err(FileFault { line: None, message: String::from_utf8_lossy(error).into_owned() })
            }
            None => parse(&text),
        };
        let before = self.seen.remove(file);
        let (objects, mappings) = match manifest {
            Ok(Manifest { services, backends, mappings }) => {
                let mappings =
                    mappings.into_iter().map(|mapping| MappingFile { file: file.into(), ..mapping });
                (Some((services, backends)), mappings.collect())
            }
            Err(fault) => {
                tracing::error!(file, line = fault.line, "bad manifest: {fault}; what it said before stays");
                (None, before.map(|before| before.mappings).unwrap_or_default())
            }
        };
        self.seen.insert(file.into(), Seen { text, objects, mappings, conflicts: Vec::new() });
    }

    fn tell_mappings(&self) {
        let all: Vec<MappingFile> =
            self.given.iter().chain(self.seen.values().flat_map(|seen| &seen.mappings)).cloned().collect();
        self.mappings.send_if_modified(|present| {
            let changed = **present != *all;
            if changed {
                let names: Vec<&str> = all.iter().map(|mapping| mapping.metadata.name.as_str()).collect();
                tracing::info!(names = names.join(", "), "Mappings");
                *present = all.clone().into();
            }
            changed
        });
    }

    async fn apply(&mut self, file: &str) -> Result<(), StoreError> {
        let Some(seen) = self.seen.get_mut(file) else { return Ok(()) };
        let Some((services, backends)) = seen.objects.clone() else { return Ok(()) };
        let owner = Owner::Manifest(file.into());
        let mut outcome = self.registry.apply(&owner, services).await?;
        outcome.extend(self.registry.apply(&owner, backends).await?);
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
                        "an object of that name is not the manifest's; left alone"
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
