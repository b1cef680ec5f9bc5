//! Descriptors -> parts that fit into ConfigMaps, and back.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;

use super::{MAX_SCHEMA, names::digest};
use crate::body::gzip;

/// The most bytes that one part has: a ConfigMap may hold 1 MiB.
pub(super) const PART: usize = 896 << 10;
/// The most parts: so many as [`MAX_SCHEMA`] bytes make that cannot be compressed, and some.
pub(super) const MAX_PARTS: usize = MAX_SCHEMA / PART + 4;

/// Descriptors, ready to be stored.
pub(super) struct Packed {
    /// SHA-256 of the descriptors, in hexadecimal.
    pub(super) digest: String,
    /// gzip of the descriptors, cut: never none, none longer than [`PART`].
    pub(super) parts: Vec<Vec<u8>>,
}

/// Why parts are not the descriptors that they should be. The text follows the name of who has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// They cannot be decompressed.
    #[error("what it has is no whole gzip: {0}")]
    NoGzip(String),
    /// They are more than anybody takes.
    #[error("what it has is more than {} MiB when it is decompressed", MAX_SCHEMA >> 20)]
    TooLarge,
    /// They are something else.
    #[error("the SHA-256 of what it has is {0}, and should be another")]
    Digest(String),
}

/// Compresses and cuts.
pub(super) fn split(descriptors: &[u8]) -> Packed {
    let compressed = gzip::compress(descriptors);
    Packed { digest: digest(descriptors), parts: compressed.chunks(PART).map(<[u8]>::to_vec).collect() }
}

/// What was split. Whatever the parts are, no more than [`MAX_SCHEMA`] bytes come of it.
pub(super) fn join(parts: &[Vec<u8>], expected: &str) -> Result<Bytes, Damage> {
    let compressed = parts.concat();
    let mut descriptors = Vec::new();
    let limit = MAX_SCHEMA as u64 + 1;
    let read = GzDecoder::new(&compressed[..]).take(limit).read_to_end(&mut descriptors);
    if descriptors.len() > MAX_SCHEMA {
        return Err(Damage::TooLarge);
    }
    read.map_err(|error| Damage::NoGzip(error.to_string()))?;
    let found = digest(&descriptors);
    if found != expected {
        return Err(Damage::Digest(found));
    }
    Ok(descriptors.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Bytes that hardly compress: SHA-256 of a counter.
    fn noise(length: usize) -> Vec<u8> {
        let hashes = (0_u64..).flat_map(|number| {
            use sha2::{Digest as _, Sha256};
            Sha256::digest(number.to_be_bytes()).to_vec()
        });
        hashes.take(length).collect()
    }

    #[test]
    fn what_does_not_compress_is_cut_and_the_largest_schema_has_room() {
        let descriptors = noise(3 << 20);
        let packed = split(&descriptors);
        assert_eq!(packed.parts.len(), 4);
        assert!(packed.parts.iter().all(|part| !part.is_empty() && part.len() < 900 << 10));
        assert_eq!(join(&packed.parts, &packed.digest).unwrap(), descriptors);
        // A stored block has at most 64 KiB, and 5 bytes before it.
        let worst = MAX_SCHEMA + MAX_SCHEMA / (16 << 10) * 5 + 64;
        assert!(worst.div_ceil(PART) <= MAX_PARTS);
    }

    #[test]
    fn damage_is_named() {
        let packed = split(&noise(2 << 20));
        let join = |parts: &[Vec<u8>]| join(parts, &packed.digest).unwrap_err();
        assert!(matches!(join(&[]), Damage::NoGzip(_)));
        assert!(matches!(join(&[b"garbage".to_vec()]), Damage::NoGzip(_)));
        assert!(matches!(join(&packed.parts[..1]), Damage::NoGzip(_)), "one part of several");
        let mut turned = packed.parts.clone();
        turned.swap(0, 1);
        assert!(matches!(join(&turned), Damage::NoGzip(_)));
        let other = split(b"something else").parts;
        assert_eq!(join(&other), Damage::Digest(digest(b"something else")));
    }

    #[test]
    fn a_bomb_takes_no_more_than_the_limit() {
        let bomb = gzip::compress(&vec![0; MAX_SCHEMA + 1]);
        assert!(bomb.len() < PART);
        assert_eq!(join(&[bomb], &digest(b"")), Err(Damage::TooLarge));
        let whole = vec![0; MAX_SCHEMA];
        let packed = split(&whole);
        assert!(join(&packed.parts, &packed.digest).unwrap() == whole);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_split_comes_back(descriptors in proptest::collection::vec(any::<u8>(), 0..5000), times in 1_usize..400) {
            let descriptors = descriptors.repeat(times);
            let packed = split(&descriptors);
            prop_assert!(!packed.parts.is_empty() && packed.parts.len() <= MAX_PARTS);
            prop_assert!(packed.parts.iter().all(|part| part.len() <= PART));
            prop_assert_eq!(join(&packed.parts, &packed.digest).unwrap(), descriptors);
        }

        /// Any damage is found: never a panic, never another content.
        #[test]
        fn what_is_damaged_is_not_used(at in any::<prop::sample::Index>(), byte: u8, cut in 0_usize..20) {
            let packed = split(b"some descriptors, and some more of them, and some more");
            let mut part = packed.parts[0].clone();
            let at = at.index(part.len());
            part[at] = byte;
            part.truncate(part.len() - cut.min(part.len()));
            if let Ok(found) = join(&[part], &packed.digest) {
                prop_assert_eq!(digest(&found), packed.digest);
            }
        }
    }
}
