//! `kubridge describe`: its flags as they are typed.

use clap::{Args, ValueEnum};

use super::{check::Check, kubeconfig::KubeconfigArgs, schema::SchemaArgs};
use crate::{app::DescribeSource, config::Faults};

/// What is to be described, as typed.
#[derive(Debug, Args)]
pub(super) struct DescribeArgs {
    /// An API that the server of the kubeconfig serves: "inventory.example.com", "inventory.example.com/v1", or "v1" of
    /// the core group.
    #[arg(value_name = "GROUP[/VERSION]", group = "source")]
    api: Option<String>,
    #[command(flatten)]
    schema: SchemaArgs,
    /// A page for people, or the facts as JSON.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
    #[command(flatten)]
    server: KubeconfigArgs,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A page for people.
    Text,
    /// A list of facts, one for each group and version.
    Json,
}

impl DescribeArgs {
    /// What is meant, or every fault.
    pub(super) fn check(self) -> Result<DescribeSource, Faults> {
        let mut check = Check::default();
        let source = match &self.api {
            Some(api) => match group_version(api) {
                Some((group, version)) => self.server.check(&mut check).map(|kubeconfig| {
                    let kubeconfig = Box::new(kubeconfig);
                    DescribeSource::Server { kubeconfig, group, version }
                }),
                None => {
                    let mend =
                        "write inventory.example.com, inventory.example.com/v1, or v1 for the core group";
                    check.fault("GROUP[/VERSION]", format!("{api:?} is no API"), mend);
                    None
                }
            },
            None => self.schema.check(&mut check).map(DescribeSource::Schema),
        };
        source.filter(|_| check.0.is_empty()).ok_or(Faults(check.0))
    }
}

/// "a.example.com/v1" -> ("a.example.com", "v1"). A version alone is one of the core group.
fn group_version(text: &str) -> Option<(String, Option<String>)> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
    };
    let is_version = |text: &str| {
        text.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    match text.split_once('/') {
        Some((group, version)) => {
            (is_name(group) && is_name(version)).then(|| (group.to_owned(), Some(version.to_owned())))
        }
        None if is_version(text) && is_name(text) => Some((String::new(), Some(text.to_owned()))),
        None => is_name(text).then(|| (text.to_owned(), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_versions_are_written_as_kubectl_writes_them() {
        let read = |text| group_version(text).map(|(group, version)| (group, version.unwrap_or_default()));
        let some = |group: &str, version: &str| Some((group.to_owned(), version.to_owned()));
        assert_eq!(read("a.example.com"), some("a.example.com", ""));
        assert_eq!(read("a.example.com/v1beta1"), some("a.example.com", "v1beta1"));
        assert_eq!(read("apps/v1"), some("apps", "v1"));
        assert_eq!(read("v1"), some("", "v1"));
        for bad in ["", "/", "/v1", "a/", "A.example.com", "a.example.com/v1/machines", "grpc://a:1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
