//! A gRPC backend of its own group: the inventory's schema under another name, and no machines.

use std::{convert::Infallible, net::SocketAddr};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpListener;

/// The group of backend `number`: as long as the inventory's, so that the descriptors can be changed in place.
pub fn group(number: usize) -> String {
    format!("inventor{}.example.com", number % 10)
}

/// Serves until the parent ends. Port 0: any; its address is printed.
pub async fn play(number: usize, port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    println!("{}", listener.local_addr()?);
    let schema = schema(number);
    loop {
        let (socket, _) = listener.accept().await?;
        let schema = schema.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let schema = schema.clone();
                async move { Ok::<_, Infallible>(answer(request, schema).await) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn schema(number: usize) -> Bytes {
    let (from, to) = (b"inventory.example.com", group(number).into_bytes());
    let mut descriptors = inventory::DESCRIPTORS.to_vec();
    let places: Vec<usize> =
        descriptors.windows(from.len()).enumerate().filter(|(_, w)| w == from).map(|(at, _)| at).collect();
    for at in places {
        descriptors[at..at + from.len()].copy_from_slice(&to);
    }
    let answer = inventory::contract::GetSchemaResponse {
        file_descriptor_set: descriptors,
        etag: number.to_string(),
        not_modified: false,
    };
    answer.encode_to_vec().into()
}

async fn answer(
    request: Request<Incoming>,
    schema: Bytes,
) -> Response<impl Body<Data = Bytes, Error = Infallible>> {
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await;
    let (message, status) = match path.as_str() {
        "/kubridge.v1.Schema/Get" => (Some(schema), "0"),
        // A list of nothing.
        "/inventory.v1.Machines/ListMachines" => {
            let metadata =
                inventory::contract::ListMeta { resource_version: "1".into(), ..Default::default() };
            let list = inventory::v1::ListMachinesResponse { metadata: Some(metadata), ..Default::default() };
            (Some(list.encode_to_vec().into()), "0")
        }
        _ => (None, "12"),
    };
    let mut frames = Vec::with_capacity(2);
    if let Some(message) = message {
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap_or_default());
        framed.put_slice(&message);
        frames.push(Ok(Frame::data(framed.freeze())));
    }
    frames.push(Ok(Frame::trailers(HeaderMap::from_iter([(
        header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )]))));
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
