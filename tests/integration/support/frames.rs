//! A client of the aggregator that speaks HTTP/2 frame by frame, so that it can break the rules.

use tokio::io::AsyncReadExt as _;

use super::{Stack, extension::soon, https::Wire};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

/// Of SETTINGS and PING.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module.
pub struct Frames {
    wire: Wire,
    next: u32,
}

/// One frame of the server's.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer's body.
    Answered(String),
    /// The stream alone is ended, with this code.
    Reset(u32),
    /// The connection is.
    Closed,
}

impl Outcome {
    /// Whether the request was answered with an object and not with an error.
    pub fn is_served(&self) -> bool {
        matches!(self, Self::Answered(body) if !body.is_empty() && !body.contains("\"kind\":\"Status\""))
    }
}

impl Frames {
    /// Connects and says hello.
    pub async fn connect(stack: &Stack) -> Self {
        let mut this = Self { wire: Wire::connect(stack, b"h2").await, next: 1 };
        this.wire.send(PREFACE).await;
        this.write(SETTINGS, 0, 0, &[]).await;
        loop {
            let frame = this.read().await.expect("the server's SETTINGS");
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                this.write(SETTINGS, ACK, 0, &[]).await;
                return this;
            }
        }
    }

    /// The number of the next stream.
    pub fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Writes a frame. `false`: the connection has ended.
    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write_all(&frame(kind, flags, stream, payload)).await
    }

    /// Writes bytes. `false`: the connection has ended.
    pub async fn write_all(&mut self, bytes: &[u8]) -> bool {
        use tokio::io::AsyncWriteExt as _;
        let stream = &mut self.wire.stream;
        stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn read(&mut self) -> Option<Frame> {
        soon(async {
            let read = &mut self.wire.read;
            loop {
                if let [a, b, c, kind, flags, s0, s1, s2, s3, ..] = read[..] {
                    let length = u32::from_be_bytes([0, a, b, c]) as usize;
                    if read.len() >= 9 + length {
                        let payload = read.split_to(9 + length)[9..].to_vec();
                        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
                        return Some(Frame { kind, flags, stream, payload });
                    }
                }
                if !matches!(self.wire.stream.read_buf(read).await, Ok(read) if read > 0) {
                    return None;
                }
            }
        })
        .await
    }

    /// Sends a request, `body` in one piece, and waits for what becomes of it.
    pub async fn request(&mut self, headers: &[(&str, &[u8])], body: Option<&[u8]>) -> Outcome {
        let stream = self.stream();
        let end = if body.is_none() { END_STREAM } else { 0 };
        self.write(HEADERS, END_HEADERS | end, stream, &block(headers)).await;
        if let Some(body) = body {
            self.write(DATA, END_STREAM, stream, body).await;
        }
        self.outcome(stream).await
    }

    /// Waits for what becomes of a request.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut body = Vec::new();
        while let Some(frame) = self.read().await {
            match frame.kind {
                GOAWAY => return Outcome::Closed,
                RST_STREAM if frame.stream == stream => {
                    return Outcome::Reset(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                }
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            if ends && frame.stream == stream {
                return Outcome::Answered(String::from_utf8_lossy(&body).into_owned());
            }
        }
        Outcome::Closed
    }

    /// Waits until the server has read all that was written so far. `false`: it has ended the connection.
    pub async fn synced(&mut self) -> bool {
        if !self.write(PING, 0, 0, b"synced??").await {
            return false;
        }
        while let Some(frame) = self.read().await {
            match frame.kind {
                PING if frame.flags & ACK != 0 => return true,
                GOAWAY => return false,
                _ => {}
            }
        }
        false
    }
}

/// The headers of a GET as `bench`.
pub fn get(path: &str) -> Vec<(&'static str, &[u8])> {
    vec![
        (":method", b"GET".as_slice()),
        (":scheme", b"https"),
        (":path", path.as_bytes()),
        (":authority", b"kubridge"),
        ("authorization", b"Bearer bench-token"),
    ]
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Headers in HPACK (RFC 7541): each as a literal that is not indexed, nothing Huffman-coded.
pub fn block(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name.as_bytes(), value] {
            integer(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// With a prefix of seven bits (RFC 7541, 5.1).
fn integer(block: &mut Vec<u8>, number: usize) {
    let Some(mut rest) = number.checked_sub(127) else {
        return block.push(number as u8);
    };
    block.push(127);
    while rest >= 128 {
        block.push(0x80 | (rest % 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}
