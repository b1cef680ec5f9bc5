//! The last good schema, on disk.

use std::{sync::Arc, time::SystemTime};

use super::SchemaWatcher;
use crate::{
    last_known_good::{Entry, LastKnownGood},
    upstream::schema::{FetchedSchema, SchemaSource},
};

/// The parts of a kept schema.
const DESCRIPTORS: &str = "descriptors";
const ETAG: &str = "etag";

/// Where a schema that was accepted is kept.
#[derive(Debug, Clone)]
pub struct KeepSchema {
    /// The files.
    pub store: LastKnownGood,
    /// The backend's name there.
    pub subject: String,
}

impl<T: Send + Sync + 'static> SchemaWatcher<T> {
    /// Takes up the schema that was last good, before the backend is asked: it may be down. What all replicas serve goes
    /// before what this one has kept.
    pub async fn restore(mut self) -> Self {
        if !self.take_up_shared().await {
            self.take_up_kept().await;
        }
        self
    }

    async fn take_up_kept(&mut self) {
        let Some(keep) = self.keep.clone() else { return };
        let compile = Arc::clone(&self.compile);
        let restored = tokio::task::spawn_blocking(move || {
            let mut kept = keep.store.read(&keep.subject)?;
            let bytes = kept.entry.parts.remove(DESCRIPTORS)?.into();
            let etag = kept.entry.parts.remove(ETAG).and_then(|etag| String::from_utf8(etag).ok());
            let schema = FetchedSchema { bytes, source: SchemaSource::Kept, etag: etag.unwrap_or_default() };
            let compiled = compile(&schema);
            if let Err(rejected) = &compiled {
                // It was good for an earlier version, or with a mapping that is not there now.
                tracing::warn!(subject = %keep.subject, faults = %rejected.faults.join("; "), "a kept schema is not usable");
            }
            Some((schema, compiled, kept.confirmed_at))
        });
        if let Ok(Some((schema, compiled, confirmed_at))) = restored.await {
            self.seen_is_good = compiled.is_ok();
            self.state.send_modify(|state| {
                state.confirmed_at = Some(confirmed_at);
                match compiled {
                    Ok(compiled) => {
                        state.current = Some(compiled);
                        state.source = Some(schema.source.clone());
                    }
                    Err(rejected) => state.rejected = Some(Arc::new(rejected)),
                }
            });
            self.seen = Some(schema);
        }
    }

    /// Writes an accepted schema to the disk. One that cannot be written is served all the same.
    pub(super) async fn keep(&self, schema: FetchedSchema) {
        let Some(keep) = self.keep.clone() else { return };
        let written = tokio::task::spawn_blocking(move || {
            let parts = [
                (DESCRIPTORS.to_owned(), schema.bytes.to_vec()),
                (ETAG.to_owned(), schema.etag.into_bytes()),
            ];
            keep.store.write(&keep.subject, &Entry { parts: parts.into() })
        });
        if let Ok(Err(error)) = written.await {
            tracing::error!(backend = %self.backend.endpoint(), %error, "the schema is not kept for a restart");
        }
    }

    /// Notes when the backend last said that it serves what is on the disk.
    pub(super) async fn confirm(&self, at: SystemTime) {
        let Some(keep) = self.keep.clone() else { return };
        let confirmed = move || keep.store.confirm(&keep.subject, at);
        let _ = tokio::task::spawn_blocking(confirmed).await;
    }
}
