//! An HTTPS backend that speaks HTTP/1.1 and believes every byte: whatever comes after a request's end is taken for the
//! next request, by whomever it was sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{
    Ca,
    extension::{ECHO, RESOURCES, Speaks, listen},
};

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its lines, without the last empty one.
    pub head: Vec<String>,
    /// As framed by its head.
    pub body: String,
    /// Whether its end has come.
    pub whole: bool,
}

/// See the module. It ends with its runtime.
#[derive(Debug, Clone)]
pub struct Recorder {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Answers every request with an object.
    pub async fn start(ca: &Ca) -> Self {
        Self::answering(ca, |_| ok(r#"{"kind":"Echo"}"#)).await
    }

    /// Answers with bytes of the test's choice, by request line.
    pub async fn answering(ca: &Ca, answer: fn(&str) -> Vec<u8>) -> Self {
        let seen: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let shared = Arc::clone(&seen);
        let (addr, _) = listen(ca, &Speaks::http1(), move |stream, _| {
            let seen = Arc::clone(&shared);
            Box::pin(async move {
                let mut connection = Connection { stream, read: BytesMut::new(), seen };
                connection.serve(answer).await;
            })
        })
        .await;
        Self { addr, seen }
    }

    /// What has come since the last time.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// 200 with a JSON body.
pub fn ok(text: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    head.into_bytes()
}

impl Recorded {
    /// The values of a header, by its name in lower case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head[1..].iter().filter_map(|line| line.split_once(':'));
        lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

struct Connection {
    stream: TlsStream<TcpStream>,
    read: BytesMut,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

impl Connection {
    async fn serve(&mut self, answer: fn(&str) -> Vec<u8>) {
        while let Some(head) = self.until("\r\n\r\n").await {
            let head: Vec<String> = head.trim_end().split("\r\n").map(str::to_owned).collect();
            let path = head[0].split(' ').nth(1).unwrap_or_default().to_owned();
            let own = match path.as_str() {
                ECHO => Some(ok(RESOURCES)),
                "/apis" | "/api" => Some(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
                path if path.starts_with("/openapi") => {
                    Some(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec())
                }
                path if path.ends_with("/ready") => Some(ok("{}")),
                _ => None,
            };
            let bytes = match own {
                Some(bytes) => bytes,
                None => {
                    let recorded = Recorded { head, body: String::new(), whole: false };
                    let bytes = answer(&recorded.head[0]);
                    let index = {
                        let mut seen = self.seen.lock().unwrap();
                        seen.push(recorded.clone());
                        seen.len() - 1
                    };
                    let body = self.body(&recorded).await;
                    let mut seen = self.seen.lock().unwrap();
                    if let (Some(body), Some(recorded)) = (body, seen.get_mut(index)) {
                        (recorded.body, recorded.whole) = (body, true);
                    } else {
                        return;
                    }
                    bytes
                }
            };
            if self.stream.write_all(&bytes).await.is_err() || self.stream.flush().await.is_err() {
                return;
            }
        }
        if !self.read.is_empty() {
            let head = vec![String::from_utf8_lossy(&self.read).into_owned()];
            self.seen.lock().unwrap().push(Recorded { head, body: String::new(), whole: false });
        }
    }

    async fn body(&mut self, request: &Recorded) -> Option<String> {
        if let [coding] = request.values("transfer-encoding")[..] {
            assert_eq!((coding, request.values("content-length").len()), ("chunked", 0), "{request:?}");
            let mut body = String::new();
            loop {
                let size = self.until("\r\n").await?;
                let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
                if size == 0 {
                    // Trailers, if any, then an empty line.
                    while self.until("\r\n").await? != "\r\n" {}
                    return Some(body);
                }
                body.push_str(&self.exactly(size).await?);
                assert_eq!(self.until("\r\n").await?, "\r\n", "a chunk ends where it says");
            }
        }
        match request.values("content-length")[..] {
            [] => Some(String::new()),
            [length] => self.exactly(length.parse().expect("a length")).await,
            _ => panic!("several lengths: {request:?}"),
        }
    }

    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|part| part == end.as_bytes()) {
                let upto = self.read.split_to(at + end.len());
                return Some(String::from_utf8_lossy(&upto).into_owned());
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, size: usize) -> Option<String> {
        while self.read.len() < size {
            self.more().await?;
        }
        Some(String::from_utf8_lossy(&self.read.split_to(size)).into_owned())
    }

    async fn more(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(read) if read > 0 => Some(()),
            _ => None,
        }
    }
}
