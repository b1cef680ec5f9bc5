//! OpenAPI documents: made when something changes, served from memory. No request for one ever waits for a backend.

mod document;
mod entry;
mod merged;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, btree_map},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, Response};
use kubridge_bridge::{
    discovery_doc::VersionDocument,
    model::Api,
    negotiate, openapi_doc,
    openapi_doc::{V2Document, V3Document},
    status::ApiError,
};

use crate::body::Body;
use document::Document;
use entry::Entry;
use merged::Merged;

/// What one part of the API says of itself.
#[derive(Debug, Clone)]
pub struct Documented {
    /// Where its v3 document stands below `/openapi/v3/`: "apis/inventory.example.com/v1", "api/v1", "version".
    pub key: String,
    /// Whose it is.
    pub origin: Origin,
    /// What it is made from.
    pub source: Source,
}

/// Whose a document is: the order in which v2 documents are merged, the first of which wins a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// This program's own kinds.
    Own,
    /// The delegate's. Nothing of it counts that an APIService claims for somebody else.
    Delegate,
    /// A backend's.
    Backend,
}

/// What a document is made from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The schema of a gRPC backend, or our own.
    Schema(Arc<Api>),
    /// What a server served, cut to its claim. One is made from the other where it is missing.
    Downloaded {
        /// From `/openapi/v3/...`.
        v3: Option<Arc<V3Document>>,
        /// From `/openapi/v2`.
        v2: Option<Arc<V2Document>>,
    },
    /// What discovery says, of a server that has no OpenAPI at all: its kinds, with any fields.
    Discovered(Arc<VersionDocument>),
}

/// The present documents of `/openapi/v2` and `/openapi/v3`.
#[derive(Debug, Default)]
pub struct OpenApi {
    documents: ArcSwap<Documents>,
    /// One at a time: each builds on what the one before made.
    publishing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Documents {
    index: Document,
    /// By the path below `/openapi/v3/`: "apis/inventory.example.com/v1".
    entries: HashMap<String, Arc<Entry>>,
    v2: Arc<Merged>,
}

const JSON: &str = "application/json";
/// client-go's `OpenAPISchema()` reads nothing else, and asks for the older spelling.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

impl Documented {
    /// What a backend says of a group and version that is claimed for it.
    pub fn new(group: &str, version: &str, source: Source) -> Self {
        Self { key: openapi_doc::path(group, version), origin: Origin::Backend, source }
    }

    /// What our own kinds of a group and version are.
    pub fn own(group: &str, version: &str, source: Source) -> Self {
        Self { origin: Origin::Own, ..Self::new(group, version, source) }
    }

    /// What the delegate serves at `/openapi/v3/KEY`; `source` needs no v2 where [`Self::delegate_v2`] has it.
    pub fn delegate(key: impl Into<String>, source: Source) -> Self {
        Self { key: key.into(), origin: Origin::Delegate, source }
    }

    /// The delegate's whole `/openapi/v2`: of it is taken what no APIService claims for somebody else.
    pub fn delegate_v2(document: Arc<V2Document>) -> Self {
        Self::delegate("", Source::Downloaded { v3: None, v2: Some(document) })
    }
}

impl OpenApi {
    /// Replaces the documents. What has not changed since the last time (the same `Arc`) is not made again.
    ///
    /// Of two documents with one key that of an APIService counts, else the earlier one. Documents of backends are merged
    /// in the order given: that of their group's priority, and the version's.
    ///
    /// This makes and compresses documents: milliseconds for each that changed. Not to be called from an async task but
    /// through `spawn_blocking`. Says whether anything is different now.
    pub fn publish(&self, documented: &[Documented]) -> bool {
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.documents.load();
        let mut chosen: BTreeMap<&str, &Documented> = BTreeMap::new();
        for documented in documented {
            match chosen.entry(&documented.key) {
                btree_map::Entry::Vacant(place) => {
                    place.insert(documented);
                }
                btree_map::Entry::Occupied(mut known) => {
                    // Who claims it speaks for it.
                    let delegated = known.get().origin == Origin::Delegate;
                    if delegated && documented.origin != Origin::Delegate {
                        known.insert(documented);
                    }
                }
            }
        }
        let made = |documented: &Documented| match before.entries.get(&documented.key) {
            Some(entry) if entry.is_of(documented) => Arc::clone(entry),
            _ => Arc::new(Entry::new(documented)),
        };
        let entries: HashMap<String, Arc<Entry>> =
            chosen.values().map(|documented| (documented.key.clone(), made(documented))).collect();
        let mut seen: HashMap<&str, ()> = HashMap::with_capacity(entries.len());
        let mut order: Vec<&Arc<Entry>> = documented
            .iter()
            .filter(|documented| seen.insert(&documented.key, ()).is_none())
            .filter_map(|documented| entries.get(&documented.key))
            .collect();
        order.sort_by_key(|entry| entry.origin());
        let v2 = Merged::kept(&before.v2, &order);
        let same = entries.len() == before.entries.len()
            && entries
                .iter()
                .all(|(key, entry)| before.entries.get(key).is_some_and(|b| Arc::ptr_eq(b, entry)));
        if same && Arc::ptr_eq(&v2, &before.v2) && before.index.is_made() {
            return false;
        }
        let mut hashes: Vec<(&str, &str)> =
            entries.iter().filter_map(|(key, entry)| Some((key.as_str(), entry.v3()?.hash()))).collect();
        hashes.sort_unstable();
        let index = openapi_doc::index(hashes);
        let index = if before.index.is(&index) { before.index.clone() } else { Document::new(JSON, index) };
        self.documents.store(Arc::new(Documents { index, entries, v2 }));
        true
    }

    /// Answers `GET path?query` (`/openapi/v2`, `/openapi/v3`, `/openapi/v3/apis/G/V`) from memory. Only v2 may have to
    /// be put together first, once after each change, on another thread.
    ///
    /// # Errors
    /// 404 where there is no such document, 406 where no form of it is acceptable, 503 before anything was published.
    pub async fn serve(
        &self,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, ApiError> {
        let path = path.trim_end_matches('/');
        let documents = self.documents.load_full();
        if !documents.index.is_made() {
            return Err(ApiError::service_unavailable("the OpenAPI documents are not made yet; ask again"));
        }
        match path {
            "/openapi/v2" => match best(headers, &[JSON, PROTOBUF, PROTOBUF_OLD])? {
                0 => Ok(documents.v2.json().await?.response(headers, false)),
                _ => Ok(documents.v2.protobuf().await?.response(headers, false)),
            },
            "/openapi/v3" => Ok(documents.index.response(headers, false)),
            _ => {
                let entry = path.strip_prefix("/openapi/v3/").and_then(|key| documents.entries.get(key));
                let document =
                    entry.and_then(|entry| entry.v3()).ok_or_else(ApiError::generic_not_found_path)?;
                best(headers, &[JSON])?;
                match query.split('&').find_map(|pair| pair.strip_prefix("hash=")) {
                    None | Some("") => Ok(document.response(headers, false)),
                    Some(hash) if hash == document.hash() => Ok(document.response(headers, true)),
                    Some(_) => Ok(document.redirect(path)),
                }
            }
        }
    }
}

fn best(headers: &HeaderMap, offers: &[&str]) -> Result<usize, ApiError> {
    negotiate::best(headers, offers).ok_or_else(|| ApiError::not_acceptable(offers))
}
