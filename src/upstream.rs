//! Connections to backends: the only gRPC client.
//!
//! gRPC is spoken here over hyper's HTTP/2 client, so that it is known what became of each call:
//! in particular, whether a failed one can have run.
//!
//! A call goes this way:
//!
//! | file | what it does |
//! |---|---|
//! | `endpoint` | `grpc://host:port` and what TLS needs |
//! | `backend` | [`Backend`], [`BackendCaller`]: metadata, deadline, retry of what did not run |
//! | `pool` | which connection; when another is opened; what happens while none can be |
//! | `connection` | DNS, TCP, TLS, HTTP/2, up to the backend's SETTINGS |
//! | `pulse` | the socket below: when something was heard, and how it is cut |
//! | `health` | a silent connection is asked whether it lives |
//! | `serving` | what a backend says of itself: `grpc.health.v1` Watch |
//! | `traffic` | what clients' requests tell about a backend |
//! | `call` | request headers, the answer, trailers; whether a failed call can have run |
//! | `frame`, `status` | gRPC's message frames; its status |
//! | `schema`, `reflection`, `watcher` | the descriptors of what a backend serves, and when they change |

mod backend;
mod call;
mod connection;
mod endpoint;
mod frame;
mod health;
mod options;
mod pool;
mod pulse;
mod reflection;
mod schema;
mod serving;
mod status;
mod traffic;
mod watcher;

pub use backend::{Backend, BackendCaller};
pub use call::Answer;
pub use connection::FailureReason;
pub use endpoint::{Endpoint, EndpointError, TlsOptions, check_ca};
pub use health::{Serving, check};
pub use options::Options;
pub use pool::ConnectionState;
pub use schema::{FetchError, FetchedSchema, MAX_SCHEMA, SchemaSource, fetch, read_file};
pub use serving::{HealthEnd, Life, ask, follow};
pub use status::details;
pub use traffic::{Results, Traffic};
pub use watcher::{KeepSchema, Rejected, SchemaHandle, SchemaPace, SchemaState, SchemaWatcher};

#[cfg(test)]
mod tests;
