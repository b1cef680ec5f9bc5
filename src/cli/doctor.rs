//! `kubridge doctor`: its flags as they are typed.

use std::{env, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{check::Check, cluster::service_name, kubeconfig::KubeconfigArgs, schema::MappingArgs};
use crate::{app::DoctorOptions, config::Faults};

/// What is to be examined, as typed.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The APIServices, such as v1.inventory.example.com [default: all that name Kubridge's Service].
    #[arg(value_name = "APISERVICE")]
    api_services: Vec<String>,
    /// Kubridge's Service.
    #[arg(
        long,
        env = "KUBRIDGE_SERVICE",
        value_name = "NAMESPACE/NAME",
        default_value = "kubridge-system/kubridge"
    )]
    service: String,
    /// Kubridge's service account, in the Service's namespace [default: the Service's name].
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// What the DNS names of Services end with.
    #[arg(long, env = "KUBRIDGE_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    #[command(flatten)]
    mappings: MappingArgs,
    /// A line for each hop, or JSON.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
    #[command(flatten)]
    server: KubeconfigArgs,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A line for each hop.
    Text,
    /// For programs.
    Json,
}

impl DoctorArgs {
    /// What is meant, or every fault.
    pub(super) fn check(&self) -> Result<DoctorOptions, Faults> {
        let mut check = Check::default();
        let service = service_name(&self.service, &mut check);
        for name in &self.api_services {
            // It becomes part of a path.
            let is_name = name.split_once('.').is_some_and(|(version, _)| !version.is_empty())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
            if !is_name {
                let mend = "write VERSION.GROUP, such as v1.inventory.example.com (kubectl get apiservices)";
                check.fault("APISERVICE", format!("{name:?} is no APIService"), mend);
            }
        }
        for file in &self.mappings.files {
            check.file("--mapping", Some(file));
        }
        let (kubeconfig, context) = self.kubeconfig(&mut check);
        let Some(service) = service.filter(|_| check.0.is_empty()) else { return Err(Faults(check.0)) };
        Ok(DoctorOptions {
            kubeconfig,
            context,
            service_account: self.service_account.clone().unwrap_or_else(|| service.name.clone()),
            service,
            api_services: self.api_services.clone(),
            mappings: self.mappings.files.clone(),
            domain: self.cluster_domain.trim_matches('.').to_owned(),
        })
    }

    /// As kubectl finds it; in a pod that has none, its service account.
    fn kubeconfig(&self, check: &mut Check) -> (Option<PathBuf>, Option<String>) {
        match self.server.place() {
            Some((file, context)) => {
                check.file("--kubeconfig", Some(&file));
                (Some(file), context)
            }
            None => {
                if env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
                    let mend = "name one, set KUBECONFIG, or run it in a pod of the cluster";
                    check.fault("--kubeconfig", "there is no kubeconfig here, and this is no pod", mend);
                }
                (None, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        args: DoctorArgs,
    }

    fn check(words: &[&str]) -> Result<DoctorOptions, String> {
        let kubeconfig = concat!("--kubeconfig=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let words = ["doctor", kubeconfig].into_iter().chain(words.iter().copied());
        Words::try_parse_from(words).unwrap().args.check().map_err(|faults| faults.to_string())
    }

    #[test]
    fn what_is_meant() {
        let options = check(&["v1.inventory.example.com", "--service=fleet/bridge"]).unwrap();
        assert_eq!(options.service.to_string(), "fleet/bridge");
        assert_eq!((options.service_account.as_str(), options.domain.as_str()), ("bridge", "cluster.local"));
        assert_eq!(options.api_services, ["v1.inventory.example.com"]);
        for (word, says) in [
            ("v1", "\"v1\" is no APIService"),
            ("v1.a/b", "is no APIService"),
            ("--service=bridge", "is no Service"),
            ("--mapping=/nonexistent", "/nonexistent is no file"),
            ("--kubeconfig=/nonexistent", "/nonexistent is no file"),
        ] {
            let given = if word.starts_with("--kubeconfig") {
                Words::try_parse_from(["doctor", word]).unwrap().args.check().map_err(|f| f.to_string())
            } else {
                check(&[word])
            };
            let fault = given.unwrap_err();
            assert!(fault.contains(says), "{word}: {fault}");
        }
    }
}
