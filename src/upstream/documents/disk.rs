//! Documents on the disk: one entry for each group and version, and for a delegate one that lists them.

use std::{collections::BTreeMap, sync::Arc};

use kubridge_bridge::{
    discovery_doc::VersionDocument,
    openapi_doc::{V2Document, V3Document},
};

use super::{GroupVersion, KeepDocuments, OpenApiState, VersionDocuments, documents_subject};
use crate::last_known_good::{Entry, Kept};

/// Of the entry that lists a delegate's group-versions: one a line, group and version apart by a slash.
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

/// Which group-versions of a delegate are kept. Blocks.
pub(super) fn index(keep: &KeepDocuments) -> Vec<GroupVersion> {
    let kept = keep.store.read(&keep.backend);
    let lines = kept.as_ref().and_then(|kept| std::str::from_utf8(kept.entry.parts.get(INDEX)?).ok());
    let versions = lines.unwrap_or_default().lines().filter_map(|line| line.split_once('/'));
    versions.map(|(group, version)| (group.to_owned(), version.to_owned())).collect()
}

/// Lists which group-versions of a delegate are kept, and removes all others. Blocks.
pub(super) fn write_index<'a>(
    keep: &KeepDocuments,
    versions: impl Iterator<Item = &'a GroupVersion> + Clone,
) {
    let lines: String = versions.clone().map(|(group, version)| format!("{group}/{version}\n")).collect();
    let entry = Entry { parts: [(INDEX.to_owned(), lines.into_bytes())].into() };
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
