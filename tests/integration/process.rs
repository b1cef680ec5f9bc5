//! The binary itself: its exit codes, its data directory, its signals.

use std::{process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

const BINARY: &str = env!("CARGO_BIN_EXE_kubridge");

/// `kubridge serve` on a port of its own, once it says that it serves.
async fn serve(dir: &TempDir) -> Child {
    let mut child = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("it goes on until it serves");
        if line.contains("kubeconfig=") {
            break;
        }
    }
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn two_on_one_data_directory() {
    let dir = TempDir::new().unwrap();
    let _first = serve(&dir).await;
    let second = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another") && said.contains("--data-dir"), "says what to do: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_it_and_a_killed_one_starts_again() {
    let dir = TempDir::new().unwrap();
    let mut first = serve(&dir).await;
    let ca = std::fs::read(dir.path().join("admin.kubeconfig")).unwrap();
    first.kill().await.unwrap();
    let mut second = serve(&dir).await;
    let pid = second.id().unwrap().to_string();
    assert!(
        Command::new("bash").args(["-c", &format!("kill -TERM {pid}")]).status().await.unwrap().success()
    );
    let status = tokio::time::timeout(Duration::from_secs(20), second.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!ca.is_empty());
}

#[tokio::test]
async fn faults_of_the_command_line_are_told_together() {
    let output = Command::new(BINARY)
        .args(["serve", "--listen", "nowhere", "--backend", "http://x", "--data-dir", "/dev/null/x"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nowhere") && said.contains("http://x"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_shows_what_would_be_served_or_every_fault() {
    let backend = inventory_on_a_port().await;
    let url = format!("grpc://{}", backend.addr);
    let output = Command::new(BINARY).args(["lint", "--backend", &url]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("machines") && said.contains("inventory.example.com/v1"), "{said}");

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("empty.bin");
    std::fs::write(&file, []).unwrap();
    let output = Command::new(BINARY).arg("lint").arg("--descriptor-set").arg(&file).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    backend.stop().await;
}

async fn inventory_on_a_port() -> inventory::Running {
    inventory::Server::start(inventory::Options {
        listen: ([127, 0, 0, 1], 0).into(),
        ..inventory::Options::default()
    })
    .await
    .unwrap()
}
