//! What is known of whatever serves one claim -> its route, its documents, and what is to be said about it. No I/O.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use kubridge_bridge::{
    discovery_doc::{Freshness, VersionDocument},
    model::{Api, Schema},
};

use super::backends::{Known, Learnt};
use crate::{
    availability::{AVAILABLE, Cause, Confirmation, Documents, Observation, Remote, Verdict, conditions},
    metrics::Confirmed,
    openapi::{Origin, Source},
    proxy::{Backend, Forward, Route, Unserved},
    registry::{Claim, Target},
    upstream::{self, DocumentError, FailureReason, OpenApiState, SchemaState},
};

/// One claim, looked at.
pub(super) struct Look {
    pub(super) route: Route,
    /// What discovery says.
    pub(super) said: Said,
    /// What OpenAPI says, and whose word that is; `None`: nothing.
    pub(super) source: Option<(Origin, Source)>,
    pub(super) observation: Observation,
}

/// Where discovery's words come from.
pub(super) enum Said {
    Nothing,
    BySchema(Arc<Api>),
    ByBackend(Arc<VersionDocument>),
}

impl Said {
    /// What a backend or the delegate says; nothing where a schema does.
    pub(super) fn by_backend(self) -> Option<Arc<VersionDocument>> {
        match self {
            Self::ByBackend(document) => Some(document),
            Self::Nothing | Self::BySchema(_) => None,
        }
    }
}

impl Look {
    /// Served by this process.
    pub(super) fn own(api: Arc<Api>, backend: Backend) -> Self {
        Self {
            said: Said::BySchema(Arc::clone(&api)),
            source: Some((Origin::Own, Source::Schema(Arc::clone(&api)))),
            route: Route::Served { api, backend },
            observation: Observation::Local,
        }
    }

    /// Served by the delegate.
    pub(super) fn delegated(documents: Option<&upstream::VersionDocuments>) -> Self {
        Self {
            route: Route::Delegate,
            said: said(documents),
            source: documents.and_then(source).map(|source| (Origin::Delegate, source)),
            observation: Observation::Local,
        }
    }

    /// Nothing can be tried.
    pub(super) fn unserved(claim: &Claim, observation: Observation) -> Self {
        let route = Route::Unserved(unserved(claim, &observation));
        Self { route, said: Said::Nothing, source: None, observation }
    }

    /// Served by a backend.
    /// `says_methods`: the claim says already which methods are not implemented, or that there are none.
    pub(super) fn remote(
        claim: &Claim,
        known: &Known,
        says_methods: bool,
        max_age: Duration,
        now: SystemTime,
    ) -> Self {
        let remote = |documents, unimplemented: Vec<String>| {
            let service = match &claim.target {
                Target::Service { namespace, name, .. } => Some((namespace.clone(), name.clone())),
                Target::Local
                | Target::Named { .. }
                | Target::Unresolved { .. }
                | Target::Unnamed
                | Target::Grpc { .. }
                | Target::UnknownProtocol { .. } => None,
            };
            Observation::Remote(Remote {
                url: claim.target.url().unwrap_or_default(),
                service,
                group_version: format!("{}/{}", claim.group, claim.version),
                verdict: known.verdict.clone(),
                documents,
                unimplemented: Some(unimplemented).filter(|methods| says_methods || !methods.is_empty()),
            })
        };
        let max_age = claim.backend.as_ref().and_then(|backend| backend.discovery_max_age).unwrap_or(max_age);
        match &known.learnt {
            Learnt::Schema { state, handle, made, unmapped } => {
                let api = state.current.as_ref().and_then(|schema| find(schema, claim));
                let unimplemented = api.as_ref().map(|api| lacking(api, known)).unwrap_or_default();
                let documents = match (&state.current, &api) {
                    (Some(_), Some(_)) => schema(known, max_age, now),
                    (Some(schema), None) => Documents::NotDeclared { declared: declared_names(schema) },
                    (None, _) => unknown(state, unmapped.as_deref()),
                };
                let observation = remote(documents, unimplemented);
                let Some(api) = api else { return Self::unserved(claim, observation) };
                let mapped = state.current.as_ref().and_then(|schema| schema.mapped.clone());
                let (backend, brown_out) = (known.backend.clone(), known.brown_out.clone());
                let backend = Backend::remote(backend, handle.clone(), &api, mapped, made.clone(), brown_out);
                Self {
                    said: Said::BySchema(Arc::clone(&api)),
                    source: Some((Origin::Backend, Source::Schema(Arc::clone(&api)))),
                    route: Route::Served { api, backend },
                    observation,
                }
            }
            Learnt::Documents(documents) => {
                let version = (claim.group.clone(), claim.version.clone());
                let documents_known = documents.versions.get(&version);
                let route = Route::Forward(Forward::new(known.backend.clone(), &claim.name));
                let documents = https_documents(known, documents.asked, documents_known, max_age, now);
                let observation = remote(documents, Vec::new());
                let source = documents_known.and_then(source).map(|source| (Origin::Backend, source));
                Self { route, said: said(documents_known), source, observation }
            }
        }
    }

    /// When the backend last said that what discovery shows of it is true. `None`: never, or nobody is asked.
    pub(super) fn confirmed(&self) -> Option<Confirmed> {
        let Observation::Remote(Remote { documents: Documents::Known { confirmation, .. }, .. }) =
            &self.observation
        else {
            return None;
        };
        Some(match confirmation {
            Confirmation::Live => Confirmed::Now,
            Confirmation::LastKnownGood { since, .. } | Confirmation::Expired { since, .. } => {
                Confirmed::At(*since)
            }
        })
    }

