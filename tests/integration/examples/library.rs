//! `examples/library`, which knows nothing of Kubernetes, as a Kubernetes API.

mod informers;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    registered, rows,
    scenario::{self, BOOKS},
};
use crate::support::{Kubectl, Postgres, Program, Stack};

const API: &str = "/apis/library.example.com/v1";
const FAUST: &str = "/apis/library.example.com/v1/namespaces/insel/books/faust";

const LIBRARY: &str = r#"
apiVersion: library.example.com/v1
kind: Publisher
metadata: {name: insel, labels: {tier: gold}}
spec: {displayName: Insel Verlag, regionCode: DE}
---
apiVersion: library.example.com/v1
kind: Publisher
metadata: {name: rowohlt}
spec: {displayName: Rowohlt}
---
apiVersion: library.example.com/v1
kind: Book
metadata: {name: faust, namespace: insel, labels: {era: classic}, annotations: {example.com/note: read it}}
spec:
  title: Faust
  authors: [Johann Wolfgang Goethe]
  isbn: "9783458317012"
  format: Paperback
  pageCount: 245
  shelf: {room: A, row: 3}
  loanPeriod: 172800s
---
apiVersion: library.example.com/v1
kind: Book
metadata: {name: werther, namespace: insel, labels: {era: storm}}
spec: {title: Werther}
---
apiVersion: library.example.com/v1
kind: Book
metadata: {name: schloss, namespace: rowohlt, labels: {era: modern}}
spec: {title: Das Schloss}
"#;

/// Everything that a test looks at. The first field is dropped first.
struct Library {
    kubectl: Kubectl,
    stack: Stack,
    program: Program,
    postgres: Postgres,
}

impl Library {
    /// With nothing in it.
    async fn open() -> Self {
        let postgres = Postgres::start().await;
        let program = Program::start(command(&postgres, "127.0.0.1:0")).await;
        let (stack, kubectl) = registered("library", &program, &[API]).await;
        // The database is asked for when the library is: its tables may come later than its schema.
        stack.until(async |stack: &Stack| stack.serves(&format!("{API}/publishers")).await).await;
        Self { kubectl, stack, program, postgres }
    }

    /// With two publishers and three books.
    async fn furnished() -> Self {
        let library = Self::open().await;
        library.kubectl.run_with(&["create", "-f", "-"], LIBRARY, &[]).await.ok();
        library
    }

    async fn kubectl(&self, line: &str) -> String {
        self.kubectl.run(&line.split(' ').collect::<Vec<_>>()).await.ok()
    }

    async fn refused(&self, line: &str) -> String {
        self.kubectl.run(&line.split(' ').collect::<Vec<_>>()).await.fails()
    }

    /// A custom method, as kubectl calls it.
    async fn act(&self, action: &str, body: &Value) -> crate::support::Exchange {
        self.stack.client.post(&format!("{FAUST}/{action}"), body).await
    }
}

