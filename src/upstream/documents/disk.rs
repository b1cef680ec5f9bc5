//! Documents on the disk: one entry for each group and version, and for a delegate one that lists them.

use std::{collections::BTreeMap, sync::Arc};

use kubridge_bridge::{
    discovery_doc::VersionDocument,
    openapi_doc::{V2Document, V3Document},
};

use super::{GroupVersion, KeepDocuments, OpenApiState, Priorities, VersionDocuments, documents_subject};
use crate::last_known_good::{Entry, Kept};

/// Of a delegate's entry: its group-versions, one a line, `GROUP/VERSION` and, where they are known, both priorities.
const INDEX: &str = "index";
const DISCOVERY: &str = "discovery";
const OPENAPI_V3: &str = "openapi-v3";
const OPENAPI_V2: &str = "openapi-v2";

/// What is kept of these group-versions. Blocks.
pub(super) fn read(
    keep: &KeepDocuments,
    wanted: &[GroupVersion],
) -> BTreeMap<GroupVersion, VersionDocuments> {
    let entries = wanted.iter().filter_map(|version| {
        let kept = keep.store.read(&documents_subject(&keep.backend, version))?;
        Some((version.clone(), documents(&kept)?))
    });
    entries.collect()
}

/// What is kept of a delegate as a whole: the ranks of its group-versions, and its OpenAPI v2 document.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) versions: Vec<GroupVersion>,
    pub(super) priorities: Priorities,
    pub(super) v2: Option<Arc<V2Document>>,
}

/// What is kept of a delegate as a whole. Blocks.
pub(super) fn read_whole(keep: &KeepDocuments) -> Whole {
    let mut whole = Whole::default();
    let Some(kept) = keep.store.read(&keep.backend) else { return whole };
    let part = |name: &str| kept.entry.parts.get(name);
    whole.v2 = part(OPENAPI_V2).and_then(|bytes| V2Document::from_bytes(bytes).ok()).map(Arc::new);
    let lines = part(INDEX).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    for line in lines.lines() {
        let mut words = line.split(' ');
        let Some((group, version)) = words.next().and_then(|word| word.split_once('/')) else { continue };
        let version = (group.to_owned(), version.to_owned());
        let mut number = || words.next().and_then(|word| word.parse().ok());
        if let Some(ranks) = number().zip(number()) {
            whole.priorities.insert(version.clone(), ranks);
        }
        whole.versions.push(version);
    }
    whole
}

/// Keeps what a delegate is as a whole, and removes all group-versions that it no longer has. Blocks.
pub(super) fn write_whole<'a>(
    keep: &KeepDocuments,
    versions: impl Iterator<Item = &'a GroupVersion> + Clone,
    priorities: &Priorities,
    v2: Option<&V2Document>,
) {
    let line = |version: &GroupVersion| match priorities.get(version) {
        Some((group, own)) => format!("{}/{} {group} {own}\n", version.0, version.1),
        None => format!("{}/{}\n", version.0, version.1),
    };
    let lines: String = versions.clone().map(line).collect();
    let mut entry = Entry { parts: [(INDEX.to_owned(), lines.into_bytes())].into() };
    entry.parts.extend(v2.map(|document| (OPENAPI_V2.to_owned(), document.to_bytes())));
    if let Err(error) = keep.store.write(&keep.backend, &entry) {
        tracing::error!(backend = %keep.backend, %error, "documents are not kept for a restart");
    }
    let subjects = versions.map(|version| documents_subject(&keep.backend, version));
    if let Err(error) = keep.store.retain(&subjects.chain([keep.backend.clone()]).collect()) {
        tracing::warn!(backend = %keep.backend, %error, "documents that are gone stay on the disk");
    }
}

/// Keeps what is known of one group and version. Blocks.
pub(super) fn write(keep: &KeepDocuments, version: &GroupVersion, documents: &VersionDocuments) {
    let mut entry = Entry::default();
    let mut put = |name: &str, bytes: Option<Vec<u8>>| {
        entry.parts.extend(bytes.map(|bytes| (name.to_owned(), bytes)));
    };
    put(DISCOVERY, documents.discovery.as_ref().map(|document| document.to_json()));
    put(OPENAPI_V3, documents.v3.as_ref().map(|document| document.to_bytes()));
    put(OPENAPI_V2, documents.v2.as_ref().map(|document| document.to_bytes()));
    if let Err(error) = keep.store.write(&documents_subject(&keep.backend, version), &entry) {
        tracing::error!(backend = %keep.backend, ?version, %error, "documents are not kept for a restart");
    }
}

fn documents(kept: &Kept) -> Option<VersionDocuments> {
    let part = |name: &str| kept.entry.parts.get(name);
    let v3 = part(OPENAPI_V3).and_then(|bytes| V3Document::from_bytes(bytes).ok()).map(Arc::new);
    let v2 = part(OPENAPI_V2).and_then(|bytes| V2Document::from_bytes(bytes).ok()).map(Arc::new);
    let openapi = if v3.is_some() || v2.is_some() { OpenApiState::Current } else { OpenApiState::Unknown };
    Some(VersionDocuments {
        discovery: Some(Arc::new(VersionDocument::from_json(part(DISCOVERY)?).ok()?)),
        error: None,
        v3,
        v2,
        openapi,
        confirmed_at: Some(kept.confirmed_at),
    })
}
