//! Who writes to the library behind the aggregator's back: into its tables, and by its own gRPC.

use std::{fmt, net::SocketAddr, time::Duration};

use futures::future;
use http::uri::PathAndQuery;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::support::Postgres;

/// More books than a page of an informer's list.
const PUBLISHERS: u64 = 4;
const BOOKS: u64 = 150;

/// How often a writer writes, at most.
const PACE: Duration = Duration::from_millis(25);

/// A book that nobody else writes, and its end.
pub const LAST: &str = "INSERT INTO books (publisher_id, id, uid, title, authors, isbn, format, page_count, labels, annotations) \
     VALUES ('publisher-0', 'last', gen_random_uuid(), 'Last', '{Nobody}', '', 1, 1, '{\"by\": \"nobody\"}', '{}')";
pub const NO_LAST: &str = "DELETE FROM books WHERE id = 'last'";

/// What was written, and what was not.
#[derive(Debug, Default)]
pub struct Written {
    pub created: usize,
    pub updated: usize,
    pub deleted: usize,
    /// Calls to a library that was away, or died of them: they may have been carried out.
    pub unanswered: usize,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, updated, deleted, unanswered } = self;
        let all = created + updated + deleted;
        write!(
            f,
            "{all} writes ({created} books created, {updated} updated, {deleted} deleted), {unanswered} calls \
             without an answer"
        )
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Create,
    Update,
    Delete,
}

/// All publishers, with all books.
pub async fn furnish(postgres: &Postgres) {
    let publishers = format!(
        "INSERT INTO publishers (id, uid, display_name, region_code, website, labels) \
         SELECT 'publisher-' || n, gen_random_uuid(), 'Publisher', '', '', '{{}}' FROM generate_series(0, {}) n",
        PUBLISHERS - 1
    );
    let books = format!(
        "INSERT INTO books (publisher_id, id, uid, title, authors, isbn, format, page_count, labels, annotations) \
         SELECT p.id, 'book-' || n, gen_random_uuid(), 'First edition', '{{Nobody}}', '', 1, 1 + n, \
         '{{\"by\": \"nobody\"}}', '{{}}' FROM publishers p, generate_series(0, {}) n",
        BOOKS - 1
    );
    postgres.query(&publishers).await;
    postgres.query(&books).await;
}

/// Two writers of each sort, until `stop`. They get in each other's way.
pub async fn write(postgres: &Postgres, library: SocketAddr, stop: &CancellationToken) -> Written {
    let by_sql = future::join(by_sql(postgres, 1, stop), by_sql(postgres, 2, stop));
    let by_grpc = future::join(by_grpc(library, 3, stop), by_grpc(library, 4, stop));
    let ((a, b), (c, d)) = future::join(by_sql, by_grpc).await;
    [a, b, c, d].into_iter().fold(Written::default(), |sum, written| Written {
        created: sum.created + written.created,
        updated: sum.updated + written.updated,
        deleted: sum.deleted + written.deleted,
        unanswered: sum.unanswered + written.unanswered,
    })
}

impl Written {
    fn count(&mut self, verb: Verb, times: usize) {
        match verb {
            Verb::Create => self.created += times,
            Verb::Update => self.updated += times,
            Verb::Delete => self.deleted += times,
        }
    }
}

/// Which write is next: the same ones in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        // Knuth's MMIX; its upper bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// What to do with which book of which publisher, and its pages if it has any then.
    fn next(&mut self) -> (Verb, String, String, u64) {
        let verb = match self.below(10) {
            0..4 => Verb::Create,
            4..8 => Verb::Update,
            _ => Verb::Delete,
        };
        let publisher = format!("publisher-{}", self.below(PUBLISHERS));
        (verb, publisher, format!("book-{}", self.below(BOOKS)), 1 + self.below(10_000))
    }
}

