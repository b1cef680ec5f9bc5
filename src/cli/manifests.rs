//! `kubridge manifests`: its flags as they are typed.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, ValueHint};

use super::{backend_tls::BackendTlsArgs, check::Check};
use crate::{
    app::{Installation, LintPlace, LintSource, LintTls, NAMESPACE, Registration, SERVICE, Service},
    config::{BackendUrl, Faults},
};

/// What is to be printed, as typed.
#[derive(Debug, Args)]
pub(super) struct ManifestsArgs {
    /// Where Kubridge is to run. Any namespace but kubridge-system must be there already.
    #[arg(long, value_name = "NAME", default_value = NAMESPACE)]
    namespace: String,
    /// The image of Kubridge [default: kubridge:VERSION].
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// A backend as Kubridge's pods reach it, to print its APIServices too: grpc://HOST:PORT, or grpcs:// for TLS. Repeatable.
    #[arg(long = "backend", value_name = "URL", value_hint = ValueHint::Url)]
    backends: Vec<String>,
    /// Read the schema of this backend from a FileDescriptorSet file: it may be out of reach from here. Repeatable.
    #[arg(long = "descriptor-set", value_name = "URL=FILE", value_hint = ValueHint::FilePath)]
    descriptor_sets: Vec<String>,
    #[command(flatten)]
    tls: BackendTlsArgs,
}

impl ManifestsArgs {
    /// What is meant, or every fault.
    pub(super) fn check(self) -> Result<Installation, Faults> {
        let mut check = Check::default();
        if !is_label(&self.namespace) {
            let mend = "write lower-case letters, digits and '-', 63 at most";
            check.fault("--namespace", format!("{:?} names no namespace", self.namespace), mend);
        }
        if let Some(image) = self.image.as_deref().filter(|image| !is_image(image)) {
            let mend = "write REPOSITORY:TAG or REPOSITORY@DIGEST";
            check.fault("--image", format!("{image:?} names no image"), mend);
        }
        let urls: BTreeSet<BackendUrl> =
            self.backends.iter().filter_map(|url| check.parsed("--backend", url.parse())).collect();
        let urls: Vec<BackendUrl> = urls.into_iter().collect();
        let mut sets = check.descriptor_sets(&self.descriptor_sets, &urls);
        if let Some(url) = sets.keys().find(|url| !urls.contains(url)) {
            check.fault("--descriptor-set", format!("{url} is no --backend"), "give both the same URL");
        }
        let client = self.tls.check(&urls, &mut check);
        let service = Service { namespace: self.namespace.clone(), name: SERVICE.to_owned(), port: None };
        let backends = urls.into_iter().map(|url| {
            let ca_file = self.tls.backend_ca_file.clone().filter(|_| url.tls());
            let place = match sets.remove(&url) {
                Some(file) => LintPlace::DescriptorSet(file),
                None => LintPlace::Backend(
                    url.clone(),
                    LintTls { ca_file: ca_file.clone(), client: client.clone() },
                ),
            };
            Registration {
                backend: url,
                source: LintSource { place, mappings: Vec::new() },
                backend_ca_file: ca_file,
                service: Some(service.clone()),
                service_ca_file: None::<PathBuf>,
            }
        });
        let backends = backends.collect();
        match check.0.is_empty() {
            true => Ok(Installation { namespace: self.namespace, image: self.image, backends }),
            false => Err(Faults(check.0)),
        }
    }
}

/// RFC 1123.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether it may be written into a manifest as it is: the registry alone knows whether there is such an image.
fn is_image(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::cli::{Cli, Command};

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        args: ManifestsArgs,
    }

    fn check(words: &[&str]) -> Result<Installation, Faults> {
        Typed::try_parse_from(["manifests"].iter().chain(words)).unwrap().args.check()
    }

    #[test]
    fn nothing_needs_to_be_typed() {
        let made = check(&[]).unwrap();
        assert_eq!((made.namespace.as_str(), made.image, made.backends.len()), (NAMESPACE, None, 0));
    }

    #[test]
    fn a_ca_is_for_the_backends_over_tls() {
        let urls = ["--backend=grpc://a:1", "--backend=grpcs://b:1", "--backend=grpc://a:1"];
        let ca = format!("--backend-ca-file={}", file!());
        let set = format!("--descriptor-set=grpc://a:1={}", file!());
        let made = check(&[&urls[..], &["--namespace=platform", &ca, &set]].concat()).unwrap();
        let [a, b] = made.backends.as_slice() else { panic!("{made:?}") };
        assert_eq!((a.backend_ca_file.is_some(), b.backend_ca_file.is_some()), (false, true));
        assert_eq!(a.source.place, LintPlace::DescriptorSet(file!().into()));
        assert!(matches!(&b.source.place, LintPlace::Backend(_, tls) if tls.ca_file.is_some()));
        assert_eq!(b.service.as_ref().unwrap().namespace, "platform");
    }

    #[test]
    fn what_the_deployment_starts_is_a_command_line_of_ours() {
        let text = include_str!("../../deploy/manifests/deployment.yaml");
        let deployment: Value = serde_saphyr::from_str(text).unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
        let args = args.map(|arg| arg.replace("$(POD_NAMESPACE)", NAMESPACE));
        let cli = Cli::try_parse_from(std::iter::once("kubridge".to_owned()).chain(args)).unwrap();
        let Command::Serve(args) = cli.command else { panic!("{cli:?}") };
        let (config, _) = args.check().unwrap();
        assert_eq!(config.cluster.unwrap().service.to_string(), format!("{NAMESPACE}/{SERVICE}"));
        assert_eq!(container["ports"][0]["containerPort"], config.listen.port());
        assert_eq!(container["ports"][1]["containerPort"], config.metrics_listen.unwrap().port());
        assert_eq!(container["volumeMounts"][0]["mountPath"], config.data_dir.to_str().unwrap());

        let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap());
        assert!(grace > config.shutdown_delay + config.shutdown_grace, "it is killed while it stops");
        assert!(config.shutdown_grace >= config.request_timeout, "what has begun is answered");
        assert!(!config.shutdown_delay.is_zero(), "it is still called until everybody knows that it goes");
    }

    #[test]
    fn every_fault_is_told() {
        let set = format!("--descriptor-set=grpc://b:1={}", file!());
        let faults =
            check(&["--namespace=Kube", "--image=a b", "--backend=http://a", &set]).unwrap_err().to_string();
        for part in [
            "--namespace: \"Kube\" names no namespace",
            "--image: \"a b\" names no image",
            "--backend: \"http://a\" is not a gRPC address",
            "--descriptor-set: grpc://b:1 is no --backend",
        ] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
    }

    #[test]
    fn nothing_is_written_into_a_manifest_that_would_be_more_than_a_name() {
        for good in ["kubridge:1", "registry.example.com:5000/a/b@sha256:00ff", "a"] {
            assert!(is_image(good), "{good}");
        }
        for bad in ["", "a: b", "a\nb", "a #", "{a}", "-a", "a:", "\"a\""] {
            assert!(!is_image(bad), "{bad}");
        }
        for bad in ["", "-a", "a-", "a.b", "a/b", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
