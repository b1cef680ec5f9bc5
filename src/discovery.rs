//! Discovery documents: made when something changes, served from memory. No request for one ever waits for a backend.

mod accept;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kubridge_bridge::{
    discovery_doc::{self, Freshness, Group, GroupVersion},
    model::Api,
    status::ApiError,
};

use crate::body::{self, Body};
use accept::Form;

/// The media type of aggregated discovery (KEP-3352).
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

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
    pub api: Option<Arc<Api>>,
}

/// The present documents of `/api`, `/apis` and everything below that names no resource.
#[derive(Debug, Default)]
pub struct Discovery {
    documents: ArcSwap<Documents>,
}

#[derive(Debug, Default)]
struct Documents {
    by_path: HashMap<String, Document>,
}

#[derive(Debug)]
enum Document {
    Known {
        plain: Bytes,
        aggregated: Option<Aggregated>,
    },
    /// Claimed, and never known.
    Unknown {
        api_service: String,
    },
}

#[derive(Debug)]
struct Aggregated {
    body: Bytes,
    etag: HeaderValue,
}

impl Discovery {
    /// Replaces all documents. The order of `claimed` is that of the documents.
    pub fn publish(&self, claimed: &[Claimed]) {
        self.documents.store(Arc::new(Documents::new(claimed)));
    }

    /// Answers `GET path` (`/api`, `/api/v1`, `/apis`, `/apis/G`, `/apis/G/V`) from memory.
    ///
    /// # Errors
    /// 404 where nobody claims it, 503 (without Retry-After: clients would stall on it) where it is claimed and was
    /// never known, 406 where no form is acceptable.
    pub fn serve(&self, path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let documents = self.documents.load();
        match documents.by_path.get(path.trim_end_matches('/')) {
            None => Err(ApiError::generic_not_found_path()),
            Some(Document::Unknown { api_service }) => Err(ApiError::service_unavailable(format!(
                "what APIService {api_service} serves is not known yet; see: kubectl describe apiservice {api_service}"
            ))),
            Some(Document::Known { plain, aggregated }) => {
                match (accept::choose(headers, aggregated.is_some())?, aggregated) {
                    (Form::Aggregated, Some(aggregated)) => Ok(aggregated.response(headers)),
                    (Form::Aggregated | Form::Plain, _) => Ok(json(plain.clone())),
                }
            }
        }
    }
}

impl Documents {
    fn new(claimed: &[Claimed]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_path = HashMap::new();
        for claim in claimed {
            let version = GroupVersion {
                version: claim.version.clone(),
                resources: claim.api.clone(),
                freshness: if claim.api.is_some() { Freshness::Current } else { Freshness::Stale },
            };
            match groups.iter_mut().find(|group| group.name == claim.group) {
                Some(group) => group.versions.push(version),
                None => groups.push(Group { name: claim.group.clone(), versions: vec![version] }),
            }
            let path = match claim.group.as_str() {
                "" => format!("/api/{}", claim.version),
                group => format!("/apis/{group}/{}", claim.version),
            };
            let document = match &claim.api {
                Some(api) => Document::plain(discovery_doc::api_resource_list(api)),
                None => Document::Unknown { api_service: claim.api_service.clone() },
            };
            by_path.insert(path, document);
        }
        let (core, named): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| group.name.is_empty());
        for group in &named {
            if let Some(document) = discovery_doc::api_group(group) {
                by_path.insert(format!("/apis/{}", group.name), Document::plain(document));
            }
        }
        let core_versions: Vec<String> =
            core.iter().flat_map(|group| &group.versions).map(|v| v.version.clone()).collect();
        let api =
            Document::both(discovery_doc::api_versions(&core_versions), discovery_doc::aggregated(&core));
        let apis = Document::both(discovery_doc::api_group_list(&named), discovery_doc::aggregated(&named));
        by_path.insert("/api".to_owned(), api);
        by_path.insert("/apis".to_owned(), apis);
        Self { by_path }
    }
}

impl Document {
    fn plain(document: Vec<u8>) -> Self {
        Self::Known { plain: document.into(), aggregated: None }
    }

    fn both(plain: Vec<u8>, aggregated: Vec<u8>) -> Self {
        let etag = discovery_doc::etag(&aggregated).parse().expect("hexadecimal in quotes is a header value");
        Self::Known { plain: plain.into(), aggregated: Some(Aggregated { body: aggregated.into(), etag }) }
    }
}

impl Aggregated {
    fn response(&self, headers: &HeaderMap) -> Response<Body> {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|v| v.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.etag))
        });
        let mut response = if known {
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let mut response = Response::new(body::full(self.body.clone()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
            response
        };
        let out = response.headers_mut();
        out.insert(header::ETAG, self.etag.clone());
        out.insert(header::VARY, HeaderValue::from_static("Accept"));
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        response
    }
}

fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(body::full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn claim(group: &str, version: &str, known: bool) -> Claimed {
        let api = Api { group: group.into(), version: version.into(), resources: Vec::new() };
        Claimed {
            group: group.into(),
            version: version.into(),
            api_service: format!("{version}.{group}"),
            api: known.then(|| Arc::new(api)),
        }
    }

    fn accept(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())])
    }

    async fn body(response: Response<Body>) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn the_core_group_is_in_api_and_the_others_in_apis() {
        let discovery = Discovery::default();
        discovery.publish(&[claim("", "v1", true), claim("a.example.com", "v1", true)]);
        let api = body(discovery.serve("/api", &HeaderMap::new()).unwrap()).await;
        assert_eq!(api["versions"], serde_json::json!(["v1"]));
        let apis = body(discovery.serve("/apis/", &HeaderMap::new()).unwrap()).await;
        assert_eq!(apis["groups"].as_array().unwrap().len(), 1);
        assert_eq!(apis["groups"][0]["name"], "a.example.com");
        assert!(discovery.serve("/api/v1", &HeaderMap::new()).is_ok());
    }

    #[test]
    fn what_is_claimed_and_not_known_is_503_without_retry_after() {
        let discovery = Discovery::default();
        discovery.publish(&[claim("a.example.com", "v1", false)]);
        let error = discovery.serve("/apis/a.example.com/v1", &HeaderMap::new()).unwrap_err();
        assert_eq!((error.status.code, error.retry_after), (503, None));
        assert_eq!(
            discovery.serve("/apis/b.example.com/v1", &HeaderMap::new()).unwrap_err().status.code,
            404
        );
    }

    #[tokio::test]
    async fn a_version_that_is_not_known_is_stale_in_the_aggregated_document() {
        let discovery = Discovery::default();
        discovery.publish(&[claim("a.example.com", "v1", false)]);
        let document = body(discovery.serve("/apis", &accept(AGGREGATED)).unwrap()).await;
        assert_eq!(document["items"][0]["versions"][0]["freshness"], "Stale");
    }

    #[test]
    fn an_etag_that_the_client_has_is_304() {
        let discovery = Discovery::default();
        discovery.publish(&[claim("a.example.com", "v1", true)]);
        let mut headers = accept(AGGREGATED);
        let etag = discovery.serve("/apis", &headers).unwrap().headers()[header::ETAG].clone();
        headers.insert(header::IF_NONE_MATCH, etag);
        assert_eq!(discovery.serve("/apis", &headers).unwrap().status(), 304);
        discovery.publish(&[claim("a.example.com", "v2", true)]);
        assert_eq!(discovery.serve("/apis", &headers).unwrap().status(), 200);
    }
}
