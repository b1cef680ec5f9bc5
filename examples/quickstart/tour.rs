//! The tour through the REST API: what a person would try, checked.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{Certificate, Client, Identity, Method, StatusCode};
use serde_json::{Value, json};

const API: &str = "/apis/inventory.example.com/v1";
const MACHINES: &str = "/apis/inventory.example.com/v1/namespaces/default/machines";

/// A client of the administrator, as the kubeconfig describes it.
pub(crate) struct Tour {
    http: Client,
    base: String,
}

impl Tour {
    pub(crate) fn prepare(kubeconfig: &Path, addr: SocketAddr) -> anyhow::Result<Self> {
        let text = fs::read_to_string(kubeconfig).context("the kubeconfig is not there")?;
        let field = |name: &str| -> anyhow::Result<Vec<u8>> {
            let prefix = format!("{name}: ");
            let line = text.lines().find_map(|line| line.trim().strip_prefix(&prefix));
            let line = line.with_context(|| format!("the kubeconfig has no {name}"))?;
            Ok(BASE64_STANDARD.decode(line.trim().trim_matches('"'))?)
        };
        let identity = [field("client-key-data")?, field("client-certificate-data")?].concat();
        // Somebody else may have chosen a provider for this process already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .tls_certs_only([Certificate::from_pem(&field("certificate-authority-data")?)?])
            .identity(Identity::from_pem(&identity)?)
            .build()?;
        Ok(Self { http, base: format!("https://127.0.0.1:{}", addr.port()) })
    }

    /// Waits until the backend's API is there.
    pub(crate) async fn until_served(&self) -> anyhow::Result<()> {
        for _ in 0..500 {
            if self.call(Method::GET, API, None).await?.0 == StatusCode::OK {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{API} is not served after ten seconds");
    }

    /// Everything that the README promises, once.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        self.step("the host is the first machine", self.host()).await?;
        self.step("a machine is made, and its status follows", self.create()).await?;
        self.step("a table has the annotated columns", self.table()).await?;
        self.step("a patch changes it, a stale write conflicts", self.patch()).await?;
        self.step("an action runs", self.action()).await?;
        self.step("the documentation has the proto's comments", self.explain()).await?;
        self.step("a watch sees it go", self.watch()).await
    }

    async fn step(&self, name: &str, step: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        step.await.with_context(|| name.to_owned())?;
        println!("ok: {name}");
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let patch = method == Method::PATCH;
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            let media = if patch { "application/merge-patch+json" } else { "application/json" };
            request = request.header("content-type", media).body(body.to_string());
        }
        let response = request.send().await?;
        Ok((response.status(), response.json().await?))
    }

    async fn expect(
        &self,
        code: u16,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, answer) = self.call(method.clone(), path, body).await?;
        ensure!(status.as_u16() == code, "{method} {path}: {status}: {answer}");
        Ok(answer)
    }

    async fn host(&self) -> anyhow::Result<()> {
        let list = self.expect(200, Method::GET, MACHINES, None).await?;
        let host = list["items"][0].clone();
        ensure!(host["spec"]["cpus"].as_u64().is_some_and(|n| n > 0), "{host}");
        ensure!(host["metadata"]["uid"].is_string(), "{host}");
        Ok(())
    }

    async fn create(&self) -> anyhow::Result<()> {
        let machine = json!({
            "apiVersion": "inventory.example.com/v1", "kind": "Machine",
            "metadata": {"name": "atlas", "labels": {"tier": "db"}},
            "spec": {"serial": "A-1", "cpus": 8, "memory": "16Gi"},
        });
        let made = self.expect(201, Method::POST, MACHINES, Some(&machine)).await?;
        ensure!(made["status"]["power"] == "On", "{made}");
        ensure!(made["metadata"]["generation"] == 1, "{made}");
        self.expect(409, Method::POST, MACHINES, Some(&machine)).await?;
        Ok(())
    }

    async fn table(&self) -> anyhow::Result<()> {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let request = self.http.get(format!("{}{MACHINES}?labelSelector=tier%3Ddb", self.base));
        let table: Value = request.header("accept", accept).send().await?.json().await?;
        ensure!(table["rows"].as_array().is_some_and(|rows| rows.len() == 1), "{table}");
        ensure!(table["rows"][0]["cells"][1] == "A-1", "{table}");
        Ok(())
    }

    async fn patch(&self) -> anyhow::Result<()> {
        let path = format!("{MACHINES}/atlas");
        let before = self.expect(200, Method::GET, &path, None).await?;
        let patched = self.expect(200, Method::PATCH, &path, Some(&json!({"spec": {"cpus": 16}}))).await?;
        ensure!(patched["spec"]["cpus"] == 16 && patched["metadata"]["generation"] == 2, "{patched}");
        self.expect(409, Method::PUT, &path, Some(&before)).await?;
        Ok(())
    }

    async fn action(&self) -> anyhow::Result<()> {
        let path = format!("{MACHINES}/atlas/powercycle");
        let (status, answer) = self.call(Method::POST, &path, Some(&json!({"offFor": "1s"}))).await?;
        ensure!(status.is_success() && answer["powerCycles"] == 1, "{status}: {answer}");
        Ok(())
    }

    async fn explain(&self) -> anyhow::Result<()> {
        let index = self.expect(200, Method::GET, "/openapi/v3", None).await?;
        let url = index["paths"]["apis/inventory.example.com/v1"]["serverRelativeURL"].as_str();
        let document = self.expect(200, Method::GET, url.context("no document for the group")?, None).await?;
        ensure!(document.to_string().contains("The serial number on the machine's label"), "no comments");
        Ok(())
    }

    async fn watch(&self) -> anyhow::Result<()> {
        let list = self.expect(200, Method::GET, MACHINES, None).await?;
        let version = list["metadata"]["resourceVersion"].as_str().context("the list has a version")?;
        self.expect(200, Method::DELETE, &format!("{MACHINES}/atlas"), None).await?;
        let path = format!("{}{MACHINES}?watch=1&resourceVersion={version}", self.base);
        let mut response = self.http.get(path).send().await?;
        let event = response.chunk().await?.context("the watch ended")?;
        let event: Value = serde_json::from_slice(&event)?;
        ensure!(event["type"] == "DELETED" && event["object"]["metadata"]["name"] == "atlas", "{event}");
        Ok(())
    }
}
