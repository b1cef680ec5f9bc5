//! The real kubectl against the aggregator and the inventory: nothing faked in between.

mod apiservices;
mod auth;
mod read;
mod watch;
mod write;

use crate::support::{Kubectl, Stack};

/// A stack with three machines in two namespaces, and a kubectl for its administrator.
async fn furnished() -> (Stack, Kubectl) {
    let stack = Stack::start().await;
    let kubectl = stack.kubectl().await;
    kubectl.run_with(&["create", "-f", "-"], MACHINES, &[]).await.ok();
    (stack, kubectl)
}

const MACHINES: &str = r#"
apiVersion: inventory.example.com/v1
kind: Machine
metadata: {name: atlas, namespace: default, labels: {tier: db}}
spec:
  serial: A-1
  rack: r1
  cpus: 8
  memory: 16Gi
  disks:
  - {name: sda, size: 500Gi}
  - {name: sdb, size: 1Ti, rotational: true}
---
apiVersion: inventory.example.com/v1
kind: Machine
metadata: {name: boreas, namespace: default, labels: {tier: web}}
spec: {serial: B-2, rack: r2, cpus: 4, memory: 8Gi, power: "Off"}
---
apiVersion: inventory.example.com/v1
kind: Machine
metadata: {name: castor, namespace: lab, labels: {tier: web}}
spec: {serial: C-3, rack: r1, cpus: 2, memory: 4Gi}
---
apiVersion: inventory.example.com/v1
kind: Rack
metadata: {name: r1}
spec: {location: "hall 2", units: 42}
"#;

/// The words of each line.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}
