//! Which API server a command speaks to: a kubeconfig, as kubectl finds it.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};

use super::check::Check;
use crate::config::Kubeconfig;

/// A kubeconfig, as typed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct KubeconfigArgs {
    /// The kubeconfig of the server. Of several files in KUBECONFIG the first that is there [default: ~/.kube/config].
    #[arg(long, env = "KUBECONFIG", hide_env_values = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    kubeconfig: Option<OsString>,
    /// A context of the kubeconfig, in place of its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl KubeconfigArgs {
    /// What the file says; faults go to `check`.
    pub(super) fn check(&self, check: &mut Check) -> Option<Kubeconfig> {
        let Some(path) = self.file() else {
            let problem = "there is no kubeconfig here";
            check.fault(
                "--kubeconfig",
                problem,
                "name one, such as DATA_DIR/admin.kubeconfig, or set KUBECONFIG",
            );
            return None;
        };
        let read = Kubeconfig::read_context(&path, self.context.as_deref());
        read.map_err(|error| {
            let mend = "correct it, or name another; kubectl config view shows what kubectl reads";
            check.fault("--kubeconfig", format!("{} cannot be used: {error}", path.display()), mend);
        })
        .ok()
    }

    /// The file, and the context in place of its current one, for whoever reads it with Kubernetes' own client; `None`:
    /// there is no kubeconfig here.
    pub(super) fn place(&self) -> Option<(PathBuf, Option<String>)> {
        self.file().map(|file| (file, self.context.clone()))
    }

    /// What is typed, even if it is not there; else kubectl's default, if it is.
    fn file(&self) -> Option<PathBuf> {
        let typed: Vec<PathBuf> = self
            .kubeconfig
            .iter()
            .flat_map(|typed| env::split_paths(typed))
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        let present = typed.iter().find(|path| path.is_file()).or(typed.first()).cloned();
        present.or_else(|| {
            let home = env::var_os("HOME").filter(|home| !home.is_empty())?;
            Some(Path::new(&home).join(".kube/config")).filter(|path| path.is_file())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(kubeconfig: &str, context: Option<&str>) -> Result<String, String> {
        let args =
            KubeconfigArgs { kubeconfig: Some(kubeconfig.into()), context: context.map(str::to_owned) };
        let mut check = Check::default();
        let read = args.check(&mut check);
        read.map(|config| config.host).ok_or_else(|| {
            let fault = check.0.remove(0);
            format!("{}: {}; {}", fault.setting, fault.problem, fault.mend)
        })
    }

    #[test]
    fn the_first_file_that_is_there_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let text = "clusters: [{name: c, cluster: {server: \"https://a:1\"}}]\nusers: [{name: u, user: {}}]\n\
                    contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
        std::fs::write(&file, text).unwrap();
        let several = env::join_paths([Path::new("/nonexistent/a"), &file]).unwrap();
        assert_eq!(host(several.to_str().unwrap(), None).unwrap(), "a");
        assert_eq!(host(file.to_str().unwrap(), Some("x")).unwrap(), "a");
        let fault = host(file.to_str().unwrap(), Some("y")).unwrap_err();
        assert!(fault.starts_with("--kubeconfig: ") && fault.contains("no context \"y\""), "{fault}");
        let fault = host("/nonexistent/a", None).unwrap_err();
        assert!(fault.contains("/nonexistent/a") && fault.contains("name another"), "{fault}");
    }
}
