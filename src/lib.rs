//! The aggregator: Kubernetes API requests in, calls to backends out.
//!
//! The rooms are a ladder: a room imports only rooms on lower rungs, and the bridge
//! (`tests/tidy.rs` holds it).
//!
//! | rung | room | what it does |
//! |---|---|---|
//! | 9 | [`cli`] | what was typed |
//! | 8 | [`app`] | wiring; the only spawner of long-lived tasks |
//! | 7 | [`server`] | TLS, layers, the router (every entrance), the one place an error becomes a response |
//! | 6 | [`proxy`] | phases of a request: resolve, available?, translate, call, translate back or stream |
//! | 5 | [`discovery`], [`openapi`], [`authn`], [`authz`] | cached documents; who asks; whether they may |
//! | 4 | [`availability`] | the state of each backend: a pure state machine and a thin loop |
//! | 3 | [`upstream`] | connections to backends: the only gRPC client |
//! | 2 | [`registry`], [`pki`], [`last_known_good`], [`made_watch`], [`brown_out`] | APIServices, in the embedded store or the cluster; publishes immutable snapshots \| keys and certificates \| what backends last said, on disk \| watches made of List \| what is answered while a backend is away |
//! | 1 | [`config`], [`metrics`], [`cluster`] | what is true; what is counted; what is watched of the cluster |
//! | 0 | [`telemetry`], [`lifecycle`], [`data_dir`], [`body`], [`memo`], [`backoff`] | what is observed of a request, the log, traces; stopping; safe files; body types; remembered answers; pauses between attempts |

pub mod app;
pub mod authn;
pub mod authz;
pub mod availability;
pub mod backoff;
pub mod body;
pub mod brown_out;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod data_dir;
pub mod discovery;
pub mod last_known_good;
pub mod lifecycle;
pub mod made_watch;
pub mod memo;
pub mod metrics;
pub mod openapi;
pub mod pki;
pub mod proxy;
pub mod registry;
pub mod server;
pub mod telemetry;
pub mod upstream;
