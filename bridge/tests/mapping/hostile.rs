//! A service that answers with anything at all.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::Method;
use kubridge_bridge::caller::{Call, CallError, Caller};
use proptest::prelude::*;

use crate::support::{API, BOOKS, client};

/// Answers every call with the same bytes.
#[derive(Debug, Clone)]
struct Parrot(Bytes);

impl Caller for Parrot {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, _: Call) -> Result<Bytes, CallError> {
        Ok(self.0.clone())
    }

    async fn stream(&self, _: Call) -> Result<Self::Stream, CallError> {
        Ok(stream::iter([Ok(self.0.clone())]).boxed())
    }
}

/// Bytes that look like a message, and some that do not.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let field = (1_u32..22, prop::collection::vec(any::<u8>(), 0..24)).prop_map(|(number, value)| {
        let mut out = Vec::new();
        kubridge_bridge::wire::put_bytes(&mut out, number, &value);
        out
    });
    let name = prop_oneof![
        Just(b"publishers/acme/books/moby".to_vec()),
        Just(b"publishers//books/".to_vec()),
        Just(b"publishers/acme/editions/\xff".to_vec()),
    ];
    let named = (name, prop::collection::vec(field, 0..6)).prop_map(|(name, rest)| {
        let mut out = Vec::new();
        kubridge_bridge::wire::put_bytes(&mut out, 1, &name);
        out.extend(rest.concat());
        out
    });
    prop_oneof![named, prop::collection::vec(any::<u8>(), 0..48)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_answer_is_a_panic_or_a_hang(answer in answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let client = client();
            let parrot = Parrot(answer.into());
            let body = r#"{"metadata": {"name": "moby"}, "spec": {"title": "T"}}"#;
            let edition = r#"{"metadata": {"generateName": "e"}, "spec": {"year": 1}}"#;
            let headers = [("content-type", "application/json")];
            for (method, path, body) in [
                (Method::GET, format!("{BOOKS}/moby"), ""),
                (Method::GET, BOOKS.to_owned(), ""),
                (Method::GET, format!("{API}/books?limit=2"), ""),
                (Method::GET, format!("{API}/notes"), ""),
                (Method::POST, BOOKS.to_owned(), body),
                (Method::POST, format!("{API}/namespaces/acme/editions"), edition),
                (Method::PUT, format!("{BOOKS}/moby"), body),
                (Method::DELETE, format!("{BOOKS}/moby"), ""),
                (Method::POST, format!("{BOOKS}/moby/reprint"), "{}"),
            ] {
                let answer = client.send_by(&parrot, method, &path, &headers, body).await;
                assert!(answer.code >= 200, "{path}");
            }
        });
    }
}
