//! The real kubectl, with the kubeconfig that the stack left on the host and nothing else of this machine's.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

#[derive(Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Kubectl {
    pub fn new(kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), home: TempDir::new().unwrap() }
    }

    /// Runs `kubectl ARGS`: what it printed, or its complaint.
    pub fn attempt(&self, args: &[&str]) -> Result<String, String> {
        let program = std::env::var_os("KUBRIDGE_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let output = Command::new(&program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}: install kubectl 1.30 or newer", program.display()));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// The same, where it must succeed.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        self.attempt(args).unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    /// The same, tried until it succeeds: for what takes its time after a start.
    #[track_caller]
    pub fn until_ok(&self, args: &[&str], limit: Duration) -> String {
        let begin = Instant::now();
        loop {
            match self.attempt(args) {
                Ok(printed) => return printed,
                Err(error) => assert!(begin.elapsed() < limit, "kubectl {args:?} after {limit:?}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
