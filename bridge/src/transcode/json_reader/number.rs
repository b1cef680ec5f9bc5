//! JSON numbers: integers in every notation, and floats correctly rounded.

use super::Reader;
use crate::transcode::fault::{JsonFault, JsonResult};

/// Why a number is no integer of the wanted size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transcode) enum NotInteger {
    Fraction,
    Range,
}

/// An integer beyond its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transcode) struct Integer {
    pub(in crate::transcode) negative: bool,
    pub(in crate::transcode) magnitude: u64,
}

impl Integer {
    #[inline]
    pub(in crate::transcode) fn signed(self) -> Option<i64> {
        if self.negative {
            0_i64.checked_sub_unsigned(self.magnitude)
        } else {
            i64::try_from(self.magnitude).ok()
        }
    }

    #[inline]
    pub(in crate::transcode) fn unsigned(self) -> Option<u64> {
        (!self.negative || self.magnitude == 0).then_some(self.magnitude)
    }
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

impl<'a> Reader<'a> {
    /// The text of a number that starts here.
    pub(in crate::transcode) fn number_text(&mut self) -> JsonResult<&'a [u8]> {
        let start = self.at;
        self.at += usize::from(self.byte() == b'-');
        if self.byte() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), b'+' | b'-'));
            self.digits()?;
        }
        Ok(&self.json[start..self.at])
    }

    fn digits(&mut self) -> JsonResult<()> {
        let start = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit in a number")) } else { Ok(()) }
    }

    /// Adds the digits at `at` to a number. It wraps where there are too many, which the callers count.
    #[inline(always)]
    fn take_digits(&self, at: &mut usize, number: &mut u64) {
        while let Some(eight) =
            self.json.get(*at..).and_then(|rest| rest.first_chunk::<8>()).and_then(eight_digits)
        {
            *number = number.wrapping_mul(100_000_000).wrapping_add(eight);
            *at += 8;
        }
        while let Some(digit) =
            self.json.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            *at += 1;
        }
    }

    /// An integer that starts here.
    #[inline(always)]
    pub(in crate::transcode) fn integer(&mut self) -> JsonResult<Result<Integer, NotInteger>> {
        let start = self.at;
        let negative = self.byte() == b'-';
        let first = start + usize::from(negative);
        let mut at = first;
        let mut magnitude = 0;
        self.take_digits(&mut at, &mut magnitude);
        let count = at - first;
        let plain = !matches!(self.json.get(at), Some(b'.' | b'e' | b'E'));
        if plain && count > 0 && count < 20 && (count == 1 || self.json[first] != b'0') {
            self.at = at;
            return Ok(Ok(Integer { negative, magnitude }));
        }
        let text = self.number_text()?;
        Ok(integral(text))
    }

    /// Digits with or without a point, and no exponent: sign, the digits as a number, how many stand after the point.
    #[inline(always)]
    fn decimal(&mut self) -> Option<(bool, u64, usize)> {
        let negative = self.byte() == b'-';
        let first = self.at + usize::from(negative);
        let (mut at, mut mantissa, mut scale) = (first, 0, 0);
        self.take_digits(&mut at, &mut mantissa);
        let whole = at - first;
        if self.json.get(at) == Some(&b'.') {
            let point = at + 1;
            at = point;
            self.take_digits(&mut at, &mut mantissa);
            scale = at - point;
            if scale == 0 {
                return None;
            }
        }
        let plain = !matches!(self.json.get(at), Some(b'.' | b'e' | b'E'));
        let leading = whole == 1 || whole > 1 && self.json[first] != b'0';
        if plain && leading && whole + scale < 20 {
            self.at = at;
            return Some((negative, mantissa, scale));
        }
        None
    }

    /// A double that starts here. None: too large for one.
    #[inline]
    pub(in crate::transcode) fn double(&mut self) -> JsonResult<Option<f64>> {
        if let Some((negative, mantissa, scale)) = self.decimal() {
            let number = match POWERS.get(scale) {
                // Both are exact as doubles, so one division rounds correctly.
                Some(power) if mantissa < 1 << 53 => mantissa as f64 / power,
                _ => quotient(mantissa, scale),
            };
            return Ok(Some(if negative { -number } else { number }));
        }
        let text = self.number_text()?;
        Ok(parse(text).filter(|number: &f64| number.is_finite()))
    }

    /// A float that starts here. None: too large for one.
    pub(in crate::transcode) fn float(&mut self) -> JsonResult<Option<f32>> {
        let start = self.at;
        if let Some((negative, mantissa, scale)) = self.decimal()
            && mantissa < 1 << 24
            && scale <= 10
        {
            // 10^10 is the largest power of ten that a float holds exactly.
            let number = mantissa as f32 / POWERS[scale] as f32;
            return Ok(Some(if negative { -number } else { number }));
        }
        self.at = start;
        let text = self.number_text()?;
        Ok(parse(text).filter(|number: &f32| number.is_finite()))
    }
}