fn pace() -> Interval {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

async fn by_sql(postgres: &Postgres, seed: u64, stop: &CancellationToken) -> Written {
    let (mut dice, mut pace, mut written) = (Dice(seed), pace(), Written::default());
    while !stop.is_cancelled() {
        pace.tick().await;
        let (verb, publisher, book, pages) = dice.next();
        let statement = match verb {
            Verb::Create => format!(
                "INSERT INTO books (publisher_id, id, uid, title, authors, isbn, format, page_count, labels, annotations) \
                 VALUES ('{publisher}', '{book}', gen_random_uuid(), 'Of {pages} pages', '{{Ada,Bob}}', '', 1, {pages}, \
                 '{{\"by\": \"sql\"}}', '{{}}') ON CONFLICT DO NOTHING"
            ),
            Verb::Update => format!(
                "UPDATE books SET title = 'Now of {pages} pages', page_count = {pages}, copy_count = copy_count + 1, \
                 version = nextval('versions'), update_time = now() WHERE publisher_id = '{publisher}' AND id = '{book}'"
            ),
            Verb::Delete => {
                format!("DELETE FROM books WHERE publisher_id = '{publisher}' AND id = '{book}'")
            }
        };
        let counted = format!("WITH written AS ({statement} RETURNING 1) SELECT count(*) FROM written");
        written.count(verb, postgres.query(&counted).await.trim().parse().unwrap());
    }
    written
}

async fn by_grpc(library: SocketAddr, seed: u64, stop: &CancellationToken) -> Written {
    let endpoint = Endpoint::from_shared(format!("http://{library}")).unwrap();
    let endpoint = endpoint.connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(5));
    let mut client = Grpc::new(endpoint.connect_lazy());
    let (mut dice, mut pace, mut written) = (Dice(seed), pace(), Written::default());
    while !stop.is_cancelled() {
        pace.tick().await;
        let (verb, publisher, book, pages) = dice.next();
        match call(&mut client, verb, &publisher, &book, pages).await {
            Ok(()) => written.count(verb, 1),
            Err(status) => match status.code() {
                // Another writer was there before.
                Code::AlreadyExists | Code::NotFound | Code::Aborted => {}
                Code::InvalidArgument | Code::Unimplemented | Code::FailedPrecondition => {
                    panic!("{verb:?}: {status}")
                }
                _ => written.unanswered += 1,
            },
        }
    }
    written
}

async fn call(
    client: &mut Grpc<Channel>,
    verb: Verb,
    publisher: &str,
    book: &str,
    pages: u64,
) -> Result<(), tonic::Status> {
    let parent = format!("publishers/{publisher}");
    let name = format!("{parent}/books/{book}");
    let state = Book {
        name: name.clone(),
        title: format!("By a call, of {pages} pages"),
        authors: vec!["Cyd".into()],
        page_count: pages.try_into().unwrap(),
        labels: [("by".to_owned(), "grpc".to_owned())].into(),
    };
    match verb {
        Verb::Create => {
            let request = CreateBookRequest { parent, book: Some(state), book_id: book.to_owned() };
            unary(client, "/example.library.v1.LibraryService/CreateBook", request).await
        }
        Verb::Update => {
            let request = UpdateBookRequest { book: Some(state) };
            unary(client, "/example.library.v1.LibraryService/UpdateBook", request).await
        }
        Verb::Delete => {
            unary(client, "/example.library.v1.LibraryService/DeleteBook", DeleteBookRequest { name }).await
        }
    }
}

async fn unary<M: prost::Message + 'static>(
    client: &mut Grpc<Channel>,
    path: &'static str,
    request: M,
) -> Result<(), tonic::Status> {
    client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<M, Unread>::default();
    client.unary(Request::new(request), PathAndQuery::from_static(path), codec).await.map(drop)
}

/// What is used of `examples/library/proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Book {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    title: String,
    #[prost(string, repeated, tag = "4")]
    authors: Vec<String>,
    #[prost(int32, tag = "7")]
    page_count: i32,
    #[prost(btree_map = "string, string", tag = "10")]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateBookRequest {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(message, optional, tag = "2")]
    book: Option<Book>,
    #[prost(string, tag = "3")]
    book_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UpdateBookRequest {
    #[prost(message, optional, tag = "1")]
    book: Option<Book>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeleteBookRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Unread {}
