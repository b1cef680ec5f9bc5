//! Kubridge's own APIs as prost types, and their descriptors.

#![allow(missing_docs, reason = "generated; the .proto files carry the comments")]
#![allow(unreachable_pub, reason = "generated")]

/// `apiregistration.k8s.io/v1`.
pub mod apiregistration {
    include!(concat!(env!("OUT_DIR"), "/kubridge.apiregistration.v1.rs"));
}

/// `authentication.k8s.io/v1`.
pub mod authentication {
    include!(concat!(env!("OUT_DIR"), "/kubridge.authentication.v1.rs"));
}

/// `authorization.k8s.io/v1`.
pub mod authorization {
    include!(concat!(env!("OUT_DIR"), "/kubridge.authorization.v1.rs"));
}

/// `kubridge.io/v1alpha1`.
pub mod backend {
    include!(concat!(env!("OUT_DIR"), "/kubridge.backend.v1alpha1.rs"));
}

/// The descriptors of all of them: a `google.protobuf.FileDescriptorSet` with imports, comments and annotations.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/builtin.bin"));
