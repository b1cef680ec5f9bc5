//! The contract (`proto/kubridge/v1`) as prost types, and its descriptors.

#![allow(missing_docs, reason = "generated; the .proto files carry the comments")]
#![allow(unreachable_pub, reason = "generated")]

mod google {
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
    }
}

mod kubridge {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/kubridge.v1.rs"));
    }
}

pub use google::rpc;
pub use kubridge::v1::*;

/// The contract's descriptors: a `google.protobuf.FileDescriptorSet` with imports and comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));

/// The extension number of every annotation in `api.proto`.
pub const EXTENSION: u32 = 51736;
