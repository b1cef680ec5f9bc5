//! `kubridge register`: its flags as they are typed.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{
    backend_tls::BackendTlsArgs,
    check::Check,
    kubeconfig::KubeconfigArgs,
    schema::{self, MappingArgs},
};
use crate::{
    app::{ApplyOptions, LintPlace, LintSource, Registration, Service},
    config::{Faults, ParseFault, refused},
};

/// What is to be registered, as typed.
#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    /// Where the aggregator finds the backend: grpc://HOST:PORT, or grpcs:// for TLS. Its schema is read from here, too.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    backend: String,
    /// Read the schema from this FileDescriptorSet file in place of the backend, which may be out of reach from here.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    descriptor_set: Option<PathBuf>,
    #[command(flatten)]
    mappings: MappingArgs,
    /// In a cluster: the Service of Kubridge, NAMESPACE/NAME or NAMESPACE/NAME:PORT, that the kube-apiserver asks.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// In a cluster: what the kube-apiserver verifies the certificate of that Service against, PEM.
    #[arg(long, value_name = "FILE", requires = "service", value_hint = ValueHint::FilePath)]
    service_ca_file: Option<PathBuf>,
    /// Create or change the APIServices on the server, in place of printing them.
    #[arg(long)]
    apply: bool,
    /// The server checks everything and writes nothing.
    #[arg(long, requires = "apply")]
    dry_run: bool,
    /// Change an APIService, too, that belongs to another backend.
    #[arg(long, requires = "apply")]
    force: bool,
    #[command(flatten)]
    server: KubeconfigArgs,
    #[command(flatten)]
    tls: BackendTlsArgs,
}

impl RegisterArgs {
    /// What is meant, or every fault.
    pub(super) fn check(self) -> Result<(Registration, Option<ApplyOptions>), Faults> {
        let mut check = Check::default();
        let backend = schema::backend(&self.backend, &self.tls, &mut check);
        check.file("--descriptor-set", self.descriptor_set.as_ref());
        let service = self.service.as_deref().and_then(|text| check.parsed("--service", parse_service(text)));
        check.file("--service-ca-file", self.service_ca_file.as_ref());
        let apply = self
            .apply
            .then(|| self.server.check(&mut check))
            .flatten()
            .map(|kubeconfig| ApplyOptions { kubeconfig, dry_run: self.dry_run, force: self.force });
        match backend {
            Some((backend, place)) if check.0.is_empty() => Ok((
                Registration {
                    backend,
                    source: LintSource {
                        place: self.descriptor_set.map_or(place, LintPlace::DescriptorSet),
                        mappings: self.mappings.files,
                    },
                    backend_ca_file: self.tls.backend_ca_file,
                    service,
                    service_ca_file: self.service_ca_file,
                },
                apply,
            )),
            _ => Err(Faults(check.0)),
        }
    }
}

fn parse_service(text: &str) -> Result<Service, ParseFault> {
    let fault = || {
        let mend = "write NAMESPACE/NAME, or NAMESPACE/NAME:PORT where the port is not 443";
        refused(text, "names no Service", mend)
    };
    let (namespace, rest) = text.split_once('/').ok_or_else(fault)?;
    let (name, port) = match rest.split_once(':') {
        None => (rest, None),
        Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(fault)?)),
    };
    let is_label = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if is_label(namespace) && is_label(name) {
        Ok(Service { namespace: namespace.to_owned(), name: name.to_owned(), port })
    } else {
        Err(fault())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn services_have_a_namespace_a_name_and_perhaps_a_port() {
        let service = |port| Service { namespace: "n".into(), name: "kubridge".into(), port };
        assert_eq!(parse_service("n/kubridge").unwrap(), service(None));
        assert_eq!(parse_service("n/kubridge:8443").unwrap(), service(Some(8443)));
        for bad in ["kubridge", "/kubridge", "n/", "n/k:0", "n/k:x", "n/a/b", "N/k", ""] {
            let (problem, mend) = parse_service(bad).unwrap_err();
            assert!(problem.contains("names no Service") && mend.contains("NAMESPACE/NAME"), "{bad}");
        }
    }
}
