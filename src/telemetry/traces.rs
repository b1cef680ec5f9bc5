//! OpenTelemetry traces: W3C Trace Context in and out, spans over OTLP (HTTP, protobuf).
//!
//! A request that is traced has its ids as soon as it is known who asks; spans are made of what was observed when its
//! last byte is out, and only if it is sampled. Until then it costs three numbers.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use kubridge_bridge::identity::{self, TRACEPARENT};
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    resource::EnvResourceDetector,
    trace::{BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, SpanData, SpanProcessor as _},
};

use super::{
    Journey,
    collector::{Collector, CollectorError},
};

/// What other tracing systems add to it. Passed on as it is.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How long a stop waits for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Where spans go and which.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// The collector: "http://collector:4318". "/v1/traces" is added.
    pub endpoint: Uri,
    /// How many of the requests that nobody decided about are sampled, 0 to 1. A caller's own decision stands.
    pub ratio: f64,
}

/// Why nothing can be traced.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The way to the collector.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// The exporter refuses the settings.
    #[error("the OTLP exporter cannot be set up")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Gathers spans and sends them in batches. What does not fit into its queue is lost, never waited for.
pub struct Traces {
    spans: BatchSpanProcessor,
    ids: RandomIdGenerator,
    /// Of 2^63.
    sampled_below: u64,
    scope: InstrumentationScope,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

/// The place of one request in a trace.
#[derive(Debug, Clone)]
pub struct Trace {
    id: TraceId,
    /// Of whoever called us.
    parent: SpanId,
    /// Of the request.
    server: SpanId,
    /// Of the call to a backend.
    client: SpanId,
    sampled: bool,
}

/// What a span says of a finished request.
#[derive(Debug)]
pub struct Finished<'a> {
    /// The HTTP method.
    pub method: &'a Method,
    /// The path, without the query.
    pub path: &'a str,
    /// What the path is an instance of: "/apis/inventory.example.com/v1/machines". `None`: nothing that is served.
    pub route: Option<String>,
    /// The Kubernetes verb.
    pub verb: &'a str,
    /// The HTTP status.
    pub code: u16,
    /// The request's audit id.
    pub audit_id: &'a str,
    /// Whether the answer ended early.
    pub cut: bool,
}

