//! A socket that knows when it last heard something, and can be cut from outside.
//!
//! hyper owns the socket once the connection stands. Both things are needed of it: bytes that arrive
//! are the proof of life, and a connection that is found dead must fail all its calls now.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::task::AtomicWaker;
use rustls::AlertDescription;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What is known of a connection's socket. Times are nanoseconds since it was made; 0 is never.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    heard: AtomicU64,
    asked: AtomicU64,
    begun: Notify,
    calls: AtomicU64,
    settled: AtomicBool,
    settled_notify: Notify,
    cut: AtomicBool,
    abandoned: AtomicBool,
    sending: AtomicBool,
    waker: AtomicWaker,
    gone: CancellationToken,
    alert: OnceLock<AlertDescription>,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            heard: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            begun: Notify::new(),
            calls: AtomicU64::new(0),
            settled: AtomicBool::new(false),
            settled_notify: Notify::new(),
            cut: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            sending: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            gone: CancellationToken::new(),
            alert: OnceLock::new(),
        })
    }

    /// The backend's first bytes have arrived and been worked off: its SETTINGS are in force.
    pub(super) async fn settled(&self) {
        let notified = self.settled_notify.notified();
        if !self.settled.load(Ordering::Acquire) {
            notified.await;
        }
    }

    /// The socket is closed.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// The TLS alert that the backend ended the connection with. In TLS 1.3 it judges our certificate when the
    /// handshake is over for us, and hyper does not always pass the reason on.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        self.alert.get().copied()
    }

    /// A call starts now. Silence is counted from the first one since the last byte.
    pub(super) fn ask(&self) {
        if self.asked.load(Ordering::Relaxed) <= self.heard.load(Ordering::Relaxed) {
            self.asked.store(self.now(), Ordering::Relaxed);
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
    }

    /// How many calls have started.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Completes when a call has started since the last time.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    /// Since when nothing was heard although something was asked.
    pub(super) fn quiet_since(&self) -> Instant {
        let (asked, heard) = (self.asked.load(Ordering::Relaxed), self.heard.load(Ordering::Relaxed));
        self.born + Duration::from_nanos(asked.max(heard))
    }

    /// Whether a call has started since the last byte.
    pub(super) fn is_waited_for(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > self.heard.load(Ordering::Relaxed)
    }

    /// Whether something was heard at or after `since`.
    pub(super) fn heard_since(&self, since: Instant) -> bool {
        let heard = self.heard.load(Ordering::Relaxed);
        heard > 0 && self.born + Duration::from_nanos(heard) >= since
    }

    /// Cuts the connection: its socket fails from now on, and with it all calls.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ends the connection because nobody wants its answer any more, and there is no other way to say so.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.cut();
    }

    /// Whether [`Self::abandon`] was called.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// A request's body is being sent, or no longer. Only told where there is one request at a time.
    pub(super) fn set_sending(&self, sending: bool) {
        self.sending.store(sending, Ordering::Release);
    }

    /// Whether a request's body is still being sent.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Acquire)
    }

    /// Whether [`Self::cut`] was called.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// The socket that reports to a [`Pulse`].
#[derive(Debug)]
pub(super) struct Pulsed<T> {
    io: T,
    pulse: Arc<Pulse>,
    /// Why it can no longer be written to.
    closed: Option<io::ErrorKind>,
}

impl<T> Pulsed<T> {
    pub(super) fn new(io: T, pulse: Arc<Pulse>) -> Self {
        Self { io, pulse, closed: None }
    }

    fn check(&self, cx: &mut Context<'_>) -> io::Result<()> {
        self.pulse.waker.register(cx.waker());
        match self.pulse.is_cut() {
            false => Ok(()),
            true if self.pulse.is_abandoned() => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nobody waits for the answer any more"))
            }
            true => Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was silent and was cut")),
        }
    }

    /// Keeps the reason where an error is the backend's alert.
    fn note(&self, error: &io::Error) {
        if let Some(alert) = alert(error) {
            let _the_first_counts = self.pulse.alert.set(alert);
        }
    }
}

impl<T: AsyncRead + Unpin> Pulsed<T> {
    /// A write, unless one has failed because the connection is closed. A backend that refuses us says why and closes;
    /// who only sees that writing fails never reads it. So what is left is read before the write's error is passed on.
    fn write<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        self.check(cx)?;
        if self.closed.is_none() {
            match write(Pin::new(&mut self.io), cx) {
                Poll::Ready(Err(error)) if is_closed(&error) => self.closed = Some(error.kind()),
                polled => return polled,
            }
        }
        // The socket is told of its end soon, so this ends.
        let mut rest = [0; 1024];
        loop {
            let mut rest = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => {}
                Ok(()) => break,
                Err(error) => {
                    self.note(&error);
                    break;
                }
            }
        }
        Poll::Ready(Err(self.closed.unwrap_or(io::ErrorKind::BrokenPipe).into()))
    }
}

/// Whether the other side has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl<T> Drop for Pulsed<T> {
    fn drop(&mut self) {
        self.pulse.gone.cancel();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Pulsed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        // A second read means that what the first one brought has been worked off.
        if self.pulse.heard.load(Ordering::Relaxed) > 0 && !self.pulse.settled.swap(true, Ordering::AcqRel) {
            self.pulse.settled_notify.notify_waiters();
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.heard.store(self.pulse.now(), Ordering::Relaxed);
        }
        if let Poll::Ready(Err(error)) = &polled {
            self.note(error);
        }
        polled
    }
}

/// The TLS alert behind an error.
pub(super) fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pulsed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Closed by the other side, whose last words arrive one by one.
    struct Refused(Vec<Poll<io::Result<&'static [u8]>>>);

    impl AsyncRead for Refused {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let next = self.0.remove(0);
            if next.is_pending() {
                cx.waker().wake_by_ref();
            }
            next.map_ok(|bytes| buf.put_slice(bytes))
        }
    }

    impl AsyncWrite for Refused {
        fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_write_that_fails_reads_why() {
        let refusal = || {
            let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
            let alert = Err(io::Error::new(io::ErrorKind::InvalidData, alert));
            let words =
                vec![Poll::Pending, Poll::Ready(Ok(&b"settings"[..])), Poll::Pending, Poll::Ready(alert)];
            Pulsed::new(Refused(words), Pulse::new())
        };
        let mut socket = refusal();
        let error = socket.write_all(b"hello").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(socket.pulse.alert(), Some(AlertDescription::CertificateRequired));

        let mut socket = refusal();
        let error = socket.flush().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(socket.pulse.alert(), Some(AlertDescription::CertificateRequired));

        // Without a reason it stays what it is.
        let mut socket = Pulsed::new(Refused(vec![Poll::Ready(Ok(b""))]), Pulse::new());
        assert_eq!(socket.flush().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(socket.pulse.alert(), None);
    }
}
