//! Backends that are objects: what a Backend of `kubridge.io/v1alpha1` says, read and checked.

use std::{fmt, sync::Arc, time::Duration};

use kubridge_bridge::{caller::FieldViolation, proto};

mod claims;
mod definition;
mod reader;
mod resolve;
mod store;
mod validation;

#[cfg(test)]
mod tests;

use super::{
    local_caller::LocalKind,
    proto::backend::{
        Backend, BackendSpec, BackendStatus, BrownOutPolicy, Claim, KeyReference, SchemaOrigin,
    },
    target::{Protocol, Target},
};

pub use super::cluster::resource;
pub use claims::{api_service, refused};
pub use definition::definition;
pub use reader::BackendReader;
pub(super) use resolve::resolve;
pub use store::{is_status, with_status};
pub use validation::validate;

/// The group and version of Backends.
pub const API_VERSION: &str = "kubridge.io/v1alpha1";
/// Finalizer: the APIServices that were made for a Backend are removed before it goes.
pub const FINALIZER: &str = "kubridge.io/apiservices";

/// Why a claim is refused whose APIService somebody else made.
pub const IN_THE_WAY: &str =
    "there is an APIService of this name that was not made for this Backend: delete it, or the claim";

/// Backend, as the store serves it.
pub const BACKENDS: LocalKind = LocalKind {
    service: "kubridge.backend.v1alpha1.Backends",
    kind: "Backend",
    kinds: "Backends",
    plural: "backends",
    group: "kubridge.io",
    admit: validation::admit,
};

/// A Backend object.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its uid: another one is another Backend of the same name.
    pub uid: String,
    /// Changes with its spec.
    pub generation: i64,
    /// The object's resourceVersion.
    pub resource_version: String,
    /// It is to go, as soon as nobody holds it.
    pub is_deleted: bool,
    /// Who holds it.
    pub finalizers: Vec<String>,
    /// What its spec says, or every fault of it.
    pub wanted: Result<Wanted, Vec<FieldViolation>>,
    /// What a claim that names it gets, or why that cannot be said.
    pub resolved: Result<Resolved, Unresolved>,
    /// As last written.
    pub status: BackendStatus,
}

/// What a valid spec says.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The groups and versions that are to be claimed.
    pub claims: Vec<Wish>,
    target: Target,
    trust: Trust,
    mapping: Option<String>,
    client_certificate: Option<ObjectName>,
    named: Named,
}

impl Wanted {
    /// Where it is: `grpc://HOST:PORT`, or with TLS `grpcs://HOST:PORT`. A Service's host is `NAME.NAMESPACE.svc`.
    pub fn url(&self) -> String {
        self.target.url().unwrap_or_default()
    }

    /// PEM: what its certificate is verified against, where it says so itself.
    pub fn ca_bundle(&self) -> Option<&[u8]> {
        match &self.trust {
            Trust::Bundle(pem) => Some(pem).filter(|pem| !pem.is_empty()).map(Vec::as_slice),
            Trust::From(..) => None,
        }
    }

    /// The name in its certificate, where it is not its host.
    pub fn server_name(&self) -> Option<&str> {
        self.named.server_name.as_deref()
    }
}

/// A group and version that is to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The API group.
    pub group: String,
    /// "v1".
    pub version: String,
    /// The rank of the group, at least.
    pub group_priority: i32,
    /// The rank of the version in its group.
    pub version_priority: i32,
}

impl Wish {
    /// The name of the APIService: "v1.inventory.example.com".
    pub fn api_service(&self) -> String {
        format!("{}.{}", self.version, self.group)
    }
}

/// What a claim gets of the Backend that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Who serves it.
    pub target: Target,
    /// PEM: what the backend's certificate is verified against; empty: the system's authorities.
    pub ca_bundle: Vec<u8>,
    /// The Mapping by which it is served, where one is chosen.
    pub mapping: Option<String>,
    /// The rest.
    pub named: Arc<Named>,
}

/// Why nothing can be served by a Backend. The text names the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// Its spec has faults.
    Spec(String),
    /// A Secret or ConfigMap that it names cannot be used.
    Reference(String),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec(why) | Self::Reference(why) => f.write_str(why),
        }
    }
}

/// What the backend's certificate is verified against.
#[derive(Debug, Clone, PartialEq)]
enum Trust {
    /// PEM; empty: the system's authorities.
    Bundle(Vec<u8>),
    /// In one key of a Secret or ConfigMap.
    From(Source, String),
}

/// An object of the cluster that a Backend refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A Secret.
    Secret(ObjectName),
    /// A ConfigMap.
    ConfigMap(ObjectName),
}

/// The name of an object in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, ObjectName { namespace, name }) = match self {
            Self::Secret(name) => ("Secret", name),
            Self::ConfigMap(name) => ("ConfigMap", name),
        };
        write!(f, "the {kind} {namespace}/{name}")
    }
}

/// A Backend object that a claim names: what is not its address. Two that differ in any of it are two backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its uid: another one is another Backend of the same name.
    pub uid: String,
    /// The name in its certificate, where it is not that of its address.
    pub server_name: Option<String>,
    /// What it is shown; `None`: our own certificate.
    pub identity: Option<Identity>,
    /// How it is asked for its schema.
    pub schema: Origin,
    /// How much of its is taken at once.
    pub limits: Limits,
    /// How long is waited for it.
    pub timeouts: Timeouts,
    /// What clients get while it cannot be reached.
    pub brown_out: BrownOut,
    /// For how long what it last said of itself is served as Current; `None`: as all.
    pub discovery_max_age: Option<Duration>,
}

