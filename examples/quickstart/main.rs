//! A backend and the aggregator, in one process, and the lines to type next.
//!
//! ```sh
//! cargo run --release --example quickstart             # serves until Ctrl-C
//! cargo run --release --example quickstart -- --check  # makes the tour itself, exits with 0 or 1
//! ```

#![allow(clippy::print_stdout, reason = "it talks to a person")]

mod tour;

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, bail};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        other => bail!("unknown arguments {other:?}; there is one: --check"),
    };
    let dir = tempfile::Builder::new().prefix("kubridge-quickstart-").tempdir()?;
    let data = dir.path().join("data");

    let backend = inventory::Server::start(inventory::Options {
        listen: ([127, 0, 0, 1], 0).into(),
        database: dir.path().join("inventory.db"),
        ..inventory::Options::default()
    })
    .await
    .context("the inventory does not start")?;
    let kubridge = kubridge::cli::start([
        "kubridge".to_owned(),
        "serve".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--backend=grpc://{}", backend.addr),
    ])
    .await
    .context("the aggregator does not start")?;
    let kubeconfig = data.join("admin.kubeconfig");
    let tour = tour::Tour::prepare(&kubeconfig, kubridge.address())?;
    tour.until_served().await?;

    let outcome = if check {
        tour.run().await
    } else {
        greet(&kubeconfig, &backend.addr.to_string());
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
    };
    kubridge.stop().await?;
    backend.stop().await;
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            println!("FAILED: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn greet(kubeconfig: &Path, backend: &str) {
    println!(
        "
The inventory (gRPC, examples/inventory) listens on {backend};
Kubridge serves it as a Kubernetes API. In another terminal, here:

  export KUBECONFIG={}
  kubectl api-resources
  kubectl get machines
  kubectl get machines -o wide
  kubectl explain machine.spec
  kubectl apply -f examples/quickstart/machine.yaml
  kubectl wait --for=jsonpath='{{.status.power}}'=On machine/atlas
  kubectl get machines -w &
  kubectl patch machine atlas --type=merge -p '{{\"spec\":{{\"cpus\":16}}}}'
  kubectl create --raw /apis/inventory.example.com/v1/namespaces/default/machines/atlas/powercycle -f - <<< '{{}}'
  kubectl delete machine atlas

Ctrl-C ends both.
",
        kubeconfig.display()
    );
}
