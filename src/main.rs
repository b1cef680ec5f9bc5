//! The program.

use std::process::ExitCode;

use clap::Parser as _;
use kubridge::{
    cli::{Cli, run},
    telemetry::error_chain,
};

#[allow(clippy::print_stderr, reason = "this is the command line")]
fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("error: {}", error_chain(error.as_ref()));
        ExitCode::FAILURE
    })
}
