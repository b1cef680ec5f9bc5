//! The backend that an APIService names: where it is, and its schema.

use std::{net::SocketAddr, path::PathBuf};

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::ResourceExt as _;

use super::verdict::Verdict;
use crate::{
    app::lint,
    cluster::Place,
    config::BackendUrl,
    registry::{BACKEND, BACKEND_CA, Protocol},
    telemetry::error_chain,
    upstream::{Backend, Endpoint, Options, TlsOptions},
};

/// So many lines of a schema's faults are told; `kubridge lint` has them all.
const TOLD: usize = 6;

/// What the annotations say.
#[derive(Debug)]
pub(super) struct Annotated {
    /// As it is written.
    pub(super) url: String,
    parsed: BackendUrl,
    ca: Option<String>,
}

impl Annotated {
    /// The error: they say nothing that can be used; the hop of the APIService says what to do.
    pub(super) fn of(object: &APIService) -> Result<Self, Verdict> {
        let annotation = |name| object.annotations().get(name).cloned();
        let url = annotation(BACKEND)
            .ok_or_else(|| Verdict::not_tried(format!("the annotation {BACKEND} is missing")))?;
        let parsed = url
            .parse()
            .map_err(|_| Verdict::not_tried(format!("the annotation {BACKEND} names none: {url:?}")))?;
        Ok(Self { url, parsed, ca: annotation(BACKEND_CA) })
    }

    pub(super) fn host(&self) -> &str {
        self.parsed.host()
    }

    pub(super) fn port(&self) -> u16 {
        self.parsed.port()
    }

    /// Where it is if its host is no Service's name.
    pub(super) fn outside(&self) -> Place {
        Place::External(self.host().to_owned(), self.port())
    }

    /// Reads its schema at `address`, and says what would be served of it. That it cannot be read from here is no fault:
    /// it may let in nobody but Kubridge.
    pub(super) async fn lint(&self, address: SocketAddr, mappings: &[PathBuf]) -> Verdict {
        let fetched = async {
            let backend = self.at(address)?;
            anyhow::Ok(lint::fetch(&backend).await?)
        };
        let fetched = match fetched.await {
            Ok(fetched) => fetched,
            Err(error) => {
                let why = error_chain(error.as_ref());
                return Verdict::not_tried("its schema cannot be read from here").detail(why);
            }
        };
        match lint::judge(fetched, mappings) {
            Ok(judged) => judge(judged.map(|(_, schema)| schema.apis.len()), &self.url),
            Err(error) => Verdict::not_tried(format!("its schema: {}", error_chain(error.as_ref())))
                .with_mend("give the --mapping files that Kubridge is given"),
        }
    }

    /// It, dialled at an address and called by its name.
    fn at(&self, address: SocketAddr) -> anyhow::Result<Backend> {
        let tls = self.parsed.tls();
        let protocol = if tls { Protocol::Grpcs } else { Protocol::Grpc };
        let endpoint = Endpoint::new(protocol, &address.ip().to_string(), address.port())?;
        let options = TlsOptions {
            ca: self.ca.clone().filter(|_| tls).map(String::into_bytes),
            server_name: tls.then(|| self.host().to_owned()),
            ..TlsOptions::default()
        };
        Ok(Backend::new(endpoint, &options, Options::default())?)
    }
}

/// `schema`: how many groups and versions would be served, or the report on one with faults.
fn judge(schema: Result<usize, lint::LintReport>, url: &str) -> Verdict {
    match schema {
        Ok(0) => Verdict::broken(
            "its schema declares no API",
            format!(
                "annotate its services, or give Kubridge a --mapping; kubridge lint --backend {url} says how"
            ),
        ),
        Ok(count) => {
            Verdict::ok(format!("its schema is good: {count} API{}", if count == 1 { "" } else { "s" }))
        }
        Err(report) => {
            let lines: Vec<&str> = report.text.lines().take(TOLD).collect();
            let mend = format!("correct what kubridge lint --backend {url} names");
            Verdict::broken("its schema is not served", mend).detail(lines.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::app::doctor::verdict::State;

    fn annotated(annotations: &serde_json::Value) -> Result<Annotated, Verdict> {
        let object = json!({
            "metadata": {"name": "v1.a", "annotations": annotations},
            "spec": {"groupPriorityMinimum": 1, "versionPriority": 1},
        });
        Annotated::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_the_annotations_name() {
        let found = annotated(&json!({"kubridge.io/backend": "grpc://fleet.example.com:50051"})).unwrap();
        assert_eq!(found.outside(), Place::External("fleet.example.com".to_owned(), 50051));
        for bad in [json!({}), json!({"kubridge.io/backend": "fleet"})] {
            assert_eq!(annotated(&bad).unwrap_err().state, State::NotTried);
        }
        let tls = json!({"kubridge.io/backend": "grpcs://fleet:1"});
        assert!(annotated(&tls).unwrap().at(([127, 0, 0, 1], 1).into()).is_err(), "no CA");
    }

    #[test]
    fn what_a_schema_is_worth() {
        let judged = |schema| judge(schema, "grpc://a:1");
        assert_eq!(judged(Ok(2)).state, State::Ok);
        assert_eq!(judged(Ok(0)).state, State::Broken);
        let text = "The schema has 9 faults:\n".to_owned() + &"- one [KB1]\n".repeat(9);
        let faulty = judged(Err(lint::LintReport { text, passed: false }));
        assert_eq!((faulty.state, faulty.details.len()), (State::Broken, TOLD));
        assert!(faulty.mend.unwrap().contains("kubridge lint --backend grpc://a:1"));
    }
}
