//! From nothing to `kubectl get`, through outages, to nothing again.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    api::Api,
    engine::{Compose, Container, docker, setting},
    kubectl::Kubectl,
    outage::{Outage, Seen, TARGETS, Target, watch_outage},
};

/// For what waits for programs to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
// Times are printed, and held by bars for a product that is broken, not for a machine that is slow: an engine, seven
// containers and these clients may have two processors between them. The bars of docs/reliability.md, which are a fraction
// of these, are held by the integration tests, in one process.
/// A client of a silent backend is told that it is away; of itself the aggregator takes up to 3 s.
const KNOWN: Duration = Duration::from_secs(6);
/// Kubernetes' own bar for discovery. It comes from memory, so that it is answered in milliseconds or not at all.
pub const DISCOVERED: Duration = Duration::from_secs(5);
const RECOVERY: Duration = Duration::from_secs(10);
/// A container has a thin layer above Debian: the program, and for Kubridge the authorities.
const LAYER: u64 = 64 << 20;

/// What runs, and how to speak to it.
#[derive(Debug)]
pub struct Stack {
    pub compose: Compose,
    pub services: Vec<String>,
    pub api: Api,
    pub kubectl: Kubectl,
}

impl Stack {
    /// `compose up` of what can run here, and its kubeconfig. It goes down with [`Self::down`], or else in
    /// `tests/compose/run`.
    pub async fn up(command: &str) -> Self {
        let compose = Compose::new(command);
        let services: Vec<_> =
            setting("KUBRIDGE_TEST_COMPOSE_SERVICES").split(' ').map(str::to_owned).collect();
        let begin = Instant::now();
        let mut words = vec!["up", "-d"];
        words.extend(services.iter().map(String::as_str));
        compose.run(&words);
        let path = PathBuf::from(setting("KUBECONFIG_DIR")).join("kubeconfig");
        while fs::metadata(&path).is_ok_and(|file| file.len() == 0) || !path.exists() {
            assert!(begin.elapsed() < PATIENCE, "no kubeconfig:\n{}", compose.run(&["logs", "kubeconfig"]));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let stack = Self { compose, services, api: Api::new(&path), kubectl: Kubectl::new(&path) };
        stack.kubectl.until_ok(&["get", "machines"], PATIENCE);
        println!("{command}: `kubectl get machines` {:.1} s after `up`", begin.elapsed().as_secs_f64());
        let (file, dir) = (fs::metadata(&path).unwrap(), fs::metadata(path.parent().unwrap()).unwrap());
        assert_eq!(
            (file.uid(), file.gid(), file.mode() & 0o777),
            (dir.uid(), dir.gid(), 0o600),
            "the kubeconfig"
        );
        assert_eq!(stack.api.base(), format!("https://127.0.0.1:{}", setting("KUBRIDGE_PORT")));
        stack
    }

    pub fn has(&self, service: &str) -> bool {
        self.services.iter().any(|known| known == service)
    }

    pub fn container(&self, service: &str) -> Container {
        Container::of(&self.compose, service)
    }

    /// A machine and a book, for those who read.
    #[track_caller]
    pub fn furnish(&self) {
        self.kubectl.run(&["apply", "-f", "examples/quickstart/machine.yaml"]);
        if self.has("library") {
            // Its tables may come later than its schema. It keeps no annotations that kubectl could apply by.
            self.kubectl.until_ok(&["get", "publishers"], PATIENCE);
            self.kubectl.run(&["create", "-f", "tests/compose/books.yaml"]);
        }
    }

    /// Takes everything down; whatever the engine still has of it is a fault.
    #[track_caller]
    pub fn down(self) {
        // Compose v2 takes down what a profile brought up only where it is named.
        self.compose.run(&["--profile", "monitoring", "down", "--volumes", "--remove-orphans"]);
        let project = format!("label=com.docker.compose.project={}", setting("COMPOSE_PROJECT_NAME"));
        for list in [&["ps", "--all"][..], &["volume", "ls"], &["network", "ls"]] {
            let words = [list, &["--quiet", "--filter", &project]].concat();
            assert_eq!(docker(&words), "", "docker {words:?} after `down`");
        }
        fs::remove_file(PathBuf::from(setting("KUBECONFIG_DIR")).join("kubeconfig")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a container engine: tests/compose/run, which ./test calls"]
async fn a_stack_from_nothing_to_nothing() {
    let commands = setting("KUBRIDGE_TEST_COMPOSE");
    let mut commands = commands.split(',');
    let stack = Stack::up(commands.next().unwrap()).await;
    stack.furnish();
    images(&stack);
    kubectl(&stack);
    outages(&stack).await;
    the_aggregator_itself(&stack).await;
    if stack.has("prometheus") {
        prometheus().await;
    }
    stack.down();
    // The other way to say compose needs to show only that it takes the same file.
    for command in commands {
        let stack = Stack::up(command).await;
        stack.down();
    }
}

/// Healthy by their own word, nobody is root, and the images are small.
fn images(stack: &Stack) {
    let size =
        |image: &str| docker(&["image", "inspect", "--format", "{{.Size}}", image]).parse::<u64>().unwrap();
    let debian = size(&std::env::var("DEBIAN_IMAGE").unwrap_or_else(|_| "debian:trixie-slim".into()));
    for service in ["kubridge", "inventory", "library", "metrics", "postgres"] {
        if !stack.has(service) {
            continue;
        }
        let container = stack.container(service);
        let begin = Instant::now();
        loop {
            let health = container.inspect("{{.State.Health.Status}}");
            if health == "healthy" {
                break;
            }
            let said = || container.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
            assert!(begin.elapsed() < PATIENCE, "{service} is {health}: {}", said());
            std::thread::sleep(Duration::from_millis(200));
        }
        if service == "postgres" {
            continue;
        }
        assert_eq!(container.inspect("{{.Config.User}}"), "65532:65532", "{service}");
        if service != "metrics" {
            let layer = size(&container.inspect("{{.Image}}")) - debian;
            println!("{service}: {:.1} MiB above Debian", layer as f64 / f64::from(1 << 20));
            assert!(layer < LAYER, "{service}: {layer} bytes above Debian");
        }
    }
}

fn kubectl(stack: &Stack) {
    let kubectl = &stack.kubectl;
    let atlas =
        kubectl.run(&["get", "machine", "atlas", "-o", "jsonpath={.spec.serial} {.metadata.labels.tier}"]);
    assert_eq!(atlas, "A-1 db");
    kubectl.run(&["wait", "--for=jsonpath={.status.power}=On", "machine/atlas", "--timeout=10s"]);
    let services = kubectl.run(&["get", "apiservices"]);
    for (service, name) in [("inventory", "v1.inventory.example.com"), ("library", "v1.library.example.com")]
    {
        assert!(!stack.has(service) || services.contains(name), "{services}");
    }
    if stack.has("library") {
        let books = kubectl.run(&["get", "books", "-A", "--no-headers"]);
        assert_eq!(
            books.split_whitespace().take(3).collect::<Vec<_>>(),
            ["insel", "faust", "Faust"],
            "{books}"
        );
    }
    if stack.has("metrics") {
        let nodes = kubectl.until_ok(&["top", "nodes", "--no-headers"], PATIENCE);
        let words: Vec<_> = nodes.split_whitespace().collect();
        let megabytes: u64 =
            words[3].strip_suffix("Mi").unwrap_or_else(|| panic!("{nodes}")).parse().unwrap();
        assert!(words[0] == "docker-host" && words[1].ends_with('m') && megabytes > 16, "{nodes}");
        assert!(kubectl.run(&["top", "pods", "-A"]).lines().count() > 1);
    }
}

/// Each backend is killed and paused. Discovery stays, reads end, others notice nothing, and the return is noticed.
async fn outages(stack: &Stack) {
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| stack.has(target.service)).collect();
    for target in &targets {
        let container = stack.container(target.service);
        let others: Vec<&Target> =
            targets.iter().copied().filter(|other| other.service != target.service).collect();
        for outage in [Outage::Paused, Outage::Killed] {
            for target in &targets {
                stack.api.until_ok(target.read, PATIENCE).await;
            }
            let times = (Duration::from_secs(4), PATIENCE);
            let seen = watch_outage(&stack.api, (target, &others), &container, outage, times).await;
            let [read, discovery, other] =
                [&seen.reads, &seen.discovery, &seen.others].map(|answers| Seen::slowest(answers));
            let what = format!("{} {outage}", target.service);
            println!(
                "{what}: reads end within {:.2} s, discovery within {:.3} s, others' reads within {:.3} s, back after {:.2} s",
                read.as_secs_f64(),
                discovery.as_secs_f64(),
                other.as_secs_f64(),
                seen.recovery.as_secs_f64()
            );
            assert!(seen.reads.len() > 10 && seen.discovery.len() > 10, "{what}: too few requests");
            assert!(seen.reads.iter().any(|answer| !answer.is_ok()), "{what}: nobody noticed");
            assert!(read < KNOWN, "{what}: a read took {read:?}");
            let wrong = seen.discovery.iter().find(|answer| !answer.is_ok());
            assert!(wrong.is_none(), "{what}: discovery {wrong:?}");
            assert!(discovery < DISCOVERED, "{what}: discovery took {discovery:?}");
            let wrong = seen.others.iter().find(|answer| !answer.is_ok());
            assert!(wrong.is_none(), "{what}: a client of another backend saw {wrong:?}");
            assert!(others.is_empty() || seen.others.len() > 10, "{what}: too few requests of others");
            assert!(seen.recovery < RECOVERY || target.slow_start, "{what}: back after {:?}", seen.recovery);
        }
    }
}

/// Killed, it comes back with its keys, so that the kubeconfig stays good, and knows everything again at once.
async fn the_aggregator_itself(stack: &Stack) {
    let container = stack.container("kubridge");
    Outage::Killed.begin(&container);
    let gone = stack.api.get(TARGETS[0].discovery).await;
    assert!(gone.result.is_err(), "{gone:?}");
    let back = Outage::Killed.end(&container);
    stack.api.until_ok(TARGETS[0].discovery, PATIENCE).await;
    let discovery = back.elapsed();
    stack.api.until_ok(TARGETS[0].read, PATIENCE).await;
    let read = back.elapsed();
    println!(
        "kubridge killed: discovery back after {:.2} s, reads after {:.2} s",
        discovery.as_secs_f64(),
        read.as_secs_f64()
    );
    assert!(read < RECOVERY, "{read:?}");
    stack.kubectl.run(&["get", "machine", "atlas"]);
}

async fn prometheus() {
    let query =
        |query: &str| format!("http://127.0.0.1:{}/api/v1/query?query={query}", setting("PROMETHEUS_PORT"));
    let begin = Instant::now();
    loop {
        let answer = reqwest::get(query("sum(apiserver_request_total)")).await;
        let value: serde_json::Value = match answer {
            Ok(answer) => answer.json().await.unwrap(),
            Err(error) => error.to_string().into(),
        };
        let counted =
            value["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        if counted.is_some_and(|counted| counted > 0.0) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{value}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
