//! Discovery under load, with backends that are well and with backends that are not. A dead backend's process has
//! ended: its port is closed. A stopped one's has SIGSTOP: the system accepts connections for it and nothing answers.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    backend,
    load::{self, Client, Figures},
};

const BACKENDS: usize = 10;
/// The first three are killed, the next three are stopped.
const DEAD: std::ops::Range<usize> = 0..3;
const STOPPED: std::ops::Range<usize> = 3..6;
const STREAMS: usize = 8;
const ROUNDS: usize = 15;
const TIME: Duration = Duration::from_secs(2);
/// How often somebody asks each backend for its objects, meanwhile.
const OBJECTS_EVERY: Duration = Duration::from_millis(100);

pub async fn run() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let client = stage.client().await?;
    for number in 0..BACKENDS {
        tokio::spawn(objects(stage.client().await?, number));
    }
    let load = |client: &Client, pid| {
        let client = client.clone();
        async move { load::run(&client, "/apis", crate::AGGREGATED, STREAMS, TIME, pid).await }
    };
    load(&client, stage.pid).await?;
    let whole = document(&client).await?;
    let (mut well, mut ill) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        well.push(load(&client, stage.pid).await?);
        stage.break_some().await?;
        ill.push(load(&client, stage.pid).await?);
        let shown = document(&client).await?;
        anyhow::ensure!(
            shown == whole,
            "discovery has changed while backends were away: {shown:?}\nbefore: {whole:?}"
        );
        stage.mend().await?;
        sleep(TIME / 2).await;
    }
    let (well, ill) = (median(well), median(ill));
    print("10 of 10 are well", well);
    print("3 dead, 3 stopped", ill);
    println!("faults: p99 ratio {:.2}   (bar: 1.10)", ill.p99.as_secs_f64() / well.p99.as_secs_f64());
    Ok(())
}

/// The aggregator, in a process of its own.
pub async fn aggregator(dir: &str, urls: &[&str]) -> anyhow::Result<()> {
    let mut args = vec![
        "kubridge".to_owned(),
        "serve".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--data-dir={dir}"),
    ];
    args.extend(urls.iter().map(|url| format!("--backend={url}")));
    let running = kubridge::cli::start(args).await?;
    println!("{}", running.address());
    std::future::pending().await
}

fn print(what: &str, figures: Figures) {
    println!(
        "faults: {what}: {:.0} requests/s, p50 {:.1?}, p99 {:.1?}, CPU {:.1?} a request",
        figures.per_second, figures.p50, figures.p99, figures.cpu
    );
}

/// The round whose p99 is in the middle.
fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by_key(|figures| figures.p99);
    rounds[rounds.len() / 2]
}

async fn document(client: &Client) -> anyhow::Result<bytes::Bytes> {
    let request = Request::get("https://localhost/apis").header("accept", crate::AGGREGATED);
    let response = client.clone().send_request(request.body(Full::default())?).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Asks one backend for its objects over and over; what it answers is not looked at.
async fn objects(client: Client, number: usize) {
    let uri = format!("https://localhost/apis/{}/v1/machines", backend::group(number));
    loop {
        let Ok(request) = Request::get(&uri).body(Full::default()) else { return };
        let mut client = client.clone();
        // Nobody waits for it, as nobody waits for another user's request.
        tokio::spawn(async move {
            let answer = async { client.send_request(request).await?.into_body().collect().await };
            let _ = timeout(Duration::from_secs(10), answer).await;
        });
        sleep(OBJECTS_EVERY).await;
    }
}

struct Stage {
    backends: Vec<Process>,
    port: u16,
    pid: u32,
    kubeconfig: PathBuf,
    _aggregator: Process,
    _dir: TempDir,
}

struct Process {
    child: Child,
    port: u16,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let dir = TempDir::new()?;
        let mut backends = Vec::with_capacity(BACKENDS);
        for number in 0..BACKENDS {
            backends.push(Process::backend(number, 0).await?);
        }
        let data = dir.path().join("data");
        let mut args = vec!["aggregator".to_owned(), data.display().to_string()];
        args.extend(backends.iter().map(|backend| format!("grpc://127.0.0.1:{}", backend.port)));
        let aggregator = Process::start(&args).await?;
        let stage = Self {
            backends,
            port: aggregator.port,
            pid: aggregator.child.id().context("the aggregator has ended")?,
            kubeconfig: data.join("admin.kubeconfig"),
            _aggregator: aggregator,
            _dir: dir,
        };
        stage.until_served(0..BACKENDS).await?;
        Ok(stage)
    }

    async fn client(&self) -> anyhow::Result<Client> {
        load::connect(Path::new(&self.kubeconfig), self.port).await
    }

    async fn break_some(&mut self) -> anyhow::Result<()> {
        for process in &mut self.backends[DEAD] {
            process.child.kill().await?;
        }
        for process in &self.backends[STOPPED] {
            process.signal("STOP").await?;
        }
        Ok(())
    }

    async fn mend(&mut self) -> anyhow::Result<()> {
        for process in &self.backends[STOPPED] {
            process.signal("CONT").await?;
        }
        for number in DEAD {
            let port = self.backends[number].port;
            self.backends[number] = Process::backend(number, port).await?;
        }
        self.until_served(0..BACKENDS).await
    }

    async fn until_served(&self, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
        let mut client = self.client().await?;
        for number in numbers {
            let uri = format!("https://localhost/apis/{}/v1/machines", backend::group(number));
            let begin = Instant::now();
            loop {
                let status = client.send_request(Request::get(&uri).body(Full::default())?).await?.status();
                if status == 200 {
                    break;
                }
                anyhow::ensure!(begin.elapsed() < Duration::from_secs(60), "{uri} stays {status}");
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

impl Process {
    async fn backend(number: usize, port: u16) -> anyhow::Result<Self> {
        Self::start(&["backend".to_owned(), number.to_string(), port.to_string()]).await
    }

    async fn start(args: &[String]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("role")
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("it ended at once")?;
        let port = line.rsplit(':').next().unwrap_or_default().parse()?;
        Ok(Self { child, port })
    }

    async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().context("it has ended")?.to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().await?;
        anyhow::ensure!(status.success(), "kill -{name} {pid}: {status}");
        Ok(())
    }
}
