//! The compose command and the engine behind it, as `tests/compose/run` found them.

use std::{
    process::{Command, Output},
    time::{Duration, Instant, SystemTime},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A setting that `tests/compose/run` makes.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: tests/compose/run starts this test"))
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[track_caller]
fn ok(command: &mut Command) -> String {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs `docker ARGS`; what it printed.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    ok(Command::new("docker").args(args))
}

/// One way to say compose: `docker-compose`, or `docker compose`.
#[derive(Debug, Clone)]
pub struct Compose(Vec<String>);

impl Compose {
    pub fn new(command: &str) -> Self {
        Self(command.split_whitespace().map(str::to_owned).collect())
    }

    /// Runs `compose ARGS` on the file at the root; what it printed.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.0[0]);
        ok(command.args(&self.0[1..]).args(args).current_dir(env!("CARGO_MANIFEST_DIR")))
    }
}

/// A service's only container.
#[derive(Debug, Clone)]
pub struct Container {
    pub service: String,
    id: String,
}

impl Container {
    #[track_caller]
    pub fn of(compose: &Compose, service: &str) -> Self {
        let id = compose.run(&["ps", "-q", service]);
        assert!(!id.is_empty() && !id.contains('\n'), "{service} has one container, not {id:?}");
        Self { service: service.to_owned(), id }
    }

    /// A field of `docker inspect`, as a Go template.
    pub fn inspect(&self, template: &str) -> String {
        docker(&["inspect", "--format", template, &self.id])
    }

    pub fn kill(&self) {
        docker(&["kill", &self.id]);
    }

    /// Starts it again; when it said that it listens.
    pub fn start(&self) -> Instant {
        let before = SystemTime::now();
        docker(&["start", &self.id]);
        self.listened(before)
    }

    pub fn pause(&self) {
        docker(&["pause", &self.id]);
    }

    pub fn unpause(&self) {
        docker(&["unpause", &self.id]);
    }

    /// When the first line after `since` says so; the engine writes down the time of each.
    fn listened(&self, since: SystemTime) -> Instant {
        let from = OffsetDateTime::from(since).format(&Rfc3339).unwrap();
        let words = ["listening on ", "serving address=", "database system is ready to accept connections"];
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output =
                run(Command::new("docker").args(["logs", "--timestamps", "--since", &from, &self.id]));
            let (stdout, stderr) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let line =
                stdout.lines().chain(stderr.lines()).find(|line| words.iter().any(|w| line.contains(w)));
            if let Some(line) = line {
                let stamp = line.split_whitespace().next().unwrap();
                let stamp: SystemTime = OffsetDateTime::parse(stamp, &Rfc3339).unwrap().into();
                let ago = SystemTime::now().duration_since(stamp).unwrap_or_default();
                return Instant::now().checked_sub(ago).unwrap();
            }
            assert!(
                Instant::now() < deadline,
                "{} does not say that it listens:\n{stdout}{stderr}",
                self.service
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
