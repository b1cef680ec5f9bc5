//! The Watch method of resources whose backend has none: it is called like any other, and answered by the caller that
//! remembers what clients were told.

use std::sync::{Arc, LazyLock};

use prost_reflect::DescriptorPool;

use super::{Binding, Method, Source};
use crate::{proto, transcode::Tables};

/// Its path. No backend has it.
pub const MADE_WATCH: &str = "/kubridge.made/Watch";

static METHOD: LazyLock<Arc<Method>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the contract's descriptors are whole");
    let tables = Tables::compile(&pool);
    let message = |name| tables.message(name).expect("it is in the contract");
    Arc::new(Method {
        path: MADE_WATCH.into(),
        streaming: true,
        request: vec![
            Binding { field: Some(1), source: Source::Namespace },
            Binding { field: Some(2), source: Source::ListOptions },
        ],
        input: message("kubridge.v1.WatchRequest"),
        output: message("kubridge.v1.Event"),
    })
});

pub(super) fn method() -> Arc<Method> {
    Arc::clone(&METHOD)
}
