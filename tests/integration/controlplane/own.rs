//! What needs a control plane of its own, made by tests/controlplane.

mod backends;
mod callers;
mod delegate;
mod deploy;
mod doctor;
mod flunders;
mod in_cluster;
mod plane;
mod replicas;
