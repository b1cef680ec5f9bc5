//! The settings that say what can be seen of the process from outside.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use http::Uri;

use super::check::Check;
use crate::{
    config::{Traces, listen_address},
    telemetry::TraceSettings,
};

/// Metrics and traces, as typed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Observe")]
pub struct ObserveArgs {
    /// Serve /metrics, /livez and /readyz here too, without TLS and to anybody: IP:PORT, or :PORT for all addresses.
    #[arg(long, env = "KUBRIDGE_METRICS_LISTEN", value_name = "ADDR")]
    pub metrics_listen: Option<String>,

    /// Send OpenTelemetry traces to the collector at this URL over OTLP/HTTP: http://HOST:4318. /v1/traces is added.
    #[arg(long, env = "KUBRIDGE_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// What an https collector is verified against, PEM.
    #[arg(long, env = "KUBRIDGE_OTLP_CA_FILE", value_name = "FILE")]
    pub otlp_ca_file: Option<PathBuf>,

    /// How many requests are traced where the client has not decided it in its traceparent: 0 none, 1 all.
    #[arg(long, env = "KUBRIDGE_TRACE_RATIO", value_name = "RATIO", default_value = "0.1")]
    pub trace_ratio: String,
}

impl ObserveArgs {
    /// Where to serve what is counted.
    pub(super) fn metrics_listen(&self, check: &mut Check) -> Option<SocketAddr> {
        let text = self.metrics_listen.as_deref().filter(|text| !text.is_empty())?;
        check.parsed("--metrics-listen", listen_address(text))
    }

    /// Where traces go.
    pub(super) fn traces(&self, check: &mut Check) -> Option<Traces> {
        let ratio = self.trace_ratio.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            let problem = format!("{:?} is no number from 0 to 1", self.trace_ratio);
            check.fault("--trace-ratio", problem, "write 0.1 for one in ten");
        }
        let ca_file = self.otlp_ca_file.clone().filter(|file| !file.as_os_str().is_empty());
        check.file("--otlp-ca-file", ca_file.as_ref());
        let text = self.otlp_endpoint.as_deref().filter(|text| !text.is_empty())?;
        let endpoint = text.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.query().is_none()
        });
        let Some(endpoint) = endpoint else {
            let problem = format!("{text:?} is no http or https URL of a collector");
            check.fault("--otlp-endpoint", problem, "write http://HOST:4318");
            return None;
        };
        if endpoint.scheme_str() == Some("https") && ca_file.is_none() {
            let problem = "an https collector cannot be verified without a CA";
            check.fault("--otlp-endpoint", problem, "name the CA's certificate with --otlp-ca-file");
        }
        Some(Traces { settings: TraceSettings { endpoint, ratio: ratio? }, ca_file })
    }
}
