//! The cluster that this process serves: the flags of it.

use std::path::PathBuf;

use clap::Args;

use super::check::Check;
use crate::config::{Cluster, ServiceName};

/// A cluster, as typed.
#[derive(Debug, Clone, Default, Args)]
pub struct ClusterArgs {
    /// Serve the cluster of this kubeconfig: its kube-apiserver forwards requests here, and is asked who may do what.
    #[arg(long, env = "KUBRIDGE_KUBECONFIG", value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,

    /// Serve the cluster that this pod is in, as its service account.
    #[arg(long, env = "KUBRIDGE_IN_CLUSTER", help_heading = "Cluster")]
    pub in_cluster: bool,

    /// The Service that APIServices name to have their requests sent here; its port is 443 where none is given.
    #[arg(
        long = "service",
        env = "KUBRIDGE_SERVICE",
        value_name = "NAMESPACE/NAME[:PORT]",
        default_value = "kubridge-system/kubridge",
        help_heading = "Cluster"
    )]
    pub service: String,

    /// The CA that signed --tls-cert-file (PEM): written into spec.caBundle of the APIServices that name the Service.
    /// Read again when it changes.
    #[arg(long, env = "KUBRIDGE_TLS_CA_FILE", value_name = "FILE", help_heading = "Cluster")]
    pub tls_ca_file: Option<PathBuf>,

    /// The zone that this process runs in, for Services that prefer endpoints nearby.
    #[arg(long, env = "KUBRIDGE_ZONE", value_name = "NAME", help_heading = "Cluster")]
    pub zone: Option<String>,

    /// What the DNS names of Services end with.
    #[arg(
        long,
        env = "KUBRIDGE_CLUSTER_DOMAIN",
        value_name = "DOMAIN",
        default_value = "cluster.local",
        help_heading = "Cluster"
    )]
    pub cluster_domain: String,

    /// Watch the cluster's Roles and bindings, and let in whom they allow without asking the kube-apiserver, which is asked
    /// about everybody else. For clusters whose kube-apiserver authorizes by RBAC with nothing before it that denies.
    /// Kubridge must be allowed to list and watch roles, rolebindings, clusterroles and clusterrolebindings.
    #[arg(long, env = "KUBRIDGE_LOCAL_RBAC", help_heading = "Cluster")]
    pub local_rbac: bool,
}

impl ClusterArgs {
    /// What is true; faults go to `check`. `standalone`: the settings that mean something only without a cluster, each
    /// with what there is in its place.
    pub(super) fn check(
        &self,
        check: &mut Check,
        standalone: &[(&'static str, bool, &str)],
    ) -> Option<Cluster> {
        if self.kubeconfig.is_none() && !self.in_cluster {
            return None;
        }
        if self.kubeconfig.is_some() && self.in_cluster {
            let mend = "give --kubeconfig outside of the cluster, --in-cluster in a pod";
            check.fault("--in-cluster", "--kubeconfig names a cluster already", mend);
        }
        check.file("--kubeconfig", self.kubeconfig.as_ref());
        check.file("--tls-ca-file", self.tls_ca_file.as_ref());
        for (setting, is_given, mend) in standalone {
            if *is_given {
                check.fault(setting, "it has no meaning where a cluster is served", *mend);
            }
        }
        let service = service_name(&self.service, check)?;
        Some(Cluster {
            kubeconfig: self.kubeconfig.clone(),
            service,
            tls_ca_file: self.tls_ca_file.clone(),
            zone: self.zone.clone().filter(|zone| !zone.is_empty()),
            domain: self.cluster_domain.trim_matches('.').to_owned(),
            local_rbac: self.local_rbac,
        })
    }
}

/// `--service NAMESPACE/NAME[:PORT]`; a fault goes to `check`.
pub(super) fn service_name(text: &str, check: &mut Check) -> Option<ServiceName> {
    let (service, port) = match text.split_once(':') {
        Some((service, port)) => (service, port.parse().ok().filter(|port| *port > 0)),
        None => (text, Some(443)),
    };
    let parts = service.split_once('/');
    let parts =
        parts.filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
    let (Some((namespace, name)), Some(port)) = (parts, port) else {
        let mend = "write NAMESPACE/NAME or NAMESPACE/NAME:PORT, such as kubridge-system/kubridge";
        check.fault("--service", format!("{text:?} is no Service"), mend);
        return None;
    };
    Some(ServiceName { namespace: namespace.to_owned(), name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        args: &ClusterArgs,
        standalone: &[(&'static str, bool, &str)],
    ) -> (Option<Cluster>, Vec<&'static str>) {
        let mut check = Check::default();
        let cluster = args.check(&mut check, standalone);
        (cluster, check.0.into_iter().map(|fault| fault.setting).collect())
    }

    #[test]
    fn a_cluster_is_reached_in_one_way_and_leaves_nothing_to_standalone_settings() {
        let service = "kubridge-system/kubridge".to_owned();
        let standalone = ClusterArgs { service: "nonsense".to_owned(), ..ClusterArgs::default() };
        assert_eq!(check(&standalone, &[("--backend", true, "")]), (None, vec![]));
        // The environment of a pod whose node has no zone.
        let zone = Some(String::new());
        let pod = ClusterArgs { in_cluster: true, service: service.clone(), zone, ..ClusterArgs::default() };
        let (cluster, faults) =
            check(&pod, &[("--backend", false, ""), ("--manifests", true, "kubectl apply")]);
        let cluster = cluster.map(|cluster| (cluster.service.name, cluster.zone));
        assert_eq!(cluster, Some(("kubridge".to_owned(), None)));
        assert_eq!(faults, ["--manifests"]);
        let both = ClusterArgs { kubeconfig: Some(file!().into()), ..pod.clone() };
        assert_eq!(check(&both, &[]).1, ["--in-cluster"]);
        for service in ["kubridge", "/kubridge", "a/b/c", "", "a/b:", "a/b:0", "a/b:c"] {
            let args = ClusterArgs { service: service.to_owned(), ..pod.clone() };
            assert_eq!(check(&args, &[]), (None, vec!["--service"]), "{service}");
        }
    }
}