impl Traces {
    /// Spans go to the collector from now on. `ca`: what an `https` one is verified against, PEM. Within a runtime.
    ///
    /// # Errors
    /// The collector's URL or CA cannot be used.
    pub fn new(settings: &TraceSettings, ca: Option<&[u8]>) -> Result<Arc<Self>, TracesError> {
        let endpoint = format!("{}/v1/traces", settings.endpoint.to_string().trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(ca)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()?;
        let mut spans = BatchSpanProcessor::builder(exporter).build();
        // OTEL_RESOURCE_ATTRIBUTES is for whoever runs us; without it a collector must still know who speaks.
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("service.name", "kubridge"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_detector(Box::new(EnvResourceDetector::new()))
            .build();
        spans.set_resource(&resource);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^63")]
        let sampled_below = (settings.ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Ok(Arc::new(Self {
            spans,
            ids: RandomIdGenerator::default(),
            sampled_below,
            scope: InstrumentationScope::builder("kubridge").build(),
        }))
    }

    /// The place of a request with these headers, which say from then on that it is ours to continue.
    pub fn begin(&self, headers: &mut HeaderMap) -> Trace {
        let given = headers.get(TRACEPARENT).and_then(read);
        let (id, parent, sampled) = given.unwrap_or_else(|| {
            let id = self.ids.new_trace_id();
            (id, SpanId::INVALID, self.samples(id))
        });
        if given.is_none() {
            headers.remove(TRACESTATE);
        }
        let trace =
            Trace { id, parent, server: self.ids.new_span_id(), client: self.ids.new_span_id(), sampled };
        headers.insert(TRACEPARENT, trace.traceparent());
        trace
    }

    /// By the trace's id, as every other participant with the same ratio decides.
    fn samples(&self, id: TraceId) -> bool {
        let [.., a, b, c, d, e, f, g, h] = id.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.sampled_below
    }

    /// The request is answered: its spans are made, if it is sampled.
    pub fn finish(&self, journey: &Journey, finished: &Finished<'_>) {
        let Some(trace) = journey.trace().filter(|trace| trace.sampled) else { return };
        let end = SystemTime::now();
        let begin = end.checked_sub(journey.elapsed()).unwrap_or(end);
        let code = KeyValue::new("http.response.status_code", i64::from(finished.code));
        let method = KeyValue::new("http.request.method", finished.method.to_string());
        let name = match &finished.route {
            Some(route) => format!("{} {route}", finished.method).into(),
            None => Cow::Owned(finished.method.to_string()),
        };
        let mut attributes = vec![
            method,
            code,
            KeyValue::new("url.path", finished.path.to_owned()),
            KeyValue::new("url.scheme", "https"),
            KeyValue::new("kubridge.audit_id", finished.audit_id.to_owned()),
        ];
        if !finished.verb.is_empty() {
            attributes.push(KeyValue::new("kubernetes.verb", finished.verb.to_owned()));
        }
        if let Some(route) = &finished.route {
            attributes.push(KeyValue::new("http.route", route.clone()));
        }
        let failed = finished.code >= 500 || finished.cut;
        if let Some((sent, answered)) = journey.sent_on() {
            let attributes = vec![
                KeyValue::new("server.address", journey.backend().unwrap_or_default().to_owned()),
                KeyValue::new("kubridge.calls", i64::from(journey.calls())),
                KeyValue::new("kubridge.retries", i64::from(journey.retries())),
            ];
            let own =
                Own { id: trace.client, parent: trace.server, is_remote: false, kind: SpanKind::Client };
            self.emit(trace, own, "backend".into(), (begin + sent, begin + answered), attributes, failed);
        }
        let own = Own { id: trace.server, parent: trace.parent, is_remote: true, kind: SpanKind::Server };
        self.emit(trace, own, name, (begin, end), attributes, failed);
    }

    fn emit(
        &self,
        trace: &Trace,
        own: Own,
        name: Cow<'static, str>,
        (start_time, end_time): (SystemTime, SystemTime),
        attributes: Vec<KeyValue>,
        failed: bool,
    ) {
        let flags = TraceFlags::SAMPLED;
        self.spans.on_end(SpanData {
            span_context: SpanContext::new(trace.id, own.id, flags, false, TraceState::NONE),
            parent_span_id: own.parent,
            parent_span_is_remote: own.is_remote && own.parent != SpanId::INVALID,
            span_kind: own.kind,
            name,
            start_time,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: if failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Sends what is left, for a few seconds at most.
    pub async fn shutdown(self: Arc<Self>) {
        let stopped = tokio::task::spawn_blocking(move || self.spans.shutdown_with_timeout(LAST_SPANS)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(error = super::error_chain(&error), "the last traces are lost");
        }
    }
}

struct Own {
    id: SpanId,
    parent: SpanId,
    is_remote: bool,
    kind: SpanKind,
}

impl Trace {
    /// What a backend is told: the call to it is the parent of whatever it does.
    pub fn traceparent(&self) -> HeaderValue {
        let flags = u8::from(self.sampled);
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", self.id, self.client))
            .expect("hexadecimal digits are ASCII")
    }

    /// Whether spans are made of it.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace, in hexadecimal: what joins the log to it.
    pub fn id(&self) -> impl fmt::Display + use<> {
        self.id
    }
}

/// A `traceparent`: trace, parent, whether it is sampled.
fn read(value: &HeaderValue) -> Option<(TraceId, SpanId, bool)> {
    let text = identity::traceparent(value)?.to_str().ok()?;
    let flags = u8::from_str_radix(text.get(53..55)?, 16).ok()?;
    let trace = TraceId::from_hex(text.get(3..35)?).ok()?;
    let parent = SpanId::from_hex(text.get(36..52)?).ok()?;
    Some((trace, parent, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traces(ratio: f64) -> Arc<Traces> {
        let endpoint = Uri::from_static("http://127.0.0.1:9");
        Traces::new(&TraceSettings { endpoint, ratio }, None).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_callers_decision_stands_and_our_own_span_goes_on() {
        let traces = traces(0.0);
        for (given, sampled) in [(GIVEN.to_owned(), true), (GIVEN.replace("-01", "-00"), false)] {
            let mut headers = HeaderMap::from_iter([
                (TRACEPARENT, given.parse().unwrap()),
                (TRACESTATE, "a=b".parse().unwrap()),
            ]);
            let trace = traces.begin(&mut headers);
            assert_eq!(trace.sampled, sampled);
            assert_eq!(trace.parent.to_string(), &GIVEN[36..52]);
            let sent = headers[TRACEPARENT].to_str().unwrap();
            assert_eq!((&sent[..36], &sent[52..]), (&GIVEN[..36], &given[52..]));
            assert_eq!(sent[36..52], trace.client.to_string());
            assert_ne!(sent[36..52], GIVEN[36..52]);
            assert_eq!(headers[TRACESTATE], "a=b");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_trace_begins_here_where_there_is_none_to_continue() {
        for (ratio, sampled) in [(0.0, false), (1.0, true)] {
            let mut headers = HeaderMap::from_iter([
                (TRACEPARENT, "00-nonsense".parse().unwrap()),
                (TRACESTATE, "a=b".parse().unwrap()),
            ]);
            let trace = traces(ratio).begin(&mut headers);
            assert_eq!((trace.sampled, trace.parent), (sampled, SpanId::INVALID));
            assert!(read(&headers[TRACEPARENT]).is_some_and(|(id, ..)| id == trace.id));
            assert!(!headers.contains_key(TRACESTATE), "it belongs to the traceparent that was wrong");
        }
        let traces = traces(0.25);
        let sampled = (0..4000).filter(|_| traces.begin(&mut HeaderMap::new()).sampled).count();
        assert!((800..1200).contains(&sampled), "{sampled} of 4000");
    }

    #[test]
    fn a_ca_without_a_certificate_is_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _within = runtime.enter();
        let endpoint = Uri::from_static("https://127.0.0.1:9");
        let error = Traces::new(&TraceSettings { endpoint, ratio: 1.0 }, Some(b"nothing")).unwrap_err();
        assert!(matches!(error, TracesError::Collector(CollectorError::Ca)));
    }
}
