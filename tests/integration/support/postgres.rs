//! A PostgreSQL of its own: a new cluster in a temporary directory, on a free port, without a password.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::chown,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The directory of initdb and postgres; none: they are in PATH.
const VARIABLE: &str = "KUBRIDGE_TEST_POSTGRES";

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(60);

/// A PostgreSQL under way, with an empty database. It ends with the test.
#[derive(Debug)]
pub struct Postgres {
    /// Where clients find the database.
    pub url: String,
    process: tokio::process::Child,
    _dir: TempDir,
}

impl Postgres {
    pub async fn start() -> Self {
        // Not below a directory that only we may enter.
        let dir = TempDir::with_prefix("kubridge-postgres-").unwrap();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = dir.path().join("data");
        let mut initdb = program("initdb", user);
        initdb.current_dir(dir.path()).arg("--pgdata").arg(&data).args([
            "--username=library",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        let output = initdb.output().unwrap_or_else(|e| panic!("initdb: {e}; {VARIABLE} says where it is"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut postgres = program("postgres", user);
        postgres.current_dir(dir.path()).arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            postgres.args(["-c", setting]);
        }
        postgres.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = tokio::process::Command::from(postgres).kill_on_drop(true).spawn().unwrap();
        let url = format!("postgres://library@127.0.0.1:{port}/postgres?sslmode=disable");
        let begin = Instant::now();
        let log = || fs::read_to_string(dir.path().join("log")).unwrap();
        while !log().contains("ready to accept connections") {
            assert!(process.try_wait().unwrap().is_none() && begin.elapsed() < LIMIT, "{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { url, process, _dir: dir }
    }
}

impl Postgres {
    /// What a statement answers, by psql: a row a line, columns apart by `|`.
    pub async fn query(&self, sql: &str) -> String {
        let mut psql = tokio::process::Command::from(program("psql", None));
        psql.args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--command",
            sql,
            &self.url,
        ]);
        let output = psql.output().await.unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Killed, it would leave its children to find that out by themselves.
        if let Some(pid) = self.process.id() {
            super::program::signal(pid, "QUIT");
        }
    }
}

fn program(name: &str, user: Option<(u32, u32)>) -> Command {
    use std::os::unix::process::CommandExt as _;

    let path =
        std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(name), |dir| PathBuf::from(dir).join(name));
    let mut command = Command::new(path);
    command.env("LC_ALL", "C");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Whom to run as: PostgreSQL refuses root. None: whoever we are.
fn unprivileged() -> Option<(u32, u32)> {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let fields: Vec<&str> =
            users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':').collect();
        Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user that is not root: postgres, or nobody"))
}
