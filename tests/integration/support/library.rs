//! A service in the style of Google's AIPs behind a real gRPC server: with reflection, and nothing of Kubernetes.

use std::{convert::Infallible, net::SocketAddr, task::Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::future::BoxFuture;
use http::{Request, Response};
use kubridge_bridge::caller::{CallError, Code, Detail};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::Service,
    metadata::MetadataMap,
    server::{Grpc, NamedService, UnaryService},
    transport::server::TcpIncoming,
};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::aip::{descriptors::LIBRARY, service};

/// See the module.
pub struct Library {
    pub service: service::Service,
    addr: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Library {
    /// Serves what the service has, on a port of its own.
    pub async fn start() -> Self {
        let service = service::Service::new(&LIBRARY);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(&LIBRARY)
            .build_v1()
            .unwrap();
        let router = tonic::transport::Server::builder()
            .add_service(reflection)
            .add_service(Books(service.clone()))
            .add_service(Operations(service.clone()));
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            router.serve_with_incoming_shutdown(TcpIncoming::from(listener), stopped).await.unwrap();
        });
        Self { service, addr, stop, server }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.stop.cancel();
        self.server.await.unwrap();
    }
}

#[derive(Clone)]
struct Books(service::Service);

impl NamedService for Books {
    const NAME: &'static str = "example.library.v1.LibraryService";
}

#[derive(Clone)]
struct Operations(service::Service);

impl NamedService for Operations {
    const NAME: &'static str = "google.longrunning.Operations";
}

impl Service<Request<Body>> for Books {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(answer(self.0.clone(), request))
    }
}

impl Service<Request<Body>> for Operations {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(answer(self.0.clone(), request))
    }
}

async fn answer(service: service::Service, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(Grpc::new(Raw).unary(Method { service, path }, request).await)
}

struct Method {
    service: service::Service,
    path: String,
}

impl UnaryService<Bytes> for Method {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let answer = self.service.call(&self.path, request.get_ref());
        Box::pin(async move {
            answer.map(|bytes| tonic::Response::new(Bytes::from(bytes))).map_err(|error| status(&error))
        })
    }
}

fn status(error: &CallError) -> Status {
    let CallError::Status(found) = error else { return Status::unavailable("") };
    let code = tonic::Code::from_i32(found.code.number());
    let mut violations = Vec::new();
    for detail in &found.details {
        if let Detail::FieldViolations(all) = detail {
            violations.extend(all.iter().map(|v| FieldViolation::new(&v.field, &v.description)));
        }
    }
    if violations.is_empty() || found.code == Code::Ok {
        return Status::with_metadata(code, &found.message, MetadataMap::new());
    }
    let details = ErrorDetails::with_bad_request(violations);
    Status::with_error_details(code, &found.message, details)
}

/// Messages as they are on the wire.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let rest = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(rest)))
    }
}
