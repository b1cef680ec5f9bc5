//! A peer that speaks HTTP/2 frame by frame, so that it can break the rules.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug)]
pub(super) struct Raw(TcpStream);

impl Raw {
    /// Accepts a connection and exchanges prefaces.
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_exact(&mut [0; 24]).await.unwrap();
        let mut raw = Self(tcp);
        raw.write(SETTINGS, 0, 0, &[]).await;
        raw
    }

    pub(super) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Reads frames until the headers of a request, and returns its stream.
    pub(super) async fn request(&mut self) -> u32 {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            if kind == SETTINGS && flags & ACK == 0 {
                self.write(SETTINGS, ACK, 0, &[]).await;
            }
            if kind == HEADERS {
                return u32::from_be_bytes(stream);
            }
        }
    }

    /// `:status: 200` and `content-type: application/grpc`, HPACK without a table.
    pub(super) async fn answer_headers(&mut self, stream: u32) {
        let mut block = vec![0x88];
        for text in ["content-type", "application/grpc"] {
            if block.len() == 1 {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
        self.write(HEADERS, END_HEADERS, stream, &block).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, reason: h2::Reason) {
        self.write(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes()).await;
    }

    pub(super) async fn go_away(&mut self, last: u32, reason: h2::Reason) {
        let payload = [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
        self.write(GOAWAY, 0, 0, &payload).await;
    }

    /// Closes with a TCP reset.
    pub(super) fn abort(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
