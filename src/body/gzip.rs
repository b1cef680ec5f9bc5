//! gzip (RFC 1952) of long answers, for clients that accept it: who does, what is long, and a whole document.
//! As kube-apiserver does it: at the fastest level.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, header};

/// What is not longer is sent as it is.
pub const THRESHOLD: usize = 128 * 1024;

/// Whether the client names gzip in Accept-Encoding, and not with a quality of 0.
pub fn accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let refused = |part: &str| {
            let quality = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            quality.and_then(|q| q.parse::<f32>().ok()) == Some(0.0)
        };
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(refused)
    })
}

/// A whole document, compressed: for one that is kept and sent many times.
pub fn compress(document: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(document.len() / 8), Compression::fast());
    encoder.write_all(document).and_then(|()| encoder.finish()).expect("a Vec takes whatever is written")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http::HeaderValue;

    use super::*;

    fn accepts(value: &'static str) -> bool {
        accepted(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
    }

    #[test]
    fn only_who_names_it_gets_it() {
        assert!(accepts("gzip") && accepts("deflate, GZIP;q=0.5") && accepts("br,gzip"));
        assert!(
            !accepts("gzip;q=0") && !accepts("deflate, gzip; q=0.0") && !accepts("*") && !accepts("x-gzip")
        );
        assert!(!accepted(&HeaderMap::new()));
    }

    #[test]
    fn a_document_comes_back_whole() {
        let document = b"{\"groups\":[]}".repeat(20_000);
        let compressed = compress(&document);
        assert!(compressed.len() < document.len() / 20);
        let mut read = Vec::new();
        GzDecoder::new(&compressed[..]).read_to_end(&mut read).unwrap();
        assert!(read == document);
    }
}
