//! The entrance: TLS, the steps that every request goes through, the router, and the one place where an error
//! becomes a response.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;

mod admin;
mod conduct;
mod describe;
mod health;
mod listener;
mod respond;
mod router;
mod steps;
mod tls;

pub use admin::Admin;
pub use describe::PATH as DESCRIBE_PATH;
pub use respond::{Style, error_response};
pub use router::{Router, Version};
pub use steps::Handler;

use crate::{
    authn::Authenticator, authz::Authorizer, lifecycle::Lifecycle, metrics::Metrics, pki::ServingCertificate,
    telemetry::Traces,
};

/// What a server is made of.
#[derive(Debug)]
pub struct Parts {
    /// Who asks.
    pub authenticator: Arc<Authenticator>,
    /// Whether they may.
    pub authorizer: Authorizer,
    /// What answers: [`Router::handler`].
    pub handler: Handler,
    /// When to stop.
    pub lifecycle: Lifecycle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where spans go, if requests are traced.
    pub traces: Option<Arc<Traces>>,
    /// After this long a request that is not long-running is answered with 504.
    pub request_timeout: Duration,
    /// The certificate of the moment.
    pub serving: Arc<ServingCertificate>,
    /// Who may sign client certificates. In a cluster nobody of these: there the authenticator knows.
    pub client_roots: Vec<CertificateDer<'static>>,
}

/// An HTTPS server, not yet listening.
#[derive(Debug)]
pub struct Server {
    listener: listener::Listener,
}

impl Server {
    /// Puts a server together. The error: the client CAs cannot be used.
    pub fn new(parts: Parts) -> Result<Self, tls::TlsError> {
        let clients = if parts.authenticator.verifies_certificates() {
            tls::Clients::HoldersOfKeys
        } else {
            tls::Clients::SignedBy(&parts.client_roots)
        };
        let tls = tls::server_config(parts.serving, clients)?;
        let steps = steps::Steps {
            authenticator: parts.authenticator,
            authorizer: parts.authorizer,
            handler: parts.handler,
            request_timeout: parts.request_timeout,
            lifecycle: parts.lifecycle.clone(),
            metrics: parts.metrics,
            traces: parts.traces,
        };
        Ok(Self { listener: listener::Listener::new(tls, Arc::new(steps), parts.lifecycle) })
    }

    /// Serves until the drain has begun and every connection has ended, or was cut by an abort.
    pub async fn serve(self, socket: TcpListener) {
        self.listener.serve(socket).await;
    }
}

pub use tls::TlsError;

#[cfg(test)]
mod tests;
