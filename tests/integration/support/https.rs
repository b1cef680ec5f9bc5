//! The aggregator before an extension API server, and clients that speak to it byte by byte.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Ca, Client, Options, Stack,
    extension::{ECHO, soon},
};

/// The users of the tests: who is in no group of note, but may do everything here.
pub const TOKENS: &str = "bench-token,bench,uid-bench,\"devs\"\n";

/// The APIService of the tests' group.
pub fn api_service(ca: Option<&str>) -> Value {
    let mut spec = json!({
        "group": "echo.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
        "service": {"namespace": "wardle", "name": "echo", "port": 443},
    });
    if let Some(ca) = ca {
        spec["caBundle"] = BASE64_STANDARD.encode(ca).into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.echo.example.com"}, "spec": spec,
    })
}

/// The aggregator with a Service `echo` in `wardle` that is at `addr`, and nothing registered.
pub async fn unregistered(addr: SocketAddr, args: &[&str]) -> Stack {
    let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
    args.push(format!("--service-resolution=wardle/echo={addr}"));
    args.push("--authorization-mode=AlwaysAllow".into());
    Stack::with(Options { backend_down: true, tokens: TOKENS.into(), args, ..Options::default() }).await
}

/// The same, with the group registered and served.
pub async fn stack(addr: SocketAddr, ca: &Ca) -> Stack {
    stack_with(addr, &api_service(Some(&ca.pem())), &[]).await
}

/// The same with another APIService or more arguments.
pub async fn stack_with(addr: SocketAddr, api_service: &Value, args: &[&str]) -> Stack {
    let stack = unregistered(addr, args).await;
    register(&stack, api_service).await;
    let path = format!("{ECHO}/echoes/ready");
    stack.until(|stack| stack.serves(&path)).await;
    stack
}

/// Creates an APIService.
pub async fn register(stack: &Stack, api_service: &Value) {
    stack.client.post("/apis/apiregistration.k8s.io/v1/apiservices", api_service).await.expect(201);
}

/// Speaks as the user `bench`.
pub fn bench(stack: &Stack) -> Client {
    stack.anonymous().with_header("authorization", "Bearer bench-token")
}

/// A connection to the aggregator on which a test writes what it likes.
pub struct Wire {
    pub stream: TlsStream<TcpStream>,
    pub read: BytesMut,
}

impl Wire {
    pub async fn http1(stack: &Stack) -> Self {
        Self::connect(stack, b"http/1.1").await
    }

    pub async fn connect(stack: &Stack, alpn: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(stack.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = TcpStream::connect(stack.addr()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        Self { stream, read: BytesMut::new() }
    }

    /// Writes a request's head as `bench`, and whatever follows. `head`: lines without the last empty one.
    pub async fn request(&mut self, head: &str, rest: &[u8]) {
        let head = head.replace('\n', "\r\n");
        let head = format!("{head}\r\nHost: kubridge\r\nAuthorization: Bearer bench-token\r\n\r\n");
        self.send(head.as_bytes()).await;
        self.send(rest).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads until `end` has come; what came up to and with it. Fails at the end of the connection.
    pub async fn until(&mut self, end: &str) -> String {
        soon(async {
            loop {
                if let Some(at) = self.read.windows(end.len()).position(|part| part == end.as_bytes()) {
                    let upto = self.read.split_to(at + end.len());
                    return String::from_utf8_lossy(&upto).into_owned();
                }
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                assert!(read > 0, "the end came before {end:?}: {:?}", self.read);
            }
        })
        .await
    }

    /// The head of an answer.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Whatever else comes until the end of the connection.
    pub async fn rest(&mut self) -> String {
        // A connection that is cut says so with an error.
        while matches!(soon(self.stream.read_buf(&mut self.read)).await, Ok(read) if read > 0) {}
        String::from_utf8_lossy(&self.read.split()).into_owned()
    }
}
