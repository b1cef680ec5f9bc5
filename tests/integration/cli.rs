//! The commands for backend teams: the real binary, a real backend, a real server.

mod describe;
mod protos;
mod register;
mod schema;

use std::{path::PathBuf, process::Stdio};

use tokio::process::Command;

use crate::support::Stack;

const BINARY: &str = env!("CARGO_BIN_EXE_kubridge");

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Output {
    /// Fails unless it ended with 0; gives what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Fails unless it ended with `code`; gives its complaint.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// Runs `kubridge ARGS`, with nothing of the machine's environment.
pub async fn kubridge(args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.env_clear().args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// `--kubeconfig FILE` of a stack's administrator.
fn as_administrator(stack: &Stack) -> [String; 2] {
    ["--kubeconfig".into(), stack.kubeconfig().display().to_string()]
}

/// Compares with `tests/integration/golden/NAME`; `UPDATE_GOLDEN=1` writes it.
#[track_caller]
fn golden(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/integration/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{}: UPDATE_GOLDEN=1 writes it", path.display());
}
