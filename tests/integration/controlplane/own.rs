//! What needs a control plane of its own, made by tests/controlplane.

mod backends;
mod brown_out;
mod callers;
mod certificates;
mod delegate;
mod deploy;
mod doctor;
mod flunders;
mod in_cluster;
mod local_rbac;
mod plane;
mod replicas;
mod schemas;
