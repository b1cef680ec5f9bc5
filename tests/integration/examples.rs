//! The examples in other languages, driven by the real kubectl; and one REST scenario for two of them.

mod library;
mod metrics;
mod scenario;

use crate::support::{Kubectl, Options, Program, Stack, apiservices};

/// An aggregator that an example is registered with as its README says, once it is served.
async fn registered(example: &str, program: &Program, paths: &[&str]) -> (Stack, Kubectl) {
    let options = Options {
        backend: Some(program.addr),
        backend_down: true,
        tokens: scenario::TOKENS.into(),
        ..Options::default()
    };
    let stack = Stack::with(options).await;
    let kubectl = stack.kubectl().await;
    kubectl.run_with(&["apply", "-f", "-"], &apiservices(example, program.addr), &[]).await.ok();
    for path in paths {
        stack.until(async |stack: &Stack| stack.serves(path).await).await;
    }
    (stack, kubectl)
}

/// The words of each line.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}
