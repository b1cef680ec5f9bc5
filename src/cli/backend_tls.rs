//! How `grpcs://` backends are verified and what they are shown: the flags that `serve` and `lint` share.

use std::path::PathBuf;

use clap::Args;

use super::check::Check;
use crate::config::{BackendUrl, OwnCertificate};

/// TLS to backends, as typed.
#[derive(Debug, Clone, Default, Args)]
pub struct BackendTlsArgs {
    /// What the certificates of grpcs:// backends given by --backend are verified against: the CAs that may have
    /// signed them (PEM).
    #[arg(long, env = "KUBRIDGE_BACKEND_CA_FILE", value_name = "FILE", help_heading = "TLS to backends")]
    pub backend_ca_file: Option<PathBuf>,

    /// The certificate that grpcs:// backends are shown (PEM, intermediates after it); by default `serve` has one made
    /// in its data directory, signed by pki/ca.crt.
    #[arg(
        long,
        env = "KUBRIDGE_BACKEND_CLIENT_CERT_FILE",
        value_name = "FILE",
        help_heading = "TLS to backends"
    )]
    pub backend_client_cert_file: Option<PathBuf>,

    /// The private key of --backend-client-cert-file (PEM; it may be the same file).
    #[arg(
        long,
        env = "KUBRIDGE_BACKEND_CLIENT_KEY_FILE",
        value_name = "FILE",
        help_heading = "TLS to backends"
    )]
    pub backend_client_key_file: Option<PathBuf>,
}

impl BackendTlsArgs {
    /// The certificate that is given, if any; faults go to `check`.
    pub(super) fn check(&self, backends: &[BackendUrl], check: &mut Check) -> Option<OwnCertificate> {
        let setting = "--backend-ca-file";
        check.file(setting, self.backend_ca_file.as_ref());
        let over_tls = backends.iter().find(|url| url.tls());
        match (&self.backend_ca_file, over_tls) {
            (None, Some(url)) => {
                let mend = "name the PEM file of the CA that signed the backend's certificate";
                check.fault(setting, format!("it is missing, and {url} is to be verified"), mend);
            }
            // Who names a CA believes to be safe.
            (Some(_), None) if !backends.is_empty() => {
                let mend = "write grpcs:// for the backend that it is for, or drop it";
                check.fault(setting, "no --backend is grpcs://, so nothing is verified", mend);
            }
            _ => {}
        }
        check.pair(
            ("--backend-client-cert-file", self.backend_client_cert_file.as_ref()),
            ("--backend-client-key-file", self.backend_client_key_file.as_ref()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(backends: &[&str], args: &BackendTlsArgs) -> Vec<String> {
        let backends: Vec<BackendUrl> = backends.iter().filter_map(|url| url.parse().ok()).collect();
        let mut check = Check::default();
        let _own = args.check(&backends, &mut check);
        check.0.iter().map(|fault| format!("{}: {}; {}", fault.setting, fault.problem, fault.mend)).collect()
    }

    #[test]
    fn a_backend_over_tls_needs_a_ca_and_a_ca_needs_one() {
        let none = BackendTlsArgs::default();
        let file = || Some(PathBuf::from(file!()));
        let ca = BackendTlsArgs { backend_ca_file: file(), ..none.clone() };
        assert!(
            faults(&["grpcs://a:1"], &none)[0].contains("grpcs://a:1 is to be verified; name the PEM file")
        );
        assert!(faults(&["grpc://a:1"], &ca)[0].contains("nothing is verified; write grpcs://"));
        assert!(faults(&["grpc://a:1", "grpcs://b:1"], &ca).is_empty());
        assert!(faults(&[], &ca).is_empty(), "the environment of many instances");
        assert!(faults(&["grpc://a:1"], &none).is_empty());
    }

    #[test]
    fn the_client_certificate_has_its_key() {
        let file = || Some(PathBuf::from(file!()));
        let certificate = BackendTlsArgs { backend_client_cert_file: file(), ..BackendTlsArgs::default() };
        let key = BackendTlsArgs { backend_client_key_file: file(), ..BackendTlsArgs::default() };
        assert!(
            faults(&[], &certificate)[0].starts_with("--backend-client-key-file: it is missing; give both")
        );
        assert!(faults(&[], &key)[0].starts_with("--backend-client-cert-file: it is missing; give both"));
        let both = BackendTlsArgs { backend_client_key_file: file(), ..certificate };
        assert!(faults(&[], &both).is_empty());
        let gone = BackendTlsArgs { backend_client_key_file: Some("/nonexistent".into()), ..both };
        assert!(faults(&[], &gone)[0].starts_with("--backend-client-key-file: /nonexistent is no file"));
    }
}
