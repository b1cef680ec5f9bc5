//! gRPC's message framing: one flag byte, four length bytes, the message.
//!
//! Source: gRPC over HTTP/2 (`PROTOCOL-HTTP2.md`), "Length-Prefixed-Message".

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame};

const PREFIX: usize = 5;
/// A message that spans several frames starts with at most this much memory and grows as bytes arrive:
/// a length alone must not cost memory.
const FIRST_RESERVE: usize = 256 << 10;

/// Why bytes are no gRPC messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a compressed message, although no compression was offered")]
    Compressed,
    #[error("a message starts with flag byte {0}, which gRPC does not define")]
    Flag(u8),
    #[error("a message of {length} bytes; the limit is {limit}")]
    TooLarge { length: usize, limit: usize },
    #[error("the answer ends inside a message")]
    Truncated,
}

/// Cuts the bytes of DATA frames into messages. A message that lies in one frame is a slice of it.
#[derive(Debug)]
pub(super) struct Deframer {
    limit: usize,
    chunk: Bytes,
    prefix: [u8; PREFIX],
    prefix_have: usize,
    need: Option<usize>,
    partial: BytesMut,
}

impl Deframer {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            prefix: [0; PREFIX],
            prefix_have: 0,
            need: None,
            partial: BytesMut::new(),
        }
    }

    /// Takes the next DATA frame. [`Self::next`] must have returned `None` before.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// The next whole message; `None` when more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let need = match self.need {
            Some(need) => need,
            None => match self.read_prefix()? {
                Some(need) => need,
                None => return Ok(None),
            },
        };
        if self.partial.is_empty() && self.chunk.len() >= need {
            self.need = None;
            return Ok(Some(self.chunk.split_to(need)));
        }
        if self.partial.capacity() == 0 {
            self.partial.reserve(need.min(FIRST_RESERVE.max(self.chunk.len())));
        }
        let take = self.chunk.len().min(need - self.partial.len());
        self.partial.extend_from_slice(&self.chunk[..take]);
        self.chunk.advance(take);
        if self.partial.len() < need {
            return Ok(None);
        }
        self.need = None;
        Ok(Some(std::mem::take(&mut self.partial).freeze()))
    }

    /// The stream has ended: whether it did so between two messages.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        match self.need.is_none() && self.prefix_have == 0 && self.chunk.is_empty() {
            true => Ok(()),
            false => Err(FrameError::Truncated),
        }
    }

    fn read_prefix(&mut self) -> Result<Option<usize>, FrameError> {
        let take = self.chunk.len().min(PREFIX - self.prefix_have);
        self.prefix[self.prefix_have..self.prefix_have + take].copy_from_slice(&self.chunk[..take]);
        self.chunk.advance(take);
        self.prefix_have += take;
        if self.prefix_have < PREFIX {
            return Ok(None);
        }
        self.prefix_have = 0;
        let [flag, a, b, c, d] = self.prefix;
        match flag {
            0 => {}
            1 => return Err(FrameError::Compressed),
            other => return Err(FrameError::Flag(other)),
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.limit {
            return Err(FrameError::TooLarge { length, limit: self.limit });
        }
        self.need = Some(length);
        Ok(Some(length))
    }
}

/// One message behind its prefix, neither copied.
#[derive(Debug)]
pub(super) struct Framed {
    prefix: [u8; PREFIX],
    prefix_left: usize,
    message: Bytes,
}

impl Framed {
    /// `None` when the message is longer than a gRPC frame can say (4 GiB).
    pub(super) fn new(message: Bytes) -> Option<Self> {
        let [a, b, c, d] = u32::try_from(message.len()).ok()?.to_be_bytes();
        Some(Self { prefix: [0, a, b, c, d], prefix_left: PREFIX, message })
    }
}

impl Buf for Framed {
    fn remaining(&self) -> usize {
        self.prefix_left + self.message.len()
    }

    fn chunk(&self) -> &[u8] {
        match self.prefix_left {
            0 => &self.message,
            left => &self.prefix[PREFIX - left..],
        }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        let parts = [&self.prefix[PREFIX - self.prefix_left..], &self.message[..]];
        let mut used = 0;
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            if used == dst.len() {
                break;
            }
            dst[used] = std::io::IoSlice::new(part);
            used += 1;
        }
        used
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix_left);
        self.prefix_left -= of_prefix;
        self.message.advance(count - of_prefix);
    }
}

/// A request body of exactly one message. Its size is not announced: gRPC requests carry no content-length.
#[derive(Debug)]
pub(super) struct OneMessage(pub(super) Option<Framed>);

impl Body for OneMessage {
    type Data = Framed;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Framed>, Infallible>>> {
        Poll::Ready(self.0.take().map(|message| Ok(Frame::data(message))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn framed(messages: &[&[u8]]) -> Bytes {
        let mut wire = BytesMut::new();
        for message in messages {
            let mut one = Framed::new(Bytes::copy_from_slice(message)).unwrap();
            wire.extend_from_slice(&one.copy_to_bytes(one.remaining()));
        }
        wire.freeze()
    }

    #[test]
    fn messages_survive_every_split() {
        let messages: [&[u8]; 4] = [b"one", b"", b"a longer message", b"x"];
        let wire = framed(&messages);
        for size in 1..=wire.len() {
            let mut deframer = Deframer::new(100);
            let mut got = Vec::new();
            for chunk in wire.chunks(size) {
                deframer.push(Bytes::copy_from_slice(chunk));
                while let Some(message) = deframer.next().unwrap() {
                    got.push(message);
                }
            }
            deframer.finish().unwrap();
            assert_eq!(got, messages, "chunks of {size}");
        }
    }

    #[test]
    fn a_message_within_one_chunk_is_a_slice() {
        let wire = framed(&[b"hello"]);
        let inside = wire.as_ptr_range();
        let mut deframer = Deframer::new(100);
        deframer.push(wire);
        let message = deframer.next().unwrap().unwrap();
        assert!(inside.contains(&message.as_ptr()));
    }

    #[test]
    fn a_length_over_the_limit_costs_no_memory() {
        let mut deframer = Deframer::new(1000);
        deframer.push(Bytes::from_static(&[0, 0, 0, 3, 233]));
        assert_eq!(deframer.next(), Err(FrameError::TooLarge { length: 1001, limit: 1000 }));
        let mut deframer = Deframer::new(usize::MAX);
        deframer.push(Bytes::from_static(&[0, 255, 255, 255, 255, 1]));
        assert_eq!(deframer.next(), Ok(None));
        assert!(deframer.partial.capacity() <= 2 * FIRST_RESERVE);
    }

    #[test]
    fn flags_and_truncation() {
        for (flag, error) in [(1, FrameError::Compressed), (7, FrameError::Flag(7))] {
            let mut deframer = Deframer::new(10);
            deframer.push(Bytes::copy_from_slice(&[flag, 0, 0, 0, 0]));
            assert_eq!(deframer.next(), Err(error));
        }
        for cut in 1..8 {
            let mut deframer = Deframer::new(10);
            deframer.push(framed(&[b"abc"]).slice(..cut));
            assert_eq!(deframer.next(), Ok(None));
            assert_eq!(deframer.finish(), Err(FrameError::Truncated));
        }
    }
}