/// A client certificate and its key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate, its intermediates after it, PEM.
    pub certificate: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// How a backend is asked for its schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// By its Schema service, and where that is not implemented by server reflection.
    #[default]
    Any,
    /// By its Schema service.
    SchemaService,
    /// By server reflection.
    Reflection,
}

/// How much of a backend's is taken at once; `None`: as of all backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Requests in flight, watches apart.
    pub max_requests: Option<usize>,
    /// Watches in flight.
    pub max_watches: Option<usize>,
    /// The largest message, in bytes.
    pub max_message: Option<usize>,
}

/// How long a backend is waited for; `None`: as for all backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Option<Duration>,
    /// For the answer to a request that is no watch.
    pub request: Option<Duration>,
    /// Without a byte, before it is asked whether it lives.
    pub silence: Option<Duration>,
}

/// What clients get while a backend cannot be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BrownOut {
    /// 503, as from any server that is away.
    #[default]
    Fail,
    /// Reads are answered from what was last listed, with a `Warning`.
    Snapshot,
    /// Like [`Self::Fail`], but a namespace that is being deleted is taken to have none of its objects.
    AssumeEmpty,
}

/// The rank of a group and version that says nothing of it: what Kubernetes gives to custom resources.
const GROUP_PRIORITY: i32 = 1000;
const VERSION_PRIORITY: i32 = 100;
/// Where a CA is in a Secret or ConfigMap that says nothing of it.
const CA_KEY: &str = "ca.crt";

/// Reads an object. What it refers to is not resolved yet.
pub(super) fn read(backend: Backend) -> Declared {
    let faults = validate(&backend);
    let metadata = backend.metadata.unwrap_or_default();
    let wanted = if faults.is_empty() {
        Ok(wanted(&metadata, &backend.spec.unwrap_or_default()))
    } else {
        Err(faults)
    };
    Declared {
        name: metadata.name,
        uid: metadata.uid,
        generation: metadata.generation,
        resource_version: metadata.resource_version,
        is_deleted: metadata.deletion_timestamp.is_some(),
        finalizers: metadata.finalizers,
        resolved: Err(Unresolved::Spec("it was not looked at yet".to_owned())),
        wanted,
        status: backend.status.unwrap_or_default(),
    }
}

/// Of a spec without faults.
fn wanted(metadata: &proto::ObjectMeta, spec: &BackendSpec) -> Wanted {
    let tls = spec.tls.as_ref();
    let target = match &spec.service {
        Some(service) => Target::Service {
            protocol: if tls.is_some() { Protocol::Grpcs } else { Protocol::Grpc },
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            port: service.port,
        },
        None => Target::Grpc { url: spec.endpoint.clone() },
    };
    let trust = match tls.and_then(|tls| tls.ca_bundle_from.as_ref()) {
        Some(from) => Trust::From(source(from), key(from).to_owned()),
        None => Trust::Bundle(tls.map(|tls| tls.ca_bundle.clone()).unwrap_or_default()),
    };
    let count = |number: i32| usize::try_from(number).ok().filter(|number| *number > 0);
    let limits = spec.limits.unwrap_or_default();
    let timeouts = spec.timeouts.unwrap_or_default();
    let brown_out = spec.brown_out.unwrap_or_default();
    let named = Named {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        server_name: tls.map(|tls| tls.server_name.clone()).filter(|name| !name.is_empty()),
        identity: None,
        schema: match spec.schema.unwrap_or_default().from() {
            SchemaOrigin::Unspecified => Origin::Any,
            SchemaOrigin::SchemaService => Origin::SchemaService,
            SchemaOrigin::Reflection => Origin::Reflection,
        },
        limits: Limits {
            max_requests: count(limits.max_requests_in_flight),
            max_watches: count(limits.max_watches_in_flight),
            max_message: count(limits.max_message_bytes),
        },
        timeouts: Timeouts {
            connect: duration(timeouts.connect.as_ref()),
            request: duration(timeouts.request.as_ref()),
            silence: duration(timeouts.silence.as_ref()),
        },
        brown_out: match brown_out.policy() {
            BrownOutPolicy::Unspecified | BrownOutPolicy::Fail => BrownOut::Fail,
            BrownOutPolicy::Snapshot => BrownOut::Snapshot,
            BrownOutPolicy::AssumeEmpty => BrownOut::AssumeEmpty,
        },
        discovery_max_age: duration(brown_out.discovery_max_age.as_ref()),
    };
    Wanted {
        claims: spec.claims.iter().map(wish).collect(),
        target,
        trust,
        mapping: (!spec.mapping.is_empty()).then(|| spec.mapping.clone()),
        client_certificate: tls.and_then(|tls| tls.client_certificate.as_ref()).map(object_name),
        named,
    }
}

fn wish(claim: &Claim) -> Wish {
    let or = |number: i32, default: i32| if number == 0 { default } else { number };
    Wish {
        group: claim.group.clone(),
        version: claim.version.clone(),
        group_priority: or(claim.group_priority_minimum, GROUP_PRIORITY),
        version_priority: or(claim.version_priority, VERSION_PRIORITY),
    }
}

fn source(from: &KeyReference) -> Source {
    match (&from.secret, &from.config_map) {
        (Some(secret), _) => Source::Secret(object_name(secret)),
        (None, config_map) => Source::ConfigMap(object_name(&config_map.clone().unwrap_or_default())),
    }
}

fn key(from: &KeyReference) -> &str {
    if from.key.is_empty() { CA_KEY } else { &from.key }
}

fn object_name(reference: &super::proto::backend::ObjectReference) -> ObjectName {
    ObjectName { namespace: reference.namespace.clone(), name: reference.name.clone() }
}

fn duration(duration: Option<&proto::Duration>) -> Option<Duration> {
    let nanos = u64::try_from(duration?.duration).ok()?;
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}
