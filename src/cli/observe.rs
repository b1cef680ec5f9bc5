//! The settings that say what can be seen of the process from outside.

use std::net::SocketAddr;

use clap::Args;

use super::check::Check;
use crate::config::listen_address;

/// Metrics and traces, as typed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Observe")]
pub struct ObserveArgs {
    /// Serve /metrics, /livez and /readyz here too, without TLS and to anybody: IP:PORT, or :PORT for all addresses.
    #[arg(long, env = "KUBRIDGE_METRICS_LISTEN", value_name = "ADDR")]
    pub metrics_listen: Option<String>,
}

impl ObserveArgs {
    /// Where to serve what is counted.
    pub(super) fn metrics_listen(&self, check: &mut Check) -> Option<SocketAddr> {
        let text = self.metrics_listen.as_deref().filter(|text| !text.is_empty())?;
        check.parsed("--metrics-listen", listen_address(text))
    }
}
