//! The informers: one of client-go, in a process of its own, and one of kube-rs. Both as they are by default.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{
        WatchStreamExt as _, reflector,
        watcher::{self, Event, watcher},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

/// Books by namespace/name, as [`shown`].
pub type Books = BTreeMap<String, Value>;

/// What an informer has seen since its start.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Seen {
    #[serde(flatten)]
    pub events: Events,
    /// How often it was told the whole collection.
    lists: usize,
    /// Why it had to begin again, and how often.
    pub errors: BTreeMap<String, usize>,
    pub wrong: Wrong,
}

/// Events that no server should send: informers get over them, so that they do not show in what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Wrong {
    /// What was known in that state already; of client-go also ADDED where it was known.
    twice: usize,
    /// What had been told to be gone.
    undead: usize,
    /// DELETED of what was not known; of client-go also MODIFIED.
    unknown: usize,
}

/// How often something was said of one object.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Events {
    adds: usize,
    updates: usize,
    deletes: usize,
}

impl Seen {
    /// How often it was told the whole collection again.
    pub fn relists(&self) -> usize {
        self.lists.saturating_sub(1)
    }

    /// Whether what it watched has ended with an error. client-go calls it none if it can list again at once.
    pub fn began_again(&self) -> bool {
        self.relists() > 0 || !self.errors.is_empty()
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.adds {
            // kube-rs says the same of what is new and what is changed.
            0 => write!(f, "{} together, {}", self.updates, self.deletes),
            adds => write!(f, "{adds}, {}, {}", self.updates, self.deletes),
        }
    }
}

/// What is compared of a book.
pub fn shown(book: &Value) -> Value {
    let (metadata, spec) = (&book["metadata"], &book["spec"]);
    json!({
        "uid": metadata["uid"], "title": spec["title"], "authors": spec["authors"], "pageCount": spec["pageCount"],
        "labels": metadata["labels"], "copyCount": book["status"]["copyCount"],
    })
}

/// `tests/clients/informer-go`, which ends with the test.
pub struct ClientGo {
    _process: Child,
    asks: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

/// What it says.
#[derive(Deserialize)]
struct Report {
    synced: bool,
    objects: BTreeMap<String, Value>,
    seen: Seen,
}

impl ClientGo {
    pub fn start(kubeconfig: &Path) -> Self {
        let program = std::env::var_os("KUBRIDGE_TEST_INFORMER_GO").unwrap_or_else(|| {
            panic!(
                "KUBRIDGE_TEST_INFORMER_GO is not set: run ./test, which builds the informer, or leave it out: \
                 cargo test -- --skip examples::library::informers"
            )
        });
        let mut process = Command::new(program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("books.v1.library.example.com")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let asks = process.stdin.take().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _process: process, asks, says }
    }

    /// What it holds; nothing before it has held everything for the first time.
    pub async fn books(&mut self) -> Books {
        let report = self.report().await;
        let held = if report.synced { report.objects } else { BTreeMap::new() };
        held.into_iter().map(|(name, book)| (name, shown(&book))).collect()
    }

    pub async fn seen(&mut self) -> Seen {
        self.report().await.seen
    }

    async fn report(&mut self) -> Report {
        let report = async {
            self.asks.write_all(b"\n").await.unwrap();
            self.says.next_line().await.unwrap().expect("it runs")
        };
        let line = tokio::time::timeout(Duration::from_secs(30), report).await.expect("it answers in time");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

/// A watcher of kube-rs with kube-rs's own store.
pub struct KubeRs {
    store: reflector::Store<DynamicObject>,
    seen: Arc<Mutex<Seen>>,
    watching: JoinHandle<()>,
}

impl KubeRs {
    pub async fn start(kubeconfig: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("library.example.com", "v1", "Book"));
        let api: Api<DynamicObject> = Api::all_with(Client::try_from(config).unwrap(), &resource);
        let writer = reflector::store::Writer::new(resource);
        let store = writer.as_reader();
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = Arc::clone(&seen);
        let events = reflector(writer, watcher(api, watcher::Config::default()).default_backoff());
        let watching = tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            let mut known = Known::default();
            while let Some(event) = events.next().await {
                let mut seen = noted.lock().unwrap();
                known.look(&event, &mut seen.wrong);
                note(&mut seen, &event);
            }
        });
        Self { store, seen, watching }
    }

    /// What it holds.
    pub fn books(&self) -> Books {
        assert!(!self.watching.is_finished(), "it watches");
        let named = |book: &Arc<DynamicObject>| {
            let book = serde_json::to_value(&**book).unwrap();
            let [namespace, name] =
                ["namespace", "name"].map(|field| book["metadata"][field].as_str().unwrap().to_owned());
            (format!("{namespace}/{name}"), shown(&book))
        };
        self.store.state().iter().map(named).collect()
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for KubeRs {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn note(seen: &mut Seen, event: &watcher::Result<Event<DynamicObject>>) {
    match event {
        Ok(Event::Apply(_)) => seen.events.updates += 1,
        Ok(Event::Delete(_)) => seen.events.deletes += 1,
        Ok(Event::InitDone) => seen.lists += 1,
        Ok(Event::Init | Event::InitApply(_)) => {}
        Err(error) => *seen.errors.entry(error.to_string()).or_default() += 1,
    }
}

/// What a watcher has been told.
#[derive(Default)]
struct Known {
    /// By namespace and name.
    books: HashMap<[String; 2], State>,
    /// The same, of a list under way.
    listed: HashMap<[String; 2], State>,
    /// UIDs.
    gone: HashSet<String>,
}

struct State {
    uid: String,
    version: String,
}

impl Known {
    fn look(&mut self, event: &watcher::Result<Event<DynamicObject>>, wrong: &mut Wrong) {
        match event {
            Ok(Event::Init) => self.listed.clear(),
            Ok(Event::InitApply(book)) => {
                let (key, state) = state(book);
                wrong.undead += usize::from(self.gone.contains(&state.uid));
                // A list in pages is of the version of its first one: a watch from there may tell the later ones again.
                self.listed.insert(key, State { version: String::new(), ..state });
            }
            Ok(Event::InitDone) => {
                let before = std::mem::replace(&mut self.books, std::mem::take(&mut self.listed));
                let now: HashSet<&String> = self.books.values().map(|state| &state.uid).collect();
                self.gone
                    .extend(before.into_values().map(|state| state.uid).filter(|uid| !now.contains(uid)));
            }
            Ok(Event::Apply(book)) => {
                let (key, state) = state(book);
                let same = |known: &State| known.uid == state.uid && known.version == state.version;
                wrong.twice += usize::from(self.books.get(&key).is_some_and(same));
                wrong.undead += usize::from(self.gone.contains(&state.uid));
                self.books.insert(key, state);
            }
            Ok(Event::Delete(book)) => {
                let (key, state) = state(book);
                let known = self.books.remove(&key).is_some_and(|known| known.uid == state.uid);
                wrong.unknown += usize::from(!known);
                self.gone.insert(state.uid);
            }
            Err(_) => {}
        }
    }
}

fn state(book: &DynamicObject) -> ([String; 2], State) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &book.metadata;
    let state = State { uid: text(&meta.uid), version: text(&meta.resource_version) };
    ([text(&meta.namespace), text(&meta.name)], state)
}
