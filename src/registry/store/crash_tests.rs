//! What is on disk after the worst: kill -9 at any moment, a full disk, a read-only one.
//!
//! The victim is this test executable again, running only [`child`].
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap},
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    tests::{key, parts, put},
    *,
};

const ROLE: &str = "KUBRIDGE_TEST_STORE_ROLE";
const DIR: &str = "KUBRIDGE_TEST_STORE_DIR";
const KEYS: u64 = 7;
const SMALL: Window = Window { events: 200, bytes: 1 << 20 };

/// Not a test: what the child processes of the other tests run. Does nothing in an ordinary run.
#[test]
fn child() {
    let (Ok(role), Some(dir)) = (env::var(ROLE), env::var_os(DIR)) else { return };
    let dir = Path::new(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match role.as_str() {
        "write" => runtime.block_on(write_until_killed(dir)),
        "fill" => runtime.block_on(fill(dir)),
        "open" => match Store::open(dir, SMALL) {
            Ok(_) => say("opened"),
            Err(error) => say(&format!("refused {error}")),
        },
        other => panic!("no such role: {other}"),
    }
}

/// Four writers at once; a line for each acknowledged write.
async fn write_until_killed(dir: &Path) {
    let store = Store::open(dir, SMALL).unwrap();
    let start = *store.head().borrow();
    say(&format!("open {start}"));
    let writers = (0..4u64).map(|writer| {
        let store = store.clone();
        async move {
            for n in 0.. {
                let name = format!("w{writer}-{}", n % KEYS);
                let payload = payload(start * 1_000_000 + n, &name);
                if n % 5 == 4 {
                    let gone = store.write(key("", &name), false, |_| Ok::<_, StoreError>(Change::Delete));
                    let gone = gone.await.unwrap();
                    if let (true, Some(object)) = (gone.changed, gone.object) {
                        say(&format!("gone {name} {}", object.version));
                    }
                } else {
                    let made = put(&store, key("", &name), &payload).await.unwrap().object.unwrap();
                    say(&format!("made {name} {} {}", made.version, start * 1_000_000 + n));
                }
            }
        }
    });
    futures::future::join_all(writers).await;
}

/// Writes until the disk is full, says so, waits for a line, writes once more.
async fn fill(dir: &Path) {
    let store = Store::open(dir, SMALL).unwrap();
    let mut written = 0u64;
    let error = loop {
        match put(&store, key("", &format!("f{written}")), &payload(written, "fill").repeat(100)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100_000, "the disk never filled");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    let told: kubridge_bridge::caller::CallError = error.into();
    let again = put(&store, key("", "again"), &[1; 4096]).await;
    assert!(matches!(again, Err(StoreError::Full(_))), "still full: {again:?}");
    let listed = store.list("things.example.com".into(), String::new()).await.unwrap();
    assert_eq!(listed.objects.len() as u64, written, "reads go on, and show what was acknowledged");
    say(&format!("full {written} {told}"));
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    if let Ok(command) = env::var("KUBRIDGE_TEST_STORE_MEND") {
        assert!(Command::new("bash").args(["-c", &command]).status().unwrap().success());
    }
    put(&store, key("", "after"), b"after").await.unwrap();
    let listed = store.list("things.example.com".into(), String::new()).await.unwrap();
    say(&format!("mended {}", listed.objects.len()));
}

/// A payload that shows whether it is whole.
fn payload(number: u64, name: &str) -> Vec<u8> {
    let line = format!("{number} {name};");
    line.repeat(1 + usize::try_from(number % 40).unwrap()).into_bytes()
}

fn say(line: &str) {
    // Not println!: the test harness captures that.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n>{line}").unwrap();
    out.flush().unwrap();
}

struct Victim {
    process: Child,
    lines: std::sync::mpsc::Receiver<String>,
    input: ChildStdin,
}

/// Starts [`child`] in `role`, through `wrap` (a command that gets the executable and its arguments).
fn start(role: &str, dir: &Path, wrap: &[&str], mend: Option<&str>) -> Victim {
    let executable = env::current_exe().unwrap();
    let mut command = match wrap {
        [] => Command::new(&executable),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(&executable);
            command
        }
    };
    command.args(["--exact", "--nocapture", "--test-threads=1", "registry::store::crash_tests::child"]);
    command.env(ROLE, role).env(DIR, dir);
    if let Some(mend) = mend {
        command.env("KUBRIDGE_TEST_STORE_MEND", mend);
    }
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let input = process.stdin.take().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(line) = line.strip_prefix('>') {
                let _closed = send.send(line.to_owned());
            }
        }
    });
    Victim { process, lines, input }
}

