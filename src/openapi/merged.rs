//! `/openapi/v2`: one document of everything. It is put together when somebody asks for it, once after each change, and
//! not on a thread that serves requests.

use std::sync::{Arc, OnceLock};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use kubridge_bridge::{
    openapi_doc::{self, V2Document},
    status::ApiError,
};

use super::{JSON, Origin, PROTOBUF, document::Document, entry::Entry};

/// A document that is made, or being made.
type Making = Shared<BoxFuture<'static, Option<Arc<Document>>>>;

/// What the document is made from, and what was made.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// In the order of merging.
    entries: Vec<Arc<Entry>>,
    json: OnceLock<Making>,
    protobuf: OnceLock<Making>,
}

impl Merged {
    /// The known one with all that was made of it, where it is made from the same.
    pub(super) fn kept(known: &Arc<Self>, entries: &[&Arc<Entry>]) -> Arc<Self> {
        let same = known.entries.len() == entries.len()
            && known.entries.iter().zip(entries).all(|(a, b)| Arc::ptr_eq(a, b));
        if same {
            return Arc::clone(known);
        }
        let entries = entries.iter().copied().map(Arc::clone).collect();
        Arc::new(Self { entries, ..Self::default() })
    }

    pub(super) async fn json(self: &Arc<Self>) -> Result<Arc<Document>, ApiError> {
        let making = self.json.get_or_init(|| {
            let entries = self.entries.clone();
            making(move || Document::new(JSON, document(&entries)))
        });
        finished(making.clone()).await
    }

    pub(super) async fn protobuf(self: &Arc<Self>) -> Result<Arc<Document>, ApiError> {
        let json = self.json().await?;
        let making = self.protobuf.get_or_init(|| {
            making(move || {
                Document::with_hash(PROTOBUF, openapi_doc::protobuf_v2(json.body()), json.hash().to_owned())
            })
        });
        finished(making.clone()).await
    }
}

/// Begins at once and goes on when whoever asked goes away: the next one gets what it made.
fn making(make: impl FnOnce() -> Document + Send + 'static) -> Making {
    let made = tokio::task::spawn_blocking(move || Arc::new(make()));
    made.map(Result::ok).boxed().shared()
}

async fn finished(making: Making) -> Result<Arc<Document>, ApiError> {
    making.await.ok_or_else(|| {
        ApiError::internal("the OpenAPI document could not be made")
            .with_log("making the OpenAPI v2 document panicked")
    })
}

fn document(entries: &[Arc<Entry>]) -> Vec<u8> {
    let rest = entries.iter().find(|entry| entry.key().is_empty() && entry.has_v2());
    let claimed: Vec<&str> =
        entries.iter().filter(|entry| entry.origin() != Origin::Delegate).map(|entry| entry.key()).collect();
    let rest_cut = rest.and_then(|entry| entry.v2()).map(|document| document.without(&claimed));
    let documents = entries.iter().filter_map(|entry| {
        if entry.key().is_empty() {
            return rest_cut.as_ref();
        }
        // The delegate's whole document has it.
        let told = entry.origin() == Origin::Delegate && !entry.has_v2() && rest.is_some();
        if told { None } else { entry.v2().map(Arc::as_ref) }
    });
    let documents: Vec<&V2Document> = documents.collect();
    openapi_doc::merge(documents).to_json(concat!("v1.36.0+kubridge.", env!("CARGO_PKG_VERSION")))
}
