//! Where `lint`, `describe` and `register` read a schema from: the flags that they share.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueHint};

use super::{backend_tls::BackendTlsArgs, check::Check};
use crate::{
    app::{LintPlace, LintSource, LintTls},
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
    pub(super) mappings: MappingArgs,
    #[command(flatten)]
    pub(super) tls: BackendTlsArgs,
}

/// Mapping files, as typed.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct MappingArgs {
    /// How the service is a Kubernetes API, where it does not say so itself: a mapping file. Repeatable.
    #[arg(long = "mapping", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) files: Vec<PathBuf>,
}

impl SchemaArgs {
    /// Where it is; `None`: neither is typed. Faults go to `check`.
    pub(super) fn check(self, check: &mut Check) -> Option<LintSource> {
        let place = match (self.descriptor_set, self.backend) {
            (Some(file), _) => LintPlace::DescriptorSet(file),
            (None, Some(url)) => backend(&url, &self.tls, check)?.1,
            (None, None) => return None,
        };
        Some(LintSource { place, mappings: self.mappings.files })
    }
}

/// A backend, and it as the place of a schema; faults go to `check`.
pub(super) fn backend(url: &str, tls: &BackendTlsArgs, check: &mut Check) -> Option<(BackendUrl, LintPlace)> {
    let url = check.parsed("--backend", url.parse::<BackendUrl>());
    let client = tls.check(url.as_slice(), check);
    let url = url?;
    let place = LintPlace::Backend(url.clone(), LintTls { ca_file: tls.backend_ca_file.clone(), client });
    Some((url, place))
}
