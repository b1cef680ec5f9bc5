//! A backend's descriptors, by the Mappings of the moment -> what is served of it.

use std::sync::{Arc, Mutex, PoisonError};

use kubridge_bridge::{
    mapping::{self, MappingFile},
    model::{Fault, Rules, Schema},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::upstream::{FetchedSchema, Rejected, SchemaHandle};

/// Compiles the schema of one backend. Where nothing that counts for it has changed, the same schema comes out.
pub(super) struct Compiler {
    mappings: watch::Receiver<Arc<[MappingFile]>>,
    /// The Mapping that the APIServices choose.
    chosen: Option<String>,
    last: Mutex<Option<Last>>,
}

/// What was last good.
struct Last {
    /// SHA-256 of the descriptors.
    digest: [u8; 32],
    /// The Mappings that said something.
    mappings: Vec<MappingFile>,
    schema: Arc<Schema>,
}

impl Compiler {
    pub(super) fn new(mappings: watch::Receiver<Arc<[MappingFile]>>, chosen: Option<String>) -> Self {
        Self { mappings, chosen, last: Mutex::default() }
    }

    /// Descriptors -> what is served, or every fault.
    pub(super) fn compile(&self, fetched: &FetchedSchema) -> Result<Arc<Schema>, Rejected> {
        let all = Arc::clone(&self.mappings.borrow());
        let chosen = self.chosen.as_ref().map(|name| MappingFile::named(&all, name)).transpose();
        let chosen = chosen.map_err(|fault| rejected(&[*fault]))?;
        let digest = Sha256::digest(&fetched.bytes).into();
        let mappings = match chosen {
            Some(chosen) => vec![chosen.clone()],
            None => mapping::relevant(&fetched.bytes, &all),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.digest == digest
            && last.mappings == mappings
        {
            return Ok(Arc::clone(&last.schema));
        }
        let schema = match chosen {
            Some(chosen) => mapping::read_schema_by(&fetched.bytes, Rules::default(), chosen),
            None => mapping::read_schema(&fetched.bytes, Rules::default(), &all),
        };
        let schema = Arc::new(schema.map_err(|faults| rejected(&faults))?);
        *last = Some(Last { digest, mappings, schema: Arc::clone(&schema) });
        Ok(schema)
    }
}

/// Has the schema compiled again whenever the Mappings are others.
pub(super) async fn follow(mut mappings: watch::Receiver<Arc<[MappingFile]>>, schema: SchemaHandle<Schema>) {
    while mappings.changed().await.is_ok() {
        schema.compile_again();
    }
}

fn rejected(faults: &[Fault]) -> Rejected {
    Rejected { faults: faults.iter().map(ToString::to_string).collect() }
}