    /// Whether clients may act on what discovery says, and until when.
    pub(super) fn freshness(&self) -> (Freshness, Option<SystemTime>) {
        let Observation::Remote(Remote { documents, .. }) = &self.observation else {
            return (Freshness::Current, None);
        };
        match documents {
            Documents::Known { confirmation, .. } => match confirmation {
                Confirmation::Live => (Freshness::Current, None),
                Confirmation::LastKnownGood { until, .. } => (Freshness::Current, *until),
                Confirmation::Expired { .. } => (Freshness::Stale, None),
            },
            Documents::Pending
            | Documents::Missing { .. }
            | Documents::Rejected { .. }
            | Documents::Unmapped { .. }
            | Documents::NotDeclared { .. } => (Freshness::Stale, None),
        }
    }
}

/// The methods of an API that its backend does not have.
fn lacking(api: &Api, known: &Known) -> Vec<String> {
    let of_api = |path: &&String| api.called().any(|called| called == **path);
    known.unimplemented.iter().filter(of_api).cloned().collect()
}

/// What is known of the schema of a gRPC backend, whatever is claimed of it.
pub(super) fn schema(known: &Known, max_age: Duration, now: SystemTime) -> Documents {
    let Learnt::Schema { state, unmapped, .. } = &known.learnt else { return Documents::Pending };
    match &state.current {
        Some(_) => Documents::Known {
            confirmation: known.confirmation(state.confirmed_at, max_age, now),
            newer_rejected: state.rejected.as_ref().map(|rejected| rejected.faults.join("; ")),
            openapi_quarantined: None,
        },
        None => unknown(state, unmapped.as_deref()),
    }
}

/// Of a backend whose schema was never accepted.
fn unknown(state: &SchemaState<Schema>, unmapped: Option<&str>) -> Documents {
    match (&state.rejected, &state.last_error) {
        (Some(_), _) if let Some(why) = unmapped => Documents::Unmapped { why: why.to_owned() },
        (Some(rejected), _) => Documents::Rejected { faults: rejected.faults.join("; ") },
        (None, Some(error)) => Documents::Missing { last_error: error.to_string() },
        (None, None) => Documents::Pending,
    }
}

fn https_documents(
    known: &Known,
    asked: bool,
    documents: Option<&upstream::VersionDocuments>,
    max_age: Duration,
    now: SystemTime,
) -> Documents {
    let error = documents.and_then(|documents| documents.error.as_ref());
    match documents {
        Some(documents) if documents.discovery.is_some() => Documents::Known {
            confirmation: known.confirmation(documents.confirmed_at, max_age, now),
            newer_rejected: None,
            openapi_quarantined: match &documents.openapi {
                OpenApiState::Quarantined(faults) => Some(faults.to_string()),
                OpenApiState::Unknown
                | OpenApiState::Current
                | OpenApiState::Absent
                | OpenApiState::Failed(_) => None,
            },
        },
        _ => match error {
            Some(DocumentError::NotServed) => Documents::NotDeclared { declared: Vec::new() },
            Some(DocumentError::Failed(why)) => Documents::Missing { last_error: why.to_string() },
            None if asked && documents.is_some() => Documents::NotDeclared { declared: Vec::new() },
            None => Documents::Pending,
        },
    }
}

fn said(documents: Option<&upstream::VersionDocuments>) -> Said {
    match documents.and_then(|documents| documents.discovery.as_ref()) {
        Some(document) => Said::ByBackend(Arc::clone(document)),
        None => Said::Nothing,
    }
}

fn source(documents: &upstream::VersionDocuments) -> Option<Source> {
    if documents.v3.is_some() || documents.v2.is_some() {
        return Some(Source::Downloaded { v3: documents.v3.clone(), v2: documents.v2.clone() });
    }
    // Not before it is known that there is nothing better.
    let absent = documents.openapi == OpenApiState::Absent;
    documents.discovery.clone().filter(|_| absent).map(Source::Discovered)
}

pub(super) fn find(schema: &Schema, claim: &Claim) -> Option<Arc<Api>> {
    schema.apis.iter().find(|api| api.group == claim.group && api.version == claim.version).cloned()
}

/// The groups and versions that a schema declares.
pub(super) fn declared(schema: &Schema) -> Vec<(String, String)> {
    schema.apis.iter().map(|api| (api.group.clone(), api.version.clone())).collect()
}

fn declared_names(schema: &Schema) -> Vec<String> {
    declared(schema).into_iter().map(|(group, version)| format!("{group}/{version}")).collect()
}

fn unserved(claim: &Claim, observation: &Observation) -> Unserved {
    let reason = match observation {
        Observation::Local | Observation::UnknownProtocol { .. } => {
            "is of a kind that this version does not serve"
        }
        Observation::Unresolved { .. } => "is a Backend that is not there or cannot be used",
        Observation::NoBackend => "is not named by the annotation kubridge.io/backend",
        Observation::Unusable { .. } => "has an address or a CA that cannot be used",
        Observation::Remote(Remote {
            verdict: Verdict::Unavailable { cause: Cause::Connect(FailureReason::Tls), .. },
            ..
        }) => "cannot be reached, because a certificate is not accepted",
        Observation::Remote(Remote { documents, .. }) => match documents {
            Documents::Rejected { .. } => "has a schema with faults",
            Documents::Unmapped { .. } => "is to be served by a Mapping that is not there",
            Documents::NotDeclared { .. } => "does not declare this group and version",
            Documents::Pending | Documents::Missing { .. } | Documents::Known { .. } => {
                "has not been reached yet"
            }
        },
    };
    let available = conditions(observation).into_iter().find(|said| said.r#type == AVAILABLE);
    let log = available.map(|condition| condition.message).unwrap_or_default();
    Unserved { api_service: claim.name.clone(), reason, log }
}
