//! Every entrance.

use std::sync::Arc;

use futures::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use kubridge_bridge::{request_info::RequestInfo, status::ApiError};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Handler, describe, health, respond, respond::Style};
use crate::{
    body::Body,
    discovery::Discovery,
    lifecycle::Lifecycle,
    metrics::{self, Metrics},
    openapi::OpenApi,
    proxy::{Caller, Proxy, refuse_upgrade},
};

/// Sends each request to whom it concerns. Whoever gets here is authenticated and may do what they ask for.
#[derive(Debug, Clone)]
pub struct Router {
    /// `/livez`, `/readyz`, `/healthz`.
    pub lifecycle: Lifecycle,
    /// `/api`, `/apis` and below, where no resource is named.
    pub discovery: Arc<Discovery>,
    /// `/openapi/v2`, `/openapi/v3` and below.
    pub openapi: Arc<OpenApi>,
    /// Resources.
    pub proxy: Arc<Proxy>,
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
}

impl Router {
    /// The router as the last of the server's steps.
    pub fn handler(self) -> Handler {
        let router = Arc::new(self);
        Handler::new(move |request, info, caller| {
            let router = router.clone();
            async move { router.route(request, info, &caller).await }.boxed()
        })
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        info: RequestInfo,
        caller: &Caller,
    ) -> Result<Response<Body>, ApiError> {
        if self.proxy.forwards(&info) {
            return self.proxy.serve(request, info, caller).await;
        }
        if info.is_resource_request {
            return match *request.method() {
                Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
                    self.proxy.serve(request, info, caller).await
                }
                _ => Err(ApiError::method_not_allowed()),
            };
        }
        refuse_upgrade(&request)?;
        let query = request.uri().query().unwrap_or_default();
        // "/apis/" is "/apis".
        let path = if info.path == "/" { "/" } else { info.path.trim_end_matches('/') };
        let get = |answer: Result<Response<Body>, ApiError>| match *request.method() {
            Method::GET | Method::HEAD => answer,
            _ => Err(ApiError::method_not_allowed()),
        };
        let segment = path.split('/').nth(1).unwrap_or_default();
        match segment {
            "" if path == "/" => get(Ok(respond::json(StatusCode::OK, &index(), Style { pretty: true }))),
            "livez" | "readyz" | "healthz" => match health::serve(&self.lifecycle, path, query) {
                Some(answer) => get(answer),
                None => Err(ApiError::generic_not_found_path()),
            },
            "metrics" if path == "/metrics" => get(Ok(metrics_page(&self.metrics))),
            "version" if path == "/version" => {
                get(Ok(respond::json(StatusCode::OK, &Version::new(), Style { pretty: true })))
            }
            "api" | "apis" => match self.proxy.awaits().filter(|_| !self.discovery.knows(path)) {
                Some(unknown) => Err(unknown),
                None => self.discovery.serve(request.method(), path, query, request.headers()),
            },
            "openapi" if *request.method() == Method::GET => {
                self.openapi.serve(path, query, request.headers()).await
            }
            "openapi" => Err(ApiError::method_not_allowed()),
            "kubridge" if path.starts_with(describe::PATH) => get(describe::serve(&self.proxy, path)),
            _ => self.proxy.delegate(request, info, caller).await,
        }
    }
}

/// Everything that is counted.
pub(super) fn metrics_page(metrics: &Metrics) -> Response<Body> {
    respond::typed(
        StatusCode::OK,
        HeaderValue::from_static(metrics::CONTENT_TYPE),
        metrics.text().into_bytes(),
    )
}

/// `/version` (`k8s.io/apimachinery/pkg/version.Info`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    major: &'static str,
    minor: &'static str,
    emulation_major: &'static str,
    emulation_minor: &'static str,
    min_compatibility_major: &'static str,
    min_compatibility_minor: &'static str,
    /// The Kubernetes version whose API this is, and ours behind the plus sign.
    pub git_version: &'static str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
}

impl Version {
    /// That of this program.
    pub fn new() -> Self {
        let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            major: "1",
            minor: "36",
            emulation_major: "1",
            emulation_minor: "36",
            min_compatibility_major: "1",
            min_compatibility_minor: "35",
            git_version: concat!("v1.36.0+kubridge.", env!("CARGO_PKG_VERSION")),
            git_commit: option_env!("KUBRIDGE_GIT_COMMIT").unwrap_or_default(),
            git_tree_state: option_env!("KUBRIDGE_GIT_TREE_STATE").unwrap_or_default(),
            build_date: option_env!("KUBRIDGE_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
            go_version: "",
            compiler: "rustc",
            platform: format!("{os}/{arch}"),
        }
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::new()
    }
}

fn index() -> Value {
    json!({"paths": [
        "/api", "/apis", "/healthz", "/healthz/ping", "/kubridge/describe", "/livez", "/livez/ping", "/metrics",
        "/openapi/v2", "/openapi/v3", "/readyz", "/readyz/ping", "/readyz/shutdown", "/version",
    ]})
}
