//! A service that has never heard of Kubernetes, served unchanged.

#[path = "../../bridge/tests/aip/descriptors.rs"]
pub mod descriptors;
#[path = "../../bridge/tests/aip/service.rs"]
pub mod service;

mod kubectl;
mod lint;
mod mappings;
pub mod rest;
