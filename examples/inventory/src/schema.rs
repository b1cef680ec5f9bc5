//! `kubridge.v1.Schema`: what is served, in the compiler's own bytes, with comments and custom options.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tonic::{Request, Response, Status};

use crate::{
    DESCRIPTORS,
    contract::{GetSchemaRequest, GetSchemaResponse, schema_server},
};

/// The service.
#[derive(Debug)]
pub(crate) struct Schema {
    descriptors: Vec<u8>,
    etag: String,
}

impl Schema {
    /// `descriptors`: what is told; by default all that is served.
    pub(crate) fn new(descriptors: Option<Vec<u8>>) -> Self {
        let descriptors = descriptors.unwrap_or_else(|| DESCRIPTORS.to_vec());
        let mut hasher = DefaultHasher::new();
        descriptors.hash(&mut hasher);
        Self { descriptors, etag: format!("{:016x}", hasher.finish()) }
    }
}

#[tonic::async_trait]
impl schema_server::Schema for Schema {
    async fn get(&self, request: Request<GetSchemaRequest>) -> Result<Response<GetSchemaResponse>, Status> {
        let not_modified = request.get_ref().etag == self.etag;
        let file_descriptor_set = if not_modified { Vec::new() } else { self.descriptors.clone() };
        Ok(Response::new(GetSchemaResponse { file_descriptor_set, etag: self.etag.clone(), not_modified }))
    }
}
