//! Where `lint` and `describe` read a schema from: the flags that they share.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueHint};

use super::{backend_tls::BackendTlsArgs, check::Check};
use crate::{
    app::{LintSource, LintTls},
    config::BackendUrl,
};

/// A schema, as typed.
#[derive(Debug, Clone, Default, Args)]
#[command(group = ArgGroup::new("source").required(true))]
pub(super) struct SchemaArgs {
    /// A file with a FileDescriptorSet, imports and comments included:
    /// `buf build -o FILE`, or `protoc --include_imports --include_source_info -o FILE`.
    #[arg(long, value_name = "FILE", group = "source", value_hint = ValueHint::FilePath)]
    pub(super) descriptor_set: Option<PathBuf>,
    /// A running backend, grpc://HOST:PORT or grpcs://: its Schema service, else its reflection.
    #[arg(long, value_name = "URL", group = "source", value_hint = ValueHint::Url)]
    pub(super) backend: Option<String>,
    #[command(flatten)]
    pub(super) tls: BackendTlsArgs,
}

impl SchemaArgs {
    /// Where it is; `None`: neither is typed. Faults go to `check`.
    pub(super) fn check(self, check: &mut Check) -> Option<LintSource> {
        match (self.descriptor_set, self.backend) {
            (Some(file), _) => Some(LintSource::DescriptorSet(file)),
            (None, Some(url)) => backend(&url, &self.tls, check).map(|(_, source)| source),
            (None, None) => None,
        }
    }
}

/// A backend, and it as a source; faults go to `check`.
pub(super) fn backend(
    url: &str,
    tls: &BackendTlsArgs,
    check: &mut Check,
) -> Option<(BackendUrl, LintSource)> {
    let url = check.parsed("--backend", url.parse::<BackendUrl>());
    let client = tls.check(url.as_slice(), check);
    let url = url?;
    let source = LintSource::Backend(url.clone(), LintTls { ca_file: tls.backend_ca_file.clone(), client });
    Some((url, source))
}
