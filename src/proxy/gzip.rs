//! gzip (RFC 1952) of long answers, for clients that accept it. As kube-apiserver does it: not what is short, at the
//! fastest level, and never a watch, whose events must not wait for each other.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt as _, stream};
use kubridge_bridge::status::ApiError;

pub(super) use crate::body::gzip::{THRESHOLD, accepted};

/// How much of a whole body is compressed at a time: other requests want the processor too.
const PIECE: usize = 64 * 1024;
/// How much compressed data is sent at a time.
const SENT: usize = 16 * 1024;

/// A whole body, in pieces.
pub(super) fn pieces(whole: Bytes) -> impl Stream<Item = Result<Bytes, ApiError>> + Send {
    stream::iter((0..whole.len()).step_by(PIECE).map(move |at| {
        let end = whole.len().min(at + PIECE);
        Ok(whole.slice(at..end))
    }))
}

/// Compresses as it comes. An error stays an error: what was sent before it has no end.
pub(super) fn compress(
    chunks: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static {
    let encoder = GzEncoder::new(Vec::with_capacity(2 * SENT), Compression::fast());
    stream::unfold(Some((Box::pin(chunks), encoder)), |state| async move {
        let (mut chunks, mut encoder) = state?;
        while let Some(chunk) = chunks.next().await {
            match chunk.and_then(|chunk| encoder.write_all(&chunk).map_err(|e| failed(&e))) {
                Ok(()) if encoder.get_ref().len() < SENT => {}
                Ok(()) => {
                    let ready = std::mem::replace(encoder.get_mut(), Vec::with_capacity(2 * SENT));
                    return Some((Ok(ready.into()), Some((chunks, encoder))));
                }
                Err(error) => return Some((Err(error), None)),
            }
        }
        Some((encoder.finish().map(Bytes::from).map_err(|e| failed(&e)), None))
    })
}

fn failed(error: &std::io::Error) -> ApiError {
    ApiError::internal(format!("gzip: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_compressed_comes_back_whole_and_in_more_than_one_piece() {
        let whole: Bytes =
            (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let sent: Vec<Bytes> = compress(pieces(whole.clone())).try_collect().await.unwrap();
        assert!(sent.len() > 2, "{} pieces", sent.len());
        let mut read = Vec::new();
        GzDecoder::new(&sent.concat()[..]).read_to_end(&mut read).unwrap();
        assert!(read == whole);
    }

    #[tokio::test]
    async fn an_error_is_no_end() {
        let chunks = stream::iter([Ok(Bytes::from_static(b"{\"items\":[")), Err(ApiError::timeout("late"))]);
        let sent: Vec<_> = compress(chunks).collect().await;
        assert!(matches!(sent.as_slice(), [Err(_)]), "nothing that looks whole: {sent:?}");
    }
}