impl Victim {
    /// The next line; what the process said where there is none.
    fn line(&mut self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
            let _gone = self.process.kill();
            let mut text = String::new();
            self.process.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("the child ended: {text}")
        })
    }

    fn end(mut self) -> Vec<String> {
        self.process.wait().unwrap();
        self.lines.iter().collect()
    }
}

/// A cheap random number: what matters is that the moments differ.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id());
    // What was last acknowledged of each name: the version, and the number (none: deleted).
    let mut known: HashMap<String, (u64, Option<u64>)> = HashMap::new();
    let (mut newest, mut acknowledged) = (0, 0);
    for round in 0..100 {
        let mut victim = start("write", dir.path(), &[], None);
        let mut lines = Vec::new();
        // Sometimes while it starts, mostly somewhere among its first writes.
        if round % 10 != 0 {
            for _ in 0..=random(&mut seed) % 40 {
                lines.push(victim.line());
            }
        }
        let moment = Instant::now() + Duration::from_micros(random(&mut seed) % 1500);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        victim.process.kill().unwrap();
        lines.extend(victim.end());

        let mut versions = Vec::new();
        for line in &lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["open", version] => {
                    assert!(version.parse::<u64>().unwrap() >= newest, "a version came back")
                }
                ["made", name, version, number] => {
                    versions.push(version.parse().unwrap());
                    known.insert(name.into(), (version.parse().unwrap(), Some(number.parse().unwrap())));
                }
                ["gone", name, version] => {
                    versions.push(version.parse().unwrap());
                    known.insert(name.into(), (version.parse().unwrap(), None));
                }
                // The last line may be cut.
                _ => assert!(std::ptr::eq(line, lines.last().unwrap()), "{line}"),
            }
        }
        acknowledged += versions.len();
        assert!(
            versions.iter().all(|version| *version > newest),
            "versions only rise: {versions:?} {newest}"
        );
        versions.sort_unstable();
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "no version is given out twice");
        newest = newest.max(versions.last().copied().unwrap_or(0));
        newest = newest.max(runtime.block_on(check(&dir, &mut known, newest)));
    }
    assert!(acknowledged > 500, "the children hardly wrote: {acknowledged}");
}

/// Opens the store as a restart would, and compares. Returns its newest version.
async fn check(dir: &TempDir, known: &mut HashMap<String, (u64, Option<u64>)>, newest: u64) -> u64 {
    let store = Store::open(dir.path(), SMALL).unwrap();
    let listing = store.list("things.example.com".into(), String::new()).await.unwrap();
    assert!(listing.version >= newest, "{} < {newest}", listing.version);
    let mut found = BTreeMap::new();
    for object in &listing.objects {
        let (version, bytes) = parts(object);
        let text = String::from_utf8(bytes).unwrap();
        let (number, rest) = text.split_once(' ').unwrap();
        let name = rest.split_once(';').unwrap().0.to_owned();
        let number: u64 = number.parse().unwrap();
        assert_eq!(text.as_bytes(), payload(number, &name), "torn: {text}");
        assert!(version <= listing.version);
        found.insert(name, (version, number));
    }
    let floor = match store.events("things.example.com".into(), String::new(), 0, 1).await {
        Err(StoreError::TooOld { floor }) => floor,
        _ => 1,
    };
    let (events, upto) = store.events("things.example.com".into(), String::new(), floor, 1000).await.unwrap();
    for (name, (version, number)) in known.iter() {
        match (found.get(name), number) {
            (Some((at, is)), Some(number)) if at == version => assert_eq!(is, number, "{name}"),
            // A later write was on disk, and the child died before it could say so.
            (Some((at, _)), _) => assert!(at > version, "{name}: {at} < {version}"),
            (None, None) => {}
            (None, Some(_)) => {
                // A delete that the child died before it could tell: it was its last, so the log still has it.
                let gone = events.iter().any(|event| {
                    event.version > *version
                        && event.kind == EventKind::Deleted
                        && stamped_name(&event.object) == *name
                });
                assert!(gone, "{name} at {version} is lost");
            }
        }
    }
    // What a child could not tell any more is known from here on: the log will not reach back to it for ever.
    for (name, (version, number)) in known.iter_mut() {
        match found.get(name) {
            Some((at, is)) => (*version, *number) = (*at, Some(*is)),
            None => *number = None,
        }
    }
    // The log has no gap, ends at the newest version, and says of every object what the object says.
    let versions: Vec<u64> = events.iter().map(|event| event.version).collect();
    assert_eq!(versions, (floor + 1..=listing.version).collect::<Vec<_>>());
    assert_eq!(upto, listing.version);
    assert!(events.len() as u64 <= SMALL.events);
    for event in &events {
        assert_eq!(parts(&event.object).0, event.version);
        let present = found.get(&stamped_name(&event.object)).map(|(version, _)| *version);
        assert!(present.is_none_or(|version| version >= event.version || event.kind == EventKind::Deleted));
    }
    listing.version
}

