//! What is made of one part of the API.

use std::sync::{Arc, OnceLock};

use kubridge_bridge::openapi_doc::{V2Document, V3Document};

use super::{Documented, JSON, Origin, Source, document::Document};

/// One key of the index, and what is made from its source.
#[derive(Debug)]
pub(super) struct Entry {
    documented: Documented,
    v3: Option<Document>,
    v2: OnceLock<Option<Arc<V2Document>>>,
}

impl Entry {
    /// Makes the v3 document. v2 is made when somebody asks for it.
    pub(super) fn new(documented: &Documented) -> Self {
        let v3 = match &documented.source {
            Source::Schema(api) => Some(V3Document::of_schema(api)),
            Source::Downloaded { v3: Some(v3), .. } => Some(V3Document::clone(v3)),
            // The delegate's v2 has no key of its own: it is all of it.
            Source::Downloaded { .. } if documented.key.is_empty() => None,
            Source::Downloaded { v3: None, v2 } => v2.as_ref().map(|v2| V3Document::from_v2(v2)),
            Source::Discovered(document) => Some(V3Document::of_discovery(&documented.key, document)),
        };
        let v3 = v3.map(|document| Document::new(JSON, document.json().clone()));
        Self { documented: documented.clone(), v3, v2: OnceLock::new() }
    }

    pub(super) fn is_of(&self, other: &Documented) -> bool {
        fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            }
        }
        let known = &self.documented;
        known.key == other.key
            && known.origin == other.origin
            && match (&known.source, &other.source) {
                (Source::Schema(a), Source::Schema(b)) => Arc::ptr_eq(a, b),
                (Source::Discovered(a), Source::Discovered(b)) => Arc::ptr_eq(a, b),
                (Source::Downloaded { v3: a3, v2: a2 }, Source::Downloaded { v3: b3, v2: b2 }) => {
                    same(a3.as_ref(), b3.as_ref()) && same(a2.as_ref(), b2.as_ref())
                }
                _ => false,
            }
    }

    pub(super) fn key(&self) -> &str {
        &self.documented.key
    }

    pub(super) fn origin(&self) -> Origin {
        self.documented.origin
    }

    pub(super) fn v3(&self) -> Option<&Document> {
        self.v3.as_ref()
    }

    /// Whether its v2 was downloaded, and is not to be made from v3.
    pub(super) fn has_v2(&self) -> bool {
        matches!(self.documented.source, Source::Downloaded { v2: Some(_), .. })
    }

    /// The v2 document; made on the first call.
    pub(super) fn v2(&self) -> Option<&Arc<V2Document>> {
        let made = || match &self.documented.source {
            Source::Schema(api) => Some(Arc::new(V2Document::of_schema(api))),
            Source::Downloaded { v2: Some(v2), .. } => Some(Arc::clone(v2)),
            Source::Downloaded { v3, v2: None } => v3.as_ref().map(|v3| Arc::new(V2Document::from_v3(v3))),
            Source::Discovered(document) => {
                Some(Arc::new(V2Document::from_v3(&V3Document::of_discovery(self.key(), document))))
            }
        };
        self.v2.get_or_init(made).as_ref()
    }
}
