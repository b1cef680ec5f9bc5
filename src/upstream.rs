//! Connections to backends: the only gRPC client.
//!
//! gRPC is spoken here over hyper's HTTP/2 client, so that it is known what became of each call:
//! in particular, whether a failed one can have run.
//!
//! A call goes this way:
//!
//! | file | what it does |
//! |---|---|
//! | `endpoint`, `tls` | how and where a backend is spoken to; what its certificate is verified against |
//! | `backend` | [`Backend`], [`BackendCaller`]: metadata, deadline |
//! | `attempts`, `limit` | who is let in; what is tried again after a failure |
//! | `pool` | which connection; when another is opened; what happens while none can be |
//! | `addresses`, `balance` | what DNS says; which address is taken, which is ejected |
//! | `connection` | TCP, TLS, HTTP/2, up to the backend's SETTINGS |
//! | `pulse` | the socket below: when something was heard, and how it is cut |
//! | `health` | a silent connection is asked whether it lives |
//! | `serving` | what a backend says of itself: `grpc.health.v1` Watch |
//! | `traffic` | what clients' requests tell about a backend |
//! | `unimplemented` | which methods of its schema it does not have |
//! | `call` | request headers, the answer, trailers; whether a failed call can have run |
//! | `frame`, `status` | gRPC's message frames; its status |
//! | `documents` | what HTTPS backends say of themselves, and when it changes |
//! | `schema`, `reflection`, `watcher` | the descriptors of what a backend serves, and when they change |

mod addresses;
mod attempts;
mod backend;
mod balance;
mod call;
mod connection;
mod documents;
mod endpoint;
mod forward;
mod frame;
mod health;
mod limit;
mod options;
mod pool;
mod pulse;
mod reflection;
mod request_body;
mod schema;
mod serving;
mod stats;
mod status;
mod tls;
mod traffic;
mod unimplemented;
mod watcher;

pub use backend::{Backend, BackendCaller};
pub use call::Answer;
pub use connection::FailureReason;
pub use documents::{
    Asker, DocumentError, Documents, DocumentsPace, DocumentsWatcher, GroupVersion, KeepDocuments,
    OpenApiState, Priorities, VersionDocuments, Wanted, documents_subject,
};
pub use endpoint::{Endpoint, EndpointError};
pub use forward::{ForwardError, Forwarded, Held, Switched, Upgrade};
pub use health::{Serving, check};
pub use options::Options;
pub use pool::ConnectionState;
pub use request_body::ForwardBody;
pub use schema::{FetchError, FetchedSchema, MAX_SCHEMA, SchemaSource, fetch, read_file};
pub use serving::{HealthEnd, Life, ask, follow};
pub use stats::{RetryReason, Stats};
pub use tls::{AnyCertificate, TlsOptions, check_ca};
pub use traffic::{Results, Traffic};
pub use unimplemented::Unimplemented;
pub use watcher::{KeepSchema, Rejected, SchemaHandle, SchemaPace, SchemaState, SchemaWatcher};

#[cfg(test)]
mod tests;
