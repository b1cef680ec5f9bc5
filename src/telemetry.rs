//! Logging: how it is set up, the access line of every request, and the words that errors are counted by. What is
//! observed of a request on its way, and traces of it.

use std::{
    error::Error,
    fmt::Write as _,
    io::IsTerminal as _,
    time::{Duration, SystemTime},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing_subscriber::EnvFilter;

mod collector;
mod journey;
mod traces;

pub use collector::CollectorError;
pub use journey::{Journey, Phases};
pub use traces::{Finished, TRACESTATE, Trace, TraceSettings, Traces, TracesError};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends the log to standard error. `filter` is in `tracing_subscriber`'s syntax (`info`, `kubridge=debug,h2=warn`).
/// An error when the filter cannot be read, or when a log was set up before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}

/// Whether `filter` can be read, before anything is set up with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error_chain(&error))
}

/// A moment, as conditions and warnings name it: RFC 3339, to the second, in UTC.
pub fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_else(|_| whole.to_string())
}

/// One finished request.
#[derive(Debug)]
pub struct Access<'a> {
    /// The HTTP method.
    pub method: &'a http::Method,
    /// The path, without the query: it may hold what is nobody's business.
    pub path: &'a str,
    /// The Kubernetes verb.
    pub verb: &'a str,
    /// The HTTP status.
    pub code: u16,
    /// From the request's head to the last byte of the answer.
    pub latency: Duration,
    /// Of the answer's body.
    pub bytes: u64,
    /// Which backend it was sent on to.
    pub backend: Option<&'a str>,
    /// How long was waited for that backend.
    pub upstream: Option<Duration>,
    /// How often a call was sent again.
    pub retries: u32,
    /// Empty: not known (refused before anyone was authenticated).
    pub user: &'a str,
    /// The request's audit id.
    pub audit_id: &'a str,
    /// The trace that the request is part of.
    pub trace: Option<&'a Trace>,
    /// As the client says.
    pub user_agent: &'a str,
    /// Why the answer ended early; `None`: it did not.
    pub cut: Option<Reason>,
}

/// Writes the access line, target `access`, level INFO (probes of health: DEBUG).
pub fn access(line: &Access<'_>) {
    let probe = matches!(line.path, "/livez" | "/readyz" | "/healthz") && line.code == 200;
    macro_rules! write {
        ($level:ident) => {
            tracing::$level!(
                target: "access",
                method = %line.method,
                path = line.path,
                verb = line.verb,
                code = line.code,
                latency_ms = millis(line.latency),
                bytes = line.bytes,
                backend = line.backend,
                upstream_ms = line.upstream.map(millis),
                retries = (line.retries > 0).then_some(line.retries),
                user = line.user,
                audit_id = line.audit_id,
                trace_id = line.trace.map(|trace| tracing::field::display(trace.id())),
                user_agent = line.user_agent,
                cut = line.cut.map(Reason::as_str),
            )
        };
    }
    if probe { write!(debug) } else { write!(info) }
}

/// Milliseconds, to the microsecond: more digits are noise.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Why something failed, for metrics and the log's fields: a closed set, so that labels stay countable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The TLS handshake failed or took too long.
    Tls,
    /// No connection could be accepted.
    Accept,
    /// The client spoke HTTP wrongly, or went away.
    Connection,
    /// The caller could not be authenticated.
    Unauthorized,
    /// The caller may not.
    Forbidden,
    /// The request is at fault.
    Request,
    /// The deadline passed.
    Timeout,
    /// The backend failed or was not there.
    Backend,
    /// The server is stopping.
    Shutdown,
    /// A fault of this program.
    Internal,
}

impl Reason {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Accept => "accept",
            Self::Connection => "connection",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Request => "request",
            Self::Timeout => "timeout",
            Self::Backend => "backend",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }

    /// The reason of an answer with this HTTP status; `None` below 400.
    pub fn of_status(code: u16) -> Option<Self> {
        match code {
            0..400 => None,
            401 => Some(Self::Unauthorized),
            403 => Some(Self::Forbidden),
            400..500 => Some(Self::Request),
            504 => Some(Self::Timeout),
            502 | 503 => Some(Self::Backend),
            _ => Some(Self::Internal),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error and its causes in one line, each said once.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // Many errors already print their cause.
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Nested {
        text: &'static str,
        source: Option<Box<Nested>>,
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let error = Nested {
            text: "cannot start",
            source: Some(Box::new(Nested {
                text: "reading ca.pem: no such file",
                source: Some(Box::new(Nested { text: "no such file", source: None })),
            })),
        };
        assert_eq!(error_chain(&error), "cannot start: reading ca.pem: no such file");
    }

    #[test]
    fn every_error_status_has_a_reason() {
        assert_eq!(Reason::of_status(200), None);
        assert_eq!(Reason::of_status(304), None);
        assert_eq!(Reason::of_status(404), Some(Reason::Request));
        assert_eq!(Reason::of_status(500), Some(Reason::Internal));
        assert_eq!(Reason::of_status(504), Some(Reason::Timeout));
    }

    #[test]
    fn a_filter_is_checked_before_it_is_used() {
        assert!(check_filter("info,h2=warn").is_ok());
        assert!(check_filter("kubridge=loud").is_err());
    }
}
