//! JSON out: strings, numbers and bytes in the forms of Go's encoding/json, as Kubernetes writes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that is zero; exact up to and including the lowest one.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// The high bit of each byte that a JSON string escapes or that is not ASCII; exact for the lowest one.
#[inline]
fn escapes(word: u64) -> u64 {
    ascii_escapes(word) | (word & HIGH)
}

/// The same, but for what is not ASCII.
#[inline]
fn ascii_escapes(word: u64) -> u64 {
    // `"` and `&` differ in one bit, `<` and `>` too.
    let quote = zeros((word & !(ONES * 0x04)) ^ (ONES * 0x22));
    let angle = zeros((word & !(ONES * 0x02)) ^ (ONES * 0x3c));
    let slash = zeros(word ^ (ONES * 0x5c));
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    quote | angle | slash | control
}

/// Whether 32 bytes need no escape and are ASCII; without branches, so that it becomes vector instructions.
#[inline(always)]
fn is_plain(block: &[u8; 32]) -> bool {
    let mut found = 0;
    for &byte in block {
        found |= u8::from(byte & !0x04 == 0x22)
            | u8::from(byte & !0x02 == 0x3c)
            | u8::from(byte == 0x5c)
            | u8::from(byte < 0x20)
            | (byte & 0x80);
    }
    found == 0
}

/// How many bytes from the start need no escape and are ASCII.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk::<32>() {
        if !is_plain(block) {
            break;
        }
        at += 32;
    }
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let found = escapes(u64::from_le_bytes(*word));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    if let (true, Some(word)) = (at < bytes.len(), bytes.last_chunk::<8>()) {
        // The last word, of which the first bytes were seen already.
        let found = escapes(u64::from_le_bytes(*word));
        let start = bytes.len() - 8;
        return if found == 0 { bytes.len() } else { start + (found.trailing_zeros() / 8) as usize };
    }
    at + bytes[at..].iter().position(|byte| PLAIN[usize::from(*byte)] != 0).unwrap_or(bytes.len() - at)
}

/// What a byte in a string becomes: 0 itself, `u` a `\u00XX`, 0x80 and above part of a character, else `\` and it.
const PLAIN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 | b'<' | b'>' | b'&' => b'u',
            0x80.. => 0x80,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// Appends a few bytes by copies of fixed sizes, which are cheaper than one of any size.
#[inline(always)]
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    match (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
        (Some(head), Some(tail)) if bytes.len() <= 32 => {
            let end = out.len() + bytes.len();
            out.extend_from_slice(head);
            out.truncate(end - 16);
            out.extend_from_slice(tail);
        }
        (Some(_), _) => out.extend_from_slice(bytes),
        (None, _) => put_shorter(out, bytes),
    }
}

/// The same of fewer than 16 bytes.
#[inline(always)]
fn put_shorter(out: &mut Vec<u8>, bytes: &[u8]) {
    let end = out.len() + bytes.len();
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        out.extend_from_slice(head);
        out.truncate(end - 8);
        out.extend_from_slice(tail);
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        out.extend_from_slice(head);
        out.truncate(end - 4);
        out.extend_from_slice(tail);
    } else {
        for byte in bytes {
            out.push(*byte);
        }
    }
}

/// Appends a string with its quotes. False: it is not UTF-8, and `out` is in disorder.
#[inline]
pub(super) fn put_string(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let plain = plain_prefix(text);
    put_short(out, &text[..plain]);
    let ok = plain == text.len() || put_escaped(out, &text[plain..]);
    out.push(b'"');
    ok
}

/// The rest of a string from the first byte that is not plain.
fn put_escaped(out: &mut Vec<u8>, text: &[u8]) -> bool {
    if simdutf8::basic::from_utf8(text).is_err() {
        return false;
    }
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        match PLAIN[usize::from(byte)] {
            0 => {
                let plain = valid_prefix(rest);
                put_short(out, &rest[..plain]);
                rest = &rest[plain..];
            }
            0x80 => {
                // U+2028 and U+2029 are escaped: they end a line in JavaScript.
                rest = match rest {
                    [0xe2, 0x80, last @ (0xa8 | 0xa9), after @ ..] => {
                        out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                        after
                    }
                    _ => {
                        out.push(byte);
                        let plain = valid_prefix(after);
                        put_short(out, &after[..plain]);
                        &after[plain..]
                    }
                }
            }
            b'u' => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                rest = after;
            }
            letter => {
                out.push(b'\\');
                out.push(letter);
                rest = after;
            }
        }
    }
    true
}

