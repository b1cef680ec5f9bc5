//! With a real control plane: kube-apiserver, and the unchanged sample-apiserver behind Kubridge.

mod core;
mod own;