/// Eight digits at once. None: not all are digits.
#[inline(always)]
fn eight_digits(text: &[u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(*text);
    let high = 0xf0f0_f0f0_f0f0_f0f0;
    if word & high | (word.wrapping_add(0x0606_0606_0606_0606) & high) >> 4 != 0x3333_3333_3333_3333 {
        return None;
    }
    // Pairs, then fours, then all eight.
    let word = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(2561) >> 8;
    let word = (word & 0x00ff_00ff_00ff_00ff).wrapping_mul(6_553_601) >> 16;
    Some((word & 0x0000_ffff_0000_ffff).wrapping_mul(42_949_672_960_001) >> 32)
}

/// `mantissa` / 10^`scale`, correctly rounded, for a scale below 20.
fn quotient(mantissa: u64, scale: usize) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // 10^scale is 5^scale times a power of two. The quotient has more bits than a double holds, and whether
    // anything is left of the division decides a tie.
    let zeros = mantissa.leading_zeros();
    let divisor = u128::from(5_u64.pow(scale as u32));
    let dividend = u128::from(mantissa << zeros) << 64;
    let all = dividend / divisor;
    let rest = dividend - all * divisor;
    let drop = 128 - all.leading_zeros() - 54;
    let kept = (all >> drop) as u64;
    let sticky = rest != 0 || all & ((1 << drop) - 1) != 0;
    let half = kept & 1 == 1;
    let mut bits = kept >> 1;
    bits += u64::from(half && (sticky || bits & 1 == 1));
    let exponent = i64::from(drop) + 1 - 64 - i64::from(zeros) - scale as i64;
    // Both factors are exact, and so is the product: it is far from the smallest and largest doubles.
    bits as f64 * f64::from_bits(((exponent + 1023) as u64) << 52)
}

fn parse<F: std::str::FromStr>(text: &[u8]) -> Option<F> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number in quotes: a whole JSON number and nothing else.
pub(in crate::transcode) fn in_quotes(text: &[u8]) -> bool {
    let mut reader = Reader::new(text);
    reader.number_text().is_ok() && reader.at == text.len()
}

/// The integer that a JSON number is, in whatever notation: `1.0`, `1e3`, `120e-1`.
pub(in crate::transcode) fn integral(text: &[u8]) -> Result<Integer, NotInteger> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(end);
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let fraction = mantissa.len().saturating_sub(point + 1);
    let digits = || mantissa.iter().filter(|byte| **byte != b'.').map(|byte| byte - b'0');
    let zeros = digits().rev().take_while(|digit| *digit == 0).count();
    let count = digits().count();
    if zeros == count {
        return Ok(Integer { negative, magnitude: 0 });
    }
    // The value is (digits without their trailing zeros) x 10^scale.
    let scale = exponent_value(exponent).saturating_sub(fraction as i64).saturating_add(zeros as i64);
    if scale < 0 {
        return Err(NotInteger::Fraction);
    }
    let mut magnitude = 0_u64;
    for digit in digits().take(count - zeros) {
        magnitude = magnitude
            .checked_mul(10)
            .and_then(|all| all.checked_add(digit.into()))
            .ok_or(NotInteger::Range)?;
    }
    let power =
        u32::try_from(scale).ok().and_then(|scale| 10_u64.checked_pow(scale)).ok_or(NotInteger::Range)?;
    let magnitude = magnitude.checked_mul(power).ok_or(NotInteger::Range)?;
    Ok(Integer { negative, magnitude })
}

/// The exponent after `e`, held to a size that no length of mantissa undoes.
fn exponent_value(text: &[u8]) -> i64 {
    let (sign, digits) = match text {
        [] => return 0,
        [_, b'-', digits @ ..] => (-1, digits),
        [_, b'+', digits @ ..] | [_, digits @ ..] => (1, digits),
    };
    let size = digits.iter().fold(0_i64, |all, digit| (all * 10 + i64::from(digit - b'0')).min(1 << 48));
    sign * size
}

/// A base-10 integer as it stands in a map key: digits, no sign but `-`, no leading zeros.
pub(in crate::transcode) fn key_integer(text: &[u8]) -> Option<Integer> {
    let mut reader = Reader::new(text);
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    match reader.integer() {
        Ok(Ok(integer)) if reader.at == text.len() => Some(integer),
        _ => None,
    }
}

/// The start of a value that is out of range, for an error: short, whatever the client wrote.
pub(in crate::transcode) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

impl NotInteger {
    pub(in crate::transcode) fn fault(self, offset: usize, text: &[u8], expected: &str) -> Box<JsonFault> {
        let text = shown(text);
        JsonFault::value(
            offset,
            match self {
                Self::Fraction => format!("must be {expected}, not the number {text}"),
                Self::Range => format!("{text} is out of range, must be {expected}"),
            },
        )
    }
}