/// How many bytes of valid UTF-8 from the start need no escape: what may be U+2028 ends the run too.
#[inline]
fn valid_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let found = ascii_escapes(word) | zeros(word ^ (ONES * 0xe2));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = |byte: &u8| *byte == 0xe2 || !matches!(PLAIN[usize::from(*byte)], 0 | 0x80);
    at + bytes[at..].iter().position(tail).unwrap_or(bytes.len() - at)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends an integer.
#[inline]
pub(super) fn put_integer<N: itoa::Integer>(out: &mut Vec<u8>, number: N) {
    put_short(out, itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a double; NaN and the infinities as strings (proto3 JSON).
#[inline]
pub(super) fn put_double(out: &mut Vec<u8>, number: f64) {
    let whole = number as i64;
    if whole as f64 == number && whole.unsigned_abs() < 1 << 53 && (whole != 0 || number.is_sign_positive()) {
        put_integer(out, whole);
    } else if number.is_finite() {
        put_float_text(out, zmij::Buffer::new().format_finite(number), number.abs());
    } else {
        put_non_finite(out, number);
    }
}

/// Appends a float.
#[inline]
pub(super) fn put_float(out: &mut Vec<u8>, number: f32) {
    let whole = number as i32;
    if whole as f32 == number && whole.unsigned_abs() < 1 << 24 && (whole != 0 || number.is_sign_positive()) {
        put_integer(out, whole);
    } else if number.is_finite() {
        put_float_text(out, zmij::Buffer::new().format_finite(number), f64::from(number.abs()));
    } else {
        put_non_finite(out, f64::from(number));
    }
}

fn put_non_finite(out: &mut Vec<u8>, number: f64) {
    out.extend_from_slice(match number {
        _ if number.is_nan() => b"\"NaN\"",
        _ if number > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    });
}

/// Go writes no `.0`, and an exponent only below 1e-6 and from 1e21 on.
#[inline]
fn put_float_text(out: &mut Vec<u8>, text: &str, size: f64) {
    if (1e-5..1e16).contains(&size) {
        put_short(out, text.strip_suffix(".0").unwrap_or(text).as_bytes());
    } else {
        put_float_digits(out, text, size);
    }
}

#[cold]
fn put_float_digits(out: &mut Vec<u8>, text: &str, size: f64) {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    // The value is 0.DIGITS x 10^point.
    let leading = all.len() - digits.len();
    let point = exponent.parse::<i32>().unwrap_or_default() + whole.len() as i32 - leading as i32;
    let digits = digits.trim_end_matches('0');
    out.extend_from_slice(sign.as_bytes());
    let length = digits.len() as i32;
    let text = if digits.is_empty() {
        "0".to_owned()
    } else if !(1e-6..1e21).contains(&size) {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let exponent = point - 1;
        // As Go: at least two digits after `e+`, one after `e-`.
        if exponent < 0 {
            format!("{first}{dot}{rest}e{exponent}")
        } else {
            format!("{first}{dot}{rest}e+{exponent:02}")
        }
    } else if point <= 0 {
        format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else if point >= length {
        format!("{digits}{}", "0".repeat((point - length) as usize))
    } else {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{whole}.{fraction}")
    };
    out.extend_from_slice(text.as_bytes());
}

/// Appends bytes in standard base64, as a string.
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        assert!(put_string(&mut out, text.as_bytes()));
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        for (text, json) in [
            ("", r#""""#),
            ("plain, and longer than a word", r#""plain, and longer than a word""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}", "\"\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}\""),
            ("<a href='x'>&amp;</a>", r#""\u003ca href='x'\u003e\u0026amp;\u003c/a\u003e""#),
            (
                "é\u{2028}ü\u{2029}\u{2027}€ ascii again and more",
                "\"é\\u2028ü\\u2029\u{2027}€ ascii again and more\"",
            ),
        ] {
            assert_eq!(string(text), json);
        }
        // Every byte at every place of a word.
        for byte in 0..0x80_u8 {
            for at in 0..20 {
                let mut text = vec![b'x'; 20];
                text[at] = byte;
                let text = String::from_utf8(text).expect("ASCII");
                let back: String = serde_json::from_str(&string(&text)).expect("JSON");
                assert_eq!(back, text);
            }
        }
        assert!(!put_string(&mut Vec::new(), b"abc\xff"));
        assert!(!put_string(&mut Vec::new(), b"abcdefgh<\xe2\x80"));
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"),
            (1.25e-10, "1.25e-10"),
            (1e16, "10000000000000000"),
            (1.5e17, "150000000000000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (-1.5e300, "-1.5e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (123_456_789.125, "123456789.125"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            let mut out = Vec::new();
            put_double(&mut out, number);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
        for (number, text) in
            [(0.1_f32, "0.1"), (1e10, "10000000000"), (3.4e38, "3.4e+38"), (16_777_216.0, "16777216")]
        {
            let mut out = Vec::new();
            put_float(&mut out, number);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
