//! Gathers the faults of what was typed, so that all are told at once.

use std::{path::PathBuf, time::Duration};

use crate::config::{Fault, OwnCertificate, ParseFault, parse_duration};

/// Gathers faults.
#[derive(Debug, Default)]
pub(super) struct Check(pub(super) Vec<Fault>);

impl Check {
    pub(super) fn fault(
        &mut self,
        setting: &'static str,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.0.push(Fault { setting, problem: problem.into(), mend: mend.into() });
    }

    pub(super) fn parsed<T>(&mut self, setting: &'static str, result: Result<T, ParseFault>) -> Option<T> {
        result.map_err(|(problem, mend)| self.fault(setting, problem, mend)).ok()
    }

    pub(super) fn duration(&mut self, setting: &'static str, text: &str) -> Duration {
        parse_duration(text).unwrap_or_else(|| {
            self.fault(setting, format!("{text:?} is no duration"), "write 30s, 1m30s or 500ms, for example");
            Duration::ZERO
        })
    }

    pub(super) fn file(&mut self, setting: &'static str, path: Option<&PathBuf>) {
        if let Some(path) = path.filter(|path| !path.is_file()) {
            self.fault(setting, format!("{} is no file", path.display()), "name one that is there");
        }
    }

    pub(super) fn directory(&mut self, setting: &'static str, path: Option<&PathBuf>) {
        if let Some(path) = path.filter(|path| !path.is_dir()) {
            self.fault(setting, format!("{} is no directory", path.display()), "name one that is there");
        }
    }

    /// A certificate and its key: both settings, or none.
    pub(super) fn pair(
        &mut self,
        (cert_setting, cert_file): (&'static str, Option<&PathBuf>),
        (key_setting, key_file): (&'static str, Option<&PathBuf>),
    ) -> Option<OwnCertificate> {
        let missing = match (cert_file, key_file) {
            (None, None) => return None,
            (Some(cert_file), Some(key_file)) => {
                self.file(cert_setting, Some(cert_file));
                self.file(key_setting, Some(key_file));
                return Some(OwnCertificate { cert_file: cert_file.clone(), key_file: key_file.clone() });
            }
            (Some(_), None) => key_setting,
            (None, Some(_)) => cert_setting,
        };
        self.fault(
            missing,
            "it is missing",
            format!("give both {cert_setting} and {key_setting}, or neither"),
        );
        None
    }
}
