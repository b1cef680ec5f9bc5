//! What is known of whatever serves one APIService.

use std::time::SystemTime;

use super::tracker::Verdict;
use crate::upstream::EndpointError;

/// What is known of whatever serves an APIService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The aggregator itself or its delegate serves it, or nobody does: Kubernetes calls it available all the same.
    Local,
    /// In a cluster: it names this process, and no backend behind it.
    NoBackend,
    /// It names a Backend that is not there, or that says nothing that can be used.
    Unresolved {
        /// Why, and the mend.
        why: String,
    },
    /// It names a protocol that nobody here speaks.
    UnknownProtocol {
        /// What it names.
        protocol: String,
    },
    /// What the APIService says of its backend cannot be used, so nothing was tried.
    Unusable {
        /// The backend's URL, as the APIService has it.
        url: String,
        /// What cannot be used.
        flaw: Flaw,
        /// What is wrong with it.
        why: String,
    },
    /// A backend that is talked to.
    Remote(Remote),
}

/// What of an APIService cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The address.
    Address,
    /// What the backend's certificate is to be verified against.
    CaBundle,
    /// What the backend is to be shown.
    ClientCertificate,
}

impl Flaw {
    /// What an error of [`crate::upstream::Backend::new`] is about.
    pub fn of(error: &EndpointError) -> Self {
        match error {
            EndpointError::NoCa(_)
            | EndpointError::Ca(_)
            | EndpointError::CaUnused(_)
            | EndpointError::NoSystemCa(_) => Self::CaBundle,
            EndpointError::Scheme(_)
            | EndpointError::Port(_)
            | EndpointError::Extra { .. }
            | EndpointError::Host(_)
            | EndpointError::PlainWithTls(_) => Self::Address,
        }
    }
}

/// A backend, and what it is known to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Where it is: `grpc://fleet:50051`, `https://api.wardle.svc:443`. Of the schemes grpc, grpcs and https.
    pub url: String,
    /// The Service (namespace, name) where the APIService names one, not an address.
    pub service: Option<(String, String)>,
    /// "inventory.example.com/v1".
    pub group_version: String,
    /// What the backend's [`super::Tracker`] says.
    pub verdict: Verdict,
    /// What is known of what it serves.
    pub documents: Documents,
    /// The methods of the group and version that it answers with UNIMPLEMENTED: "/inventory.v1.Machines/GetMachine".
    /// `None`: there never were any, and nothing is said of them.
    pub unimplemented: Option<Vec<String>>,
}

/// What is known of what a backend serves: the schema of a gRPC backend, the discovery document of an HTTPS one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Documents {
    /// It is being asked for the first time.
    Pending,
    /// It was asked, and never told.
    Missing {
        /// Why the last attempt failed.
        last_error: String,
    },
    /// What it tells has faults, and nothing without was ever told.
    Rejected {
        /// The first faults.
        faults: String,
    },
    /// The Mapping that the APIService names is not there, or is there twice, and nothing was ever served without.
    Unmapped {
        /// Which, and what to do.
        why: String,
    },
    /// It tells, but nothing of the group and version that the APIService claims.
    NotDeclared {
        /// The group-versions that it has.
        declared: Vec<String>,
    },
    /// It is known what it serves.
    Known {
        /// By what.
        confirmation: Confirmation,
        /// It offers a newer schema or discovery document that has faults; the good one stays in use.
        newer_rejected: Option<String>,
        /// The OpenAPI document of an HTTPS backend has faults; the last good one, if any, stays in use. That it has
        /// no such document (404) is no fault.
        openapi_quarantined: Option<String>,
    },
}

/// Why it is believed that a document is what the backend serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// The backend says so.
    Live,
    /// It said so once, and cannot be asked.
    LastKnownGood {
        /// When it said so last.
        since: SystemTime,
        /// Until when the document is served as Current; `None`: without a limit.
        until: Option<SystemTime>,
    },
    /// It said so too long ago: the document is served as Stale.
    Expired {
        /// When it said so last.
        since: SystemTime,
        /// When it became Stale.
        at: SystemTime,
    },
}