fn command(postgres: &Postgres, listen: &str) -> Command {
    let mut command = Program::named_by("KUBRIDGE_TEST_LIBRARY");
    command.env("LISTEN", listen).env("DATABASE_URL", &postgres.url).args(["--press-speed", "2000"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_scenario_of_all_backends() {
    let library = Library::open().await;
    scenario::play(&library.stack, &BOOKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_what_an_aip_service_has() {
    let library = Library::furnished().await;
    let table = library.kubectl("get books -A").await;
    let lines = rows(&table);
    assert_eq!(lines[0], ["NAMESPACE", "NAME", "TITLE", "STATE", "AGE"]);
    let found: Vec<_> = lines[1..].iter().map(|row| (row[0], row[1], row[2])).collect();
    assert_eq!(
        found,
        [("insel", "faust", "Faust"), ("insel", "werther", "Werther"), ("rowohlt", "schloss", "Das")]
    );
    let table = library.kubectl("get publishers").await;
    assert_eq!(rows(&table)[1][..3], ["insel", "Insel", "Verlag"], "{table}");
    assert_eq!(
        library.kubectl("get books -n insel -l era=storm -o name").await,
        "book.library.example.com/werther\n"
    );
    assert_eq!(rows(&library.kubectl("get books -A --chunk-size=1 --no-headers").await).len(), 3);
    let nowhere = library.kubectl.run(&["get", "books", "-n", "nobody"]).await;
    assert_eq!((nowhere.code, nowhere.stderr.as_str()), (0, "No resources found in nobody namespace.\n"));

    let faust: Value =
        serde_json::from_str(&library.kubectl("get book faust -n insel -o json").await).unwrap();
    assert_eq!(
        faust["spec"],
        json!({
            "title": "Faust", "authors": ["Johann Wolfgang Goethe"], "isbn": "9783458317012", "format": "Paperback",
            "pageCount": 245, "shelf": {"room": "A", "row": 3}, "loanPeriod": "172800s",
        })
    );
    assert_eq!((&faust["status"]["state"], &faust["status"]["copyCount"]), (&json!("Available"), &json!(1)));
    assert_eq!(faust["metadata"]["annotations"]["example.com/note"], "read it");
    let uid = library.postgres.query("SELECT uid FROM books WHERE id = 'faust'").await;
    assert_eq!(faust["metadata"]["uid"], uid.trim());
    assert_eq!(library.kubectl("get publisher insel -o jsonpath={.status.bookCount}").await, "2");

    let resources = library.kubectl("api-resources --api-group=library.example.com --no-headers").await;
    assert_eq!(
        rows(&resources),
        [
            vec!["books", "library.example.com/v1", "true", "Book"],
            vec!["publishers", "library.example.com/v1", "false", "Publisher"],
        ]
    );
    let text = library.kubectl("explain book.spec").await;
    assert!(text.contains("pageCount") && text.contains("title\t<string> -required-"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_writes_to_an_aip_service() {
    let library = Library::furnished().await;
    library
        .kubectl(r#"patch book faust -n insel --type=merge -p {"spec":{"shelf":{"row":4},"pageCount":246}}"#)
        .await;
    library.kubectl("label --overwrite book faust -n insel era=romantic rare=").await;
    library.kubectl("annotate book faust -n insel example.com/note-").await;
    let row = library.postgres.query("SELECT title, page_count, shelf_room, shelf_row, labels, annotations FROM books WHERE id = 'faust'").await;
    assert_eq!(row, "Faust|246|A|4|{\"era\": \"romantic\", \"rare\": \"\"}|{}\n");

    let mut stale = library.stack.client.get(FAUST).await.expect(200).json();
    library.kubectl(r#"patch book faust -n insel --type=json -p [{"op":"replace","path":"/spec/title","value":"Urfaust"}]"#).await;
    stale["spec"]["title"] = json!("Faust II");
    let complaint = library.kubectl.run_with(&["replace", "-f", "-"], &stale.to_string(), &[]).await.fails();
    assert!(complaint.contains("Conflict"), "{complaint}");
    assert_eq!(library.postgres.query("SELECT title FROM books WHERE id = 'faust'").await, "Urfaust\n");

    for patch in
        [r#"{"spec":{"isbn":"9783458317029"}}"#, r#"{"spec":{"title":null}}"#, r#"{"spec":{"pageCount":-1}}"#]
    {
        let complaint = library.refused(&format!("patch book faust -n insel --type=merge -p {patch}")).await;
        let field = patch.split('"').nth(3).unwrap();
        assert!(
            complaint.contains("is invalid") && complaint.contains(&format!("spec.{field}")),
            "{complaint}"
        );
    }
    let extra = json!({
        "apiVersion": "library.example.com/v1", "kind": "Book",
        "metadata": {"name": "extra", "namespace": "insel"}, "spec": {"title": "Extra"},
    });
    library.kubectl.run_with(&["create", "--dry-run=server", "-f", "-"], &extra.to_string(), &[]).await.ok();
    library.kubectl("delete book werther -n insel --dry-run=server").await;
    assert_eq!(
        library.postgres.query("SELECT id FROM books WHERE publisher_id = 'insel' ORDER BY id").await,
        "faust\nwerther\n"
    );

    let complaint = library.refused("delete publisher insel").await;
    assert!(complaint.contains("still has books"), "{complaint}");
    library.kubectl("delete book faust werther -n insel --wait=false").await;
    library.kubectl("delete publisher insel --wait=false").await;
    assert_eq!(library.postgres.query("SELECT id FROM publishers").await, "rowohlt\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_apply_needs_a_place_for_what_it_applied() {
    let library = Library::open().await;
    let output = library.kubectl.run_with(&["apply", "-f", "-"], LIBRARY, &[]).await;
    assert!(output.stderr.contains("Warning"), "publishers have no annotations: {}", output.stderr);
    output.ok();
    let applied = library.kubectl("get book faust -n insel -o jsonpath={.metadata.annotations}").await;
    assert!(applied.contains("last-applied-configuration"), "{applied}");
    let changed =
        LIBRARY.replace("title: Faust", "title: Faust I").replace("  isbn", "  # as it was\n  isbn");
    let again = library.kubectl.run_with(&["apply", "-f", "-"], &changed, &[]).await.ok();
    assert!(again.contains("faust configured") && again.contains("werther unchanged"), "{again}");
    assert_eq!(library.postgres.query("SELECT title FROM books WHERE id = 'faust'").await, "Faust I\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_calls_custom_methods_and_waits_for_operations() {
    let library = Library::furnished().await;
    let reserve = ["create", "--raw", &format!("{FAUST}/reserve"), "-f", "-"];
    let reserved = library.kubectl.run_with(&reserve, r#"{"reader": "gretchen"}"#, &[]).await.ok();
    assert!(reserved.contains("\"Reserved\""), "{reserved}");
    assert_eq!(
        library.kubectl("get book faust -n insel -o jsonpath={.status.state}/{.status.reader}").await,
        "Reserved/gretchen"
    );
    let refused = library.act("reserve", &json!({"reader": "mephisto"})).await.expect(422).json();
    assert!(refused["message"].as_str().unwrap().contains("reserved for somebody else"), "{refused}");
    library.act("return", &json!({})).await.expect(201);

    let printed = library.act("reprint", &json!({"copyCount": 500})).await.expect(201).json();
    assert_eq!(printed["status"]["copyCount"], 501, "{printed}");
    assert_eq!(library.kubectl("get book faust -n insel -o jsonpath={.status.copyCount}").await, "501");
    let refused = library.act("reprint", &json!({"copyCount": 0})).await.expect(422).json();
    assert!(refused["message"].as_str().unwrap().contains("from 1 to 1000000"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_the_operations_that_others_began() {
    let library = Library::furnished().await;
    let condition = "get book faust -n insel -o jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}";
    assert_eq!(library.kubectl(condition).await, "Settled");
    // Three seconds of work for the press.
    let order = "INSERT INTO operations (id, book, book_uid, copy_count) \
                 SELECT gen_random_uuid(), 'publishers/insel/books/faust', uid, 6000 FROM books WHERE id = 'faust'";
    library.postgres.query(order).await;
    assert_eq!(library.kubectl(condition).await, "OperationRunning");
    let begin = Instant::now();
    while library.kubectl(condition).await != "Settled" {
        assert!(begin.elapsed() < Duration::from_secs(60), "it is never printed");
    }
    assert_eq!(library.kubectl("get book faust -n insel -o jsonpath={.status.copyCount}").await, "6001");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reaches_names_that_kubernetes_forbids() {
    let library = Library::furnished().await;
    // Somebody else writes.
    library
        .postgres
        .query(
            "INSERT INTO books (publisher_id, id, uid, title, authors, isbn, format, page_count, labels, annotations) \
             VALUES ('insel', 'Faust_II', gen_random_uuid(), 'Faust II', '{}', '', 0, 0, '{}', '{}')",
        )
        .await;
    let names = library.kubectl("get books -n insel -o jsonpath={.items[*].metadata.name}").await;
    let name = names.split(' ').find(|name| name.starts_with("x0")).unwrap_or_else(|| panic!("{names}"));
    assert_eq!(
        library.kubectl(&format!("get book {name} -n insel -o jsonpath={{.spec.title}}")).await,
        "Faust II"
    );
    library.kubectl(&format!("label book {name} -n insel part=two")).await;
    assert_eq!(
        library.postgres.query("SELECT labels FROM books WHERE id = 'Faust_II'").await,
        "{\"part\": \"two\"}\n"
    );
    library.kubectl(&format!("delete book {name} -n insel --wait=false")).await;
    assert_eq!(library.postgres.query("SELECT count(*) FROM books WHERE id = 'Faust_II'").await, "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_the_library_again_after_it_was_restarted() {
    let library = Library::furnished().await;
    let before = library.kubectl("get books -A -o jsonpath={.items[*].metadata.uid}").await;
    let Library { kubectl, stack, program, postgres } = library;
    let listen = program.addr.to_string();
    assert!(program.stop().await.success());
    assert_eq!(stack.client.get(FAUST).await.status, 503);
    let _again = Program::start(command(&postgres, &listen)).await;
    stack.until(async |stack: &Stack| stack.serves(FAUST).await).await;
    let after = kubectl.run(&["get", "books", "-A", "-o", "jsonpath={.items[*].metadata.uid}"]).await.ok();
    assert_eq!(after, before);
}
