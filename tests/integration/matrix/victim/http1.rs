//! HTTP/1.1, as much of it as the aggregator speaks to a backend, with all that can be wrong with an answer.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    conduct::{Conduct, Mood, Record, rest},
    server::HALF,
};

/// Serves one connection until it ends.
pub async fn serve(mut io: impl AsyncRead + AsyncWrite + Unpin, mood: &Mood, record: &Record) {
    let mut read = Vec::new();
    while let Some((method, path, body)) = request(&mut io, &mut read).await {
        let conduct = mood.get();
        if let (Conduct::Slow(time), true) = (conduct, path.contains("/machines")) {
            tokio::time::sleep(time).await;
        }
        let (status, body) = rest(&method, &path, &body, record);
        if conduct == Conduct::Resets {
            return;
        }
        let length = if conduct == Conduct::Dies { 2 * HALF } else { body.len() };
        let close = if conduct == Conduct::SaysGoodbye { "connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{close}\r\n"
        );
        let body = if conduct == Conduct::Dies { vec![b' '; HALF] } else { body };
        let answer = [head.as_bytes(), &body].concat();
        if io.write_all(&answer).await.is_err() || io.flush().await.is_err() {
            return;
        }
        if matches!(conduct, Conduct::Dies | Conduct::SaysGoodbye) {
            return;
        }
    }
}

/// Method, path and body of the next request; none at the end of the connection.
async fn request(io: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<(String, String, Vec<u8>)> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        if io.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    assert!(!head.contains("transfer-encoding"), "the tests' bodies have a length: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while read.len() < end + length {
        if io.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    let first = String::from_utf8_lossy(&read[..end]).lines().next()?.to_owned();
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let body = read[end..end + length].to_vec();
    read.drain(..end + length);
    Some((method, path, body))
}
