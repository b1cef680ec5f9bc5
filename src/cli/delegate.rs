//! The kube-apiserver behind us: the flags of a delegate.

use std::path::PathBuf;

use clap::Args;

use super::check::Check;
use crate::config::{Delegate, DelegateIdentity};

/// A delegate, as typed.
#[derive(Debug, Clone, Default, Args)]
pub struct DelegateArgs {
    /// What nobody claims goes to the kube-apiserver of this kubeconfig, on behalf of the caller.
    #[arg(long, env = "KUBRIDGE_DELEGATE_KUBECONFIG", value_name = "FILE", help_heading = "Delegate")]
    pub delegate_kubeconfig: Option<PathBuf>,

    /// How the delegate learns who asks: by impersonation with the kubeconfig's own rights, or by X-Remote-* headers
    /// with the certificate of --proxy-client-cert-file, which it must know as a front proxy's.
    #[arg(
        long,
        env = "KUBRIDGE_DELEGATE_IDENTITY",
        value_name = "impersonate|front-proxy",
        default_value = "impersonate",
        help_heading = "Delegate"
    )]
    pub delegate_identity: String,
}

impl DelegateArgs {
    /// What is true; faults go to `check`.
    pub(super) fn check(&self, check: &mut Check) -> Option<Delegate> {
        check.file("--delegate-kubeconfig", self.delegate_kubeconfig.as_ref());
        let identity = match self.delegate_identity.as_str() {
            "impersonate" => DelegateIdentity::Impersonate,
            "front-proxy" => DelegateIdentity::FrontProxy,
            other => {
                let mend = "write impersonate or front-proxy";
                check.fault("--delegate-identity", format!("{other:?} is no way to say who asks"), mend);
                return None;
            }
        };
        let kubeconfig = self.delegate_kubeconfig.clone()?;
        Some(Delegate { kubeconfig, identity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegate_has_a_kubeconfig_and_a_way_to_say_who_asks() {
        let check = |kubeconfig: Option<&str>, identity: &str| {
            let args = DelegateArgs {
                delegate_kubeconfig: kubeconfig.map(PathBuf::from),
                delegate_identity: identity.to_owned(),
            };
            let mut check = Check::default();
            let delegate = args.check(&mut check);
            (delegate, check.0.into_iter().map(|fault| fault.mend).collect::<Vec<_>>())
        };
        assert_eq!(check(None, "impersonate"), (None, vec![]));
        let (delegate, faults) = check(Some(file!()), "front-proxy");
        assert_eq!(delegate.map(|delegate| delegate.identity), Some(DelegateIdentity::FrontProxy));
        assert!(faults.is_empty());
        assert_eq!(check(None, "basic").1, ["write impersonate or front-proxy"]);
        assert_eq!(check(Some("/nonexistent"), "impersonate").1, ["name one that is there"]);
    }
}
