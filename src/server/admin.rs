//! A second, plain HTTP entrance for those who look after the process: `/metrics`, `/livez`, `/readyz`. Nobody is asked
//! who they are there, so it is off unless it is wanted, and belongs on an address that only they reach.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kubridge_bridge::status::ApiError;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};

use super::{
    health,
    respond::{Style, error_response},
    router::metrics_page,
};
use crate::{
    body::Body,
    lifecycle::Lifecycle,
    metrics::Metrics,
    telemetry::{Reason, error_chain},
};

/// Who scrapes keeps one or two connections; more than this is a mistake, and waits.
const MAX_CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After the system refused us a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Clone)]
pub struct Admin {
    /// What `/livez` and `/readyz` say.
    pub lifecycle: Lifecycle,
    /// What `/metrics` says.
    pub metrics: Arc<Metrics>,
}

impl Admin {
    /// Serves until it is dropped: also while the rest stops, so that the stop can be watched.
    pub async fn serve(self, socket: TcpListener) {
        let this = Arc::new(self);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        while let Ok(place) = room.clone().acquire_owned().await {
            let stream = loop {
                match accept(&socket).await {
                    Ok(stream) => break stream,
                    Err(error) => {
                        tracing::error!(reason = %Reason::Accept, error = error_chain(&error), "--metrics-listen");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            };
            let this = this.clone();
            connections.spawn(async move {
                this.connection(stream).await;
                drop(place);
            });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(|request| {
            let answer = self.answer(&request);
            async { Ok::<_, Infallible>(answer) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(reason = %Reason::Connection, error = error_chain(&error), "--metrics-listen");
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let answer = match *request.method() {
            Method::GET | Method::HEAD if path == "/metrics" => Ok(metrics_page(&self.metrics)),
            Method::GET | Method::HEAD => health::serve(&self.lifecycle, path, query)
                .unwrap_or_else(|| Err(ApiError::generic_not_found_path())),
            _ => Err(ApiError::method_not_allowed()),
        };
        answer.unwrap_or_else(|error| error_response(&error, "", Style::of(query, request.headers())))
    }
}

async fn accept(socket: &TcpListener) -> io::Result<TcpStream> {
    socket.accept().await.map(|(stream, _)| stream)
}
