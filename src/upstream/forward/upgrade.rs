//! Requests that ask for another protocol: WebSocket, SPDY. Each has a connection of its own, in HTTP/1.1.

use std::{fmt, net::SocketAddr, sync::Arc};

use http::{Request, Response, StatusCode};
use hyper::upgrade::Upgraded;
use kubridge_bridge::caller::{Ran, TransportKind};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    super::{
        backend::Backend,
        connection::{describe, establish_http1, prove_life},
        limit::{Kind, Permit},
        request_body::RequestBody,
    },
    ForwardError, Forwarded, Guard, Head,
};

/// What came of asking for another protocol.
#[derive(Debug)]
pub enum Upgrade {
    /// The backend has switched: its 101, and what follows.
    Switched(Box<Response<Switched>>),
    /// Any other answer. The other protocol is not spoken.
    Refused(Box<Response<Forwarded>>),
}

/// A connection after its 101.
pub struct Switched {
    /// What is spoken over.
    pub io: Upgraded,
    /// To be kept as long as it is used.
    pub held: Held,
}

/// Counts the connection as long as it is used.
pub struct Held {
    pub(super) label: Arc<str>,
    _permit: Arc<Permit>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.label).finish()
    }
}

impl fmt::Debug for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switched").finish_non_exhaustive()
    }
}

impl Backend {
    /// Forwards a request that asks for another protocol. Its headers say so: `Connection` and `Upgrade` are sent as
    /// they are. The deadline is for the answer's head. It is never sent twice.
    ///
    /// # Errors
    /// There is no answer; whether the request can have run is said.
    pub async fn upgrade(
        &self,
        request: Request<()>,
        deadline: Option<Instant>,
    ) -> Result<Upgrade, ForwardError> {
        let head = Head::new(self, request.into_parts().0);
        let late = || {
            let message = format!("{}: the deadline passed", self.endpoint());
            ForwardError::new(Ran::Unknown, TransportKind::Deadline, message)
        };
        let work = self.upgrade_until(&head);
        match deadline {
            None => work.await,
            Some(at) => timeout_at(at, work).await.unwrap_or_else(|_| Err(late())),
        }
    }

    async fn upgrade_until(&self, head: &Head) -> Result<Upgrade, ForwardError> {
        let attempts = self.attempts(head.class(), Kind::Watch, None)?;
        // A connection of the pool tells an address that lives.
        let place = attempts.first().await?;
        let (address, permit) = (place.connection().peer, place.permit());
        place.finish();
        let endpoint = self.endpoint();
        let fail =
            |ran, kind, why: &str| ForwardError::new(ran, kind, format!("{endpoint} ({address}): {why}"));
        let Some(tls) = self.tls() else {
            return Err(fail(Ran::No, TransportKind::Protocol, "only HTTPS has upgrades"));
        };
        let established = establish_http1(address, endpoint, tls, self.options()).await;
        let established =
            established.map_err(|error| fail(Ran::No, TransportKind::Unavailable, &error.message))?;
        let Some(mut sender) = established.single() else {
            return Err(fail(Ran::No, TransportKind::Protocol, "it does not speak HTTP/1.1"));
        };
        let held = Held { label: format!("{endpoint} ({address})").into(), _permit: permit };
        let mut response = tokio::select! {
            sent = sender.send_request(head.request(true, RequestBody::Whole(None))) => sent.map_err(|error| {
                fail(Ran::Unknown, TransportKind::Broken, &describe(&error))
            })?,
            () = self.dead(address) => {
                return Err(fail(Ran::Unknown, TransportKind::Broken, "the connection was silent and was cut"));
            }
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let response = response.map(|body| Forwarded::new(body, Guard::Single(held)));
            return Ok(Upgrade::Refused(Box::new(response)));
        }
        let io = hyper::upgrade::on(&mut response)
            .await
            .map_err(|error| fail(Ran::Unknown, TransportKind::Protocol, &describe(&error)))?;
        Ok(Upgrade::Switched(Box::new(response.map(|_| Switched { io, held }))))
    }

    /// Completes when nobody lives at the address any more.
    async fn dead(&self, address: SocketAddr) {
        let Some(tls) = self.tls() else { return std::future::pending().await };
        let options = self.options();
        loop {
            sleep(options.silence).await;
            if !timeout(options.silence_grace, prove_life(address, tls)).await.unwrap_or(false) {
                return;
            }
        }
    }
}
