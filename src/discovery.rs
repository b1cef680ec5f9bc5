//! Discovery documents: made when something changes, served from memory. No request for one ever waits for a backend.

mod document;
mod documents;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Response};
use kubridge_bridge::{discovery_doc::VersionDocument, negotiate::DiscoveryForm, status::ApiError};

use crate::{
    body::Body,
    metrics::{Known, Metrics},
};
use documents::{Documents, Entry};

pub use kubridge_bridge::discovery_doc::Freshness;

/// One group and version that an APIService claims, in the order in which clients should prefer them.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// "inventory.example.com"; empty: the core group.
    pub group: String,
    /// "v1".
    pub version: String,
    /// The APIService: "v1.inventory.example.com".
    pub api_service: String,
    /// What is served; `None`: claimed, and never known.
    pub document: Option<Arc<VersionDocument>>,
    /// Whether clients may act on it. What was never known is Stale, whatever stands here.
    pub freshness: Freshness,
}

/// The present documents of `/api`, `/apis` and everything below that names no resource.
#[derive(Debug, Default)]
pub struct Discovery {
    documents: ArcSwap<Documents>,
    metrics: Arc<Metrics>,
}

impl Discovery {
    /// Nothing is known. What is published is told to `metrics`, for labels.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { documents: ArcSwap::default(), metrics }
    }

    /// Replaces the documents. The order of `claimed` is that of the documents, but that `apiregistration.k8s.io` is
    /// first; of two claims of one group and version the first counts. Only versions are encoded anew whose document is
    /// another `Arc` than the last time, or whose freshness is another.
    ///
    /// Says whether anything is different now.
    pub fn publish(&self, claimed: &[Claimed]) -> bool {
        let before = self.documents.load();
        if before.are_of(claimed) {
            return false;
        }
        self.documents.store(Arc::new(Documents::new(claimed, &before)));
        self.metrics.know(claimed.iter().map(|claimed| Known {
            group: &claimed.group,
            version: &claimed.version,
            document: claimed.document.as_ref(),
        }));
        self.metrics.discovery_aggregated();
        true
    }

    /// Whether there is a document at this path, or will be.
    pub fn knows(&self, path: &str) -> bool {
        self.documents.load().get(path.trim_end_matches('/')).is_some()
    }

    /// Answers a request for `/api`, `/api/v1`, `/apis`, `/apis/G`, `/apis/G/V` from memory.
    ///
    /// As in kube-apiserver `/apis` and `/apis/G` answer any method as if it were GET (of HEAD the server leaves out the body).
    ///
    /// # Errors
    /// 404 where nobody claims it, 503 (without Retry-After: clients would stall on it) where it is claimed and was
    /// never known, 405 for another method than GET, 406 where no form is acceptable.
    pub fn serve(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, ApiError> {
        let documents = self.documents.load();
        let path = path.trim_end_matches('/');
        let entry = documents.get(path).ok_or_else(ApiError::generic_not_found_path)?;
        let any_method = matches!(entry, Entry::Group(_) | Entry::Root { .. }) && path.starts_with("/apis");
        if !any_method && method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        let (plain, aggregated) = match entry {
            Entry::Root { plain, aggregated } => (plain, Some(aggregated)),
            Entry::Group(plain) => (plain, None),
            Entry::Version(version) => match &version.list {
                Some(list) => (list, None),
                None => return Err(never_known(&version.api_service)),
            },
        };
        let form = DiscoveryForm::new(headers, query, aggregated.is_some())?;
        let document = aggregated.filter(|_| form.aggregated).unwrap_or(plain);
        document.response(form.encoding, headers)
    }
}

fn never_known(api_service: &str) -> ApiError {
    ApiError::service_unavailable(format!(
        "what APIService {api_service} serves is not known yet; see: kubectl describe apiservice {api_service}"
    ))
}
