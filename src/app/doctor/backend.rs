//! The backend that an APIService names, by its address or as a Backend: where it is, what is said of it, and its schema.

use std::{net::SocketAddr, path::PathBuf};

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{Api, Client, ResourceExt as _, api::DynamicObject};
use kubridge_bridge::proto::Condition;

use super::{
    ask::{self, Asked},
    verdict::Verdict,
};
use crate::{
    app::lint,
    availability::{CLAIMS_ACCEPTED, CONNECTED, SCHEMA_ACCEPTED},
    cluster::Place,
    config::BackendUrl,
    registry::{
        BACKEND, BACKEND_CA, Declared, Protocol,
        backend::{BackendReader, resource},
        is_name,
    },
    telemetry::error_chain,
    upstream::{Backend, Endpoint, Options, TlsOptions},
};

/// So many lines of a schema's faults are told; `kubridge lint` has them all.
const TOLD: usize = 6;

/// Where a backend is, and how it is trusted.
#[derive(Debug)]
pub(super) struct Found {
    /// As it is written.
    pub(super) url: String,
    parsed: BackendUrl,
    ca: Option<String>,
    server_name: Option<String>,
    /// What its Backend's conditions say, where it is one.
    pub(super) said: Option<Verdict>,
}

impl Found {
    /// By what the annotations of an APIService say, and, where they name one, the Backend. The error: there is none that
    /// can be used.
    pub(super) async fn of(client: &Client, object: &APIService) -> Result<Self, Verdict> {
        let annotation = |name| object.annotations().get(name).cloned();
        let named = annotation(BACKEND)
            .ok_or_else(|| Verdict::not_tried(format!("the annotation {BACKEND} is missing")))?;
        if !is_name(&named) {
            return Self::at_url(named, annotation(BACKEND_CA));
        }
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource());
        match ask::object(&api, &named).await {
            Asked::Found(backend) => match BackendReader::default().read(&backend) {
                Ok(declared) => Self::declared(&declared),
                Err(why) => Err(Verdict::not_tried(format!("the Backend {named} cannot be read: {why}"))),
            },
            Asked::Missing => Err(Verdict::broken(
                format!("there is no Backend {named}"),
                format!(
                    "create it, or kubectl annotate apiservice {} {BACKEND}=grpc://HOST:PORT",
                    object.name_any()
                ),
            )),
            Asked::Refused(why) | Asked::Failed(why) => {
                Err(Verdict::not_tried(format!("the Backend {named} cannot be read: {why}")))
            }
        }
    }

    fn at_url(url: String, ca: Option<String>) -> Result<Self, Verdict> {
        let parsed = url
            .parse()
            .map_err(|_| Verdict::not_tried(format!("the annotation {BACKEND} names none: {url:?}")))?;
        Ok(Self { url, parsed, ca, server_name: None, said: None })
    }

    fn declared(backend: &Declared) -> Result<Self, Verdict> {
        let name = &backend.name;
        let wanted = backend.wanted.as_ref().map_err(|faults| {
            let broken = Verdict::broken(
                format!("the Backend {name} has faults"),
                format!("kubectl edit backend {name}"),
            );
            faults.iter().fold(broken, |verdict, fault| verdict.detail(fault.to_string()))
        })?;
        let ca = wanted.ca_bundle().map(|pem| String::from_utf8_lossy(pem).into_owned());
        let found = Self::at_url(wanted.url(), ca)?;
        let server_name = wanted.server_name().map(str::to_owned);
        Ok(Self { server_name, said: Some(judge_conditions(backend)), ..found })
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
            server_name: tls.then(|| self.server_name.clone().unwrap_or_else(|| self.host().to_owned())),
            ..TlsOptions::default()
        };
        Ok(Backend::new(endpoint, &options, Options::default())?)
    }
}

/// What the conditions of a Backend say.
fn judge_conditions(backend: &Declared) -> Verdict {
    let name = &backend.name;
    if backend.status.observed_generation != backend.generation {
        return Verdict::broken(
            format!("nobody has said anything of the Backend {name} as it is now"),
            "see whether Kubridge runs, and whether it may patch backends/status (the hop Grants)",
        );
    }
    let wrong = backend.status.conditions.iter().filter(|condition| {
        condition.status != "True"
            && [CONNECTED, SCHEMA_ACCEPTED, CLAIMS_ACCEPTED].contains(&condition.r#type.as_str())
    });
    let verdict = |condition: &Condition| {
        let Condition { r#type, status, reason, message, .. } = condition;
        let what = format!("the Backend {name}: {type} is {status} ({reason})");
        Verdict::broken(what, format!("kubectl describe backend {name}; docs/errors.md says what to do"))
            .detail(message)
    };
    let wrong: Vec<Verdict> = wrong.map(verdict).collect();
    if wrong.is_empty() {
        return Verdict::ok(format!(
            "the Backend {name} is connected, and its schema and claims are accepted"
        ));
    }
    Verdict::worst_of(wrong)
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
    use serde_json::{Value, json};

    use super::*;
    use crate::app::doctor::verdict::State;

    fn declared(spec: &Value, conditions: &Value) -> Declared {
        let object = json!({
            "apiVersion": "kubridge.io/v1alpha1", "kind": "Backend", "metadata": {"name": "fleet", "generation": 3},
            "spec": spec, "status": {"observedGeneration": 3, "conditions": conditions},
        });
        BackendReader::default().read(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn what_is_named() {
        let found = Found::at_url("grpc://fleet.example.com:50051".to_owned(), None).unwrap();
        assert_eq!(found.outside(), Place::External("fleet.example.com".to_owned(), 50051));
        assert_eq!(Found::at_url("fleet:50051".to_owned(), None).unwrap_err().state, State::NotTried);
        let tls = Found::at_url("grpcs://fleet:1".to_owned(), None).unwrap();
        assert!(tls.at(([127, 0, 0, 1], 1).into()).is_err(), "no CA");
    }

    #[test]
    fn what_is_said_of_a_backend() {
        let claims = json!([{"group": "fleet.example.com", "version": "v1"}]);
        let spec = json!({
            "service": {"namespace": "default", "name": "fleet", "port": 50051}, "tls": {"serverName": "fleet"},
            "claims": claims,
        });
        let good = json!([{"type": "Connected", "status": "True"}, {"type": "AdmissionWebhooks", "status": "False"}]);
        let found = Found::declared(&declared(&spec, &good)).unwrap();
        assert_eq!(found.url, "grpcs://fleet.default.svc:50051");
        assert_eq!((found.said.unwrap().state, found.server_name.as_deref()), (State::Ok, Some("fleet")));
        let bad =
            json!([{"type": "Connected", "status": "False", "reason": "NotConnected", "message": "refused"}]);
        let said = Found::declared(&declared(&spec, &bad)).unwrap().said.unwrap();
        assert_eq!((said.state, said.details), (State::Broken, vec!["refused".to_owned()]));
        let mut silent = declared(&spec, &good);
        silent.generation = 4;
        let said = Found::declared(&silent).unwrap().said.unwrap();
        assert!(said.summary.contains("nobody has said anything"), "{}", said.summary);
        let faulty = Found::declared(&declared(&json!({"endpoint": "fleet:1", "claims": claims}), &good));
        assert_eq!(faulty.unwrap_err().state, State::Broken);
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
