//! The bridge: Kubernetes' REST protocol on one side, protobuf services on the other.
//!
//! Values in, values out. There is no socket, clock, task, file or environment variable in
//! this crate: what is needed of them comes in through [`caller::Caller`] and [`env::Env`].
//!
//! # Modules, in the order a request meets them
//!
//! | module | what it does |
//! |---|---|
//! | [`proto`] | the contract's messages, as prost types, and its descriptors |
//! | [`model`] | descriptors -> API groups, resources, bound methods; the lint |
//! | [`mapping`] | services that know nothing of Kubernetes (AIP) -> the contract form, and calls of it -> calls of theirs |
//! | [`request_info`] | method and path -> verb, group, version, namespace, resource, name, subresource |
//! | [`options`] | query string -> the meta/v1 options |
//! | [`negotiate`] | Accept and Content-Type -> media type and shape |
//! | [`envelope`] | bodies in Kubernetes' own protobuf |
//! | [`selector`] | label and field selectors: parsed, matched |
//! | [`validation`] | the syntax of names, labels and the rest of ObjectMeta |
//! | [`verbs`] | one file a verb, generic over a [`caller::Caller`] |
//! | [`object`] | an object on the wire: its metadata read and rewritten, the rest untouched |
//! | [`transcode`] | protobuf wire <-> Kubernetes JSON, by a table compiled once per message |
//! | [`wire`] | protobuf wire fields, read and spliced |
//! | [`patch`] | JSON patch and merge patch |
//! | [`table`] | objects -> what `kubectl get` prints |
//! | [`watch`] | a backend's events -> a client's events: the state machine |
//! | [`ledger`] | what clients were told of a resource without a Watch: one is made of it |
//! | [`status`] | errors: what the client is told, and what the log is told |
//! | [`identity`] | the user, as gRPC metadata |
//! | [`discovery_doc`] | what a version serves, from our model or read from others -> discovery documents |
//! | [`openapi_doc`] | the model -> OpenAPI documents |
//! | [`describe`] | the model, or another server's documents -> a page for people |

pub mod caller;
pub mod describe;
pub mod discovery_doc;
pub mod env;
pub mod envelope;
pub mod identity;
pub mod ledger;
pub mod mapping;
pub mod model;
pub mod negotiate;
pub mod object;
pub mod openapi_doc;
pub mod options;
pub mod patch;
pub mod proto;
pub mod request_info;
pub mod selector;
pub mod status;
pub mod table;
pub mod transcode;
pub mod validation;
pub mod verbs;
pub mod watch;
pub mod wire;