fn stamped_name(object: &[u8]) -> String {
    use prost::Message as _;
    let metadata = kubridge_bridge::wire::message_field(object, 1).unwrap();
    kubridge_bridge::proto::ObjectMeta::decode(&*metadata).unwrap().name
}

#[test]
fn a_limited_file_size_is_a_clear_error_and_ends_with_the_limit() {
    let dir = TempDir::new().unwrap();
    // The soft limit only, so that it can be lifted again; SIGXFSZ ignored, as the aggregator does.
    let wrap = ["bash", "-c", "trap '' XFSZ; ulimit -S -f 300; exec \"$0\" \"$@\""];
    let mut victim = start("fill", dir.path(), &wrap, None);
    let full = victim.line();
    let written = assert_full(&full);
    let limit = format!("--pid={}", victim.process.id());
    let lifted = Command::new("prlimit").args([&limit, "--fsize=unlimited:"]).status();
    assert!(lifted.expect("this test needs prlimit (util-linux)").success());
    finish(victim, written);
    reopened(&dir, written + 1);
}

#[test]
fn a_full_disk_is_a_clear_error_and_ends_with_it() {
    let dir = TempDir::new().unwrap();
    let Some(wrap) = small_disk(dir.path()) else { return };
    let mend = format!("mount -o remount,size=8m '{}'", dir.path().display());
    let mut victim = start("fill", dir.path(), &borrowed(&wrap), Some(&mend));
    let written = assert_full(&victim.line());
    finish(victim, written);
}

#[test]
fn a_read_only_disk_is_a_clear_error() {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path(), SMALL).unwrap());
    let Some(mut wrap) = small_disk(dir.path()) else { return };
    wrap[4] = format!(
        "mount --bind '{0}' '{0}' && mount -o remount,ro,bind '{0}' && exec \"$0\" \"$@\"",
        dir.path().display()
    );
    let mut victim = start("open", dir.path(), &borrowed(&wrap), None);
    let line = victim.line();
    assert!(line.starts_with("refused ") && line.contains("make --data-dir writable"), "{line}");
    victim.end();
}

fn assert_full(line: &str) -> u64 {
    let (written, told) = line.strip_prefix("full ").unwrap().split_once(' ').unwrap();
    assert!(told.contains("RESOURCE_EXHAUSTED") && told.contains("free space"), "{told}");
    let written = written.parse().unwrap();
    assert!(written > 5, "{written}");
    written
}

fn finish(mut victim: Victim, written: u64) {
    writeln!(victim.input, "go on").unwrap();
    assert_eq!(victim.line(), format!("mended {}", written + 1));
    victim.end();
}

fn reopened(dir: &TempDir, objects: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(dir.path(), SMALL).unwrap();
        let listing = store.list("things.example.com".into(), String::new()).await.unwrap();
        assert_eq!(listing.objects.len() as u64, objects);
    });
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A wrapper that gives the child a tmpfs of 512 KiB at `dir`, in a mount namespace of its own; none where
/// this machine does not let us, which is said aloud.
fn small_disk(dir: &Path) -> Option<Vec<String>> {
    let mount = format!("mount -t tmpfs -o size=512k tmpfs '{}' && exec \"$0\" \"$@\"", dir.display());
    let wrap: Vec<String> = ["unshare", "-Urm", "bash", "-c"].map(String::from).into();
    let trial = Command::new("unshare").args(["-Urm", "bash", "-c", &mount, "true"]).output();
    if !trial.is_ok_and(|output| output.status.success()) {
        let text =
            "DID NOT RUN: the tests on a small and on a read-only disk need `unshare -Urm` and mount\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return None;
    }
    Some([&wrap[..], &[mount]].concat())
}
