//! Every reason that a condition of an APIService or of a Backend can have. docs/errors.md is made of it.

use super::backend::{ADMISSION_WEBHOOKS, CLAIMS_ACCEPTED, CONNECTED, SCHEMA_ACCEPTED};
use crate::registry::{AVAILABLE, DISCOVERY_CURRENT, METHODS_UNIMPLEMENTED};

/// One reason, as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonEntry {
    /// "Available", "DiscoveryCurrent" or "MethodsUnimplemented".
    pub condition: &'static str,
    /// "FailedDiscoveryCheck".
    pub reason: &'static str,
    /// "True", "False" or "Unknown".
    pub status: &'static str,
    /// When the condition has it.
    pub when: &'static str,
    /// What there is to do.
    pub mend: &'static str,
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident; $( #[doc = $when:literal] $reason:ident($condition:expr, $status:literal) $mend:literal; )+) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( #[doc = $when] $reason, )+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$( Self::$reason ),+];

            /// What is documented of it.
            pub fn entry(self) -> ReasonEntry {
                match self {
                    $( Self::$reason => ReasonEntry {
                        condition: $condition,
                        reason: stringify!($reason),
                        status: $status,
                        when: $when.trim_ascii(),
                        mend: $mend,
                    }, )+
                }
            }
        }
    };
}

reasons! {
    /// Why a condition of an APIService has its status.
    Reason;
    /// The aggregator itself or its delegate serves the group and version.
    Local(AVAILABLE, "True")
        "nothing";
    /// The backend answers, and what it says of itself is in use.
    Passed(AVAILABLE, "True")
        "nothing";
    /// The gRPC backend offers a newer schema that has faults.
    PassedWithOldSchema(AVAILABLE, "True")
        "correct the schema: `kubridge lint --backend URL` names every fault; the last good one stays in use";
    /// The HTTPS backend offers a newer discovery document that has faults.
    PassedWithOldDiscovery(AVAILABLE, "True")
        "correct what the backend answers on `/apis`; the last good document stays in use";
    /// The HTTPS backend's OpenAPI document has faults.
    PassedWithOldOpenAPI(AVAILABLE, "True")
        "correct what the backend answers on `/openapi`; the last good document, if there is one, stays in use";
    /// The gRPC backend is asked for the first time.
    SchemaNotReadYet(AVAILABLE, "Unknown")
        "wait";
    /// The HTTPS backend is asked for the first time.
    DiscoveryNotReadYet(AVAILABLE, "Unknown")
        "wait";
    /// The annotation `kubridge.io/protocol` says something else than grpc, grpcs or https.
    ProtocolNotSupported(AVAILABLE, "False")
        "write one of the three, or remove the annotation for https";
    /// In a cluster: the APIService names Kubridge's Service, and no backend behind it.
    BackendNotNamed(AVAILABLE, "False")
        "annotate the APIService with `kubridge.io/backend: grpc://HOST:PORT`";
    /// The annotation `kubridge.io/backend` names a Backend that is not there, or one that cannot be used.
    BackendNotResolved(AVAILABLE, "False")
        "create the Backend, or see its conditions";
    /// The address in the APIService is no address, or has a CA beside `grpc://`.
    InvalidBackend(AVAILABLE, "False")
        "correct the annotation `kubridge.io/backend` or `spec.service`";
    /// The client certificate that the Backend names is no certificate and key in PEM.
    InvalidClientCertificate(AVAILABLE, "False")
        "correct the Secret of `spec.tls.clientCertificate`: its keys are tls.crt and tls.key";
    /// The CA in the APIService is no certificate in PEM, or `grpcs://` has none.
    InvalidCABundle(AVAILABLE, "False")
        "correct the annotation `kubridge.io/backend-ca`, `spec.caBundle`, or `--backend-ca-file`";
    /// DNS does not know the host in the annotation.
    HostNotFound(AVAILABLE, "False")
        "correct the host in the annotation `kubridge.io/backend`";
    /// DNS does not know the Service.
    ServiceNotFound(AVAILABLE, "False")
        "create the Service, or write a rule for it: `--service-resolution NAMESPACE/NAME=HOST:PORT`";
    /// No connection, no answer, or one that makes no sense: the message says what was tried, and where.
    FailedDiscoveryCheck(AVAILABLE, "False")
        "start the backend, or correct its address, protocol or certificate";
    /// The backend is connected and says of itself that it does not serve (`grpc.health.v1`, or `/readyz`).
    NotServing(AVAILABLE, "False")
        "see the backend's log, or let it report SERVING for the service \"\"";
    /// The backend comes and goes; it must settle before it is called available again.
    Flapping(AVAILABLE, "False")
        "see why it restarts";
    /// The gRPC backend's schema has faults, and none without was ever read.
    SchemaRejected(AVAILABLE, "False")
        "correct the schema: `kubridge lint --backend URL` names every fault";
    /// The annotation `kubridge.io/mapping` names no Mapping, or two.
    MappingNotFound(AVAILABLE, "False")
        "write the `metadata.name` of a Mapping in the annotation, or add the Mapping to `--manifests`";
    /// The HTTPS backend's discovery document has faults, and none without was ever read.
    DiscoveryRejected(AVAILABLE, "False")
        "correct what the backend answers on `/apis`";
    /// The backend serves, but nothing of the group and version that the APIService claims.
    GroupVersionNotDeclared(AVAILABLE, "False")
        "correct `spec.group` and `spec.version`, or the proto's `option (kubridge.v1.api)`";
    /// What discovery and OpenAPI say is what the backend says.
    Live(DISCOVERY_CURRENT, "True")
        "nothing";
    /// The backend is away; what it said last is served as Current, up to `--discovery-max-age`.
    LastKnownGood(DISCOVERY_CURRENT, "True")
        "bring the backend back";
    /// The backend is away for longer than that: what it said last is served as Stale.
    Expired(DISCOVERY_CURRENT, "False")
        "bring the backend back";
    /// What the backend serves has never been known: discovery answers 503.
    NeverKnown(DISCOVERY_CURRENT, "False")
        "see the condition Available";
    /// The gRPC backend answered methods that its schema has with UNIMPLEMENTED: clients get 405, or what can be made without.
    MethodsUnimplemented(METHODS_UNIMPLEMENTED, "True")
        "implement the methods that the message names, or remove them from the proto";
    /// It did, and has come back, changed its schema, or answers them since.
    AllImplemented(METHODS_UNIMPLEMENTED, "False")
        "nothing";
}

reasons! {
    /// Why a condition of a Backend has its status. Where a claim is not available it has that APIService's reason.
    BackendReason;
    /// There is a connection to the backend.
    Connected(CONNECTED, "True")
        "nothing";
    /// Nothing was tried yet.
    NotConnectedYet(CONNECTED, "Unknown")
        "wait";
    /// There is none, or nothing comes over it: the message says what was tried, and where.
    NotConnected(CONNECTED, "False")
        "start the backend, or correct `spec.endpoint`, `spec.service` or `spec.tls`";
    /// The schema that the backend has is in use.
    Accepted(SCHEMA_ACCEPTED, "True")
        "nothing";
    /// The backend is asked for its schema for the first time, or cannot be asked.
    NotReadYet(SCHEMA_ACCEPTED, "Unknown")
        "see the condition Connected";
    /// The backend has been asked, and tells no schema.
    NotTold(SCHEMA_ACCEPTED, "False")
        "let the backend serve `kubridge.v1.Schema` or server reflection, or correct `spec.schema`";
    /// The schema has faults, and none without was ever read.
    Rejected(SCHEMA_ACCEPTED, "False")
        "correct the schema: `kubridge lint --backend URL` names every fault";
    /// The newest schema has faults, or cannot be kept for all replicas; the last good one stays in use.
    NewestRejected(SCHEMA_ACCEPTED, "False")
        "correct what the message names: of the schema, `kubridge lint --backend URL` names every fault";
    /// `spec.mapping` names no Mapping, or two.
    NotMapped(SCHEMA_ACCEPTED, "False")
        "write the `metadata.name` of a Mapping in `spec.mapping`";
    /// Everything is claimed that `spec.claims` names.
    Claimed(CLAIMS_ACCEPTED, "True")
        "nothing";
    /// Something may not be claimed, or somebody else claims it.
    Refused(CLAIMS_ACCEPTED, "False")
        "correct `spec.claims`, or delete the APIService that is in the way";
    /// Everything that is claimed is served.
    AllAvailable(AVAILABLE, "True")
        "nothing";
    /// The spec has faults.
    InvalidSpec(AVAILABLE, "False")
        "correct what the message names";
    /// A Secret or ConfigMap that the spec names cannot be used.
    ReferenceNotUsable(AVAILABLE, "False")
        "create it, correct it, or let Kubridge's service account read it";
    /// Something in `spec.claims` has no APIService.
    NotClaimed(AVAILABLE, "False")
        "see the condition ClaimsAccepted";
    /// A claim is not available, for a reason of its own that the condition has in its place.
    ClaimNotAvailable(AVAILABLE, "False")
        "see the conditions of the APIService";
    /// In a cluster: webhooks and admission policies are not asked about the objects of an aggregated API.
    NotRun(ADMISSION_WEBHOOKS, "False")
        "let the backend itself refuse what must not be";
}
