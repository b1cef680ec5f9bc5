//! Instants and durations as text: RFC 3339, proto3 JSON's durations, and Go's.

/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: the years that RFC 3339 has.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;
/// The first second of year 1, where google.protobuf.Timestamp starts.
pub(super) const YEAR_ONE: i64 = -62_135_596_800;
/// google.protobuf.Duration: about 10,000 years.
const DURATION_SECONDS: i64 = 315_576_000_000;
const NANOS: i64 = 1_000_000_000;

/// Days since 1970-01-01 -> year, month, day (proleptic Gregorian calendar).
fn civil(days: i64) -> (i64, i64, i64) {
    // Years start in March here, so that the leap day is the last one.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Year, month, day -> days since 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - 719_468
}

fn put_digits(out: &mut Vec<u8>, number: i64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    let mut number = number;
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Appends an instant in RFC 3339, UTC, without quotes: whole seconds, or with `fraction` digits of them.
/// False: the year has not four digits.
pub(super) fn put_instant(out: &mut Vec<u8>, seconds: i64, nanos: i64, fraction: usize) -> bool {
    if !YEARS.contains(&seconds) {
        return false;
    }
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    for (number, width, end) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
    ] {
        put_digits(out, number, width);
        out.push(end);
    }
    if fraction == 0 {
        out.pop();
    } else {
        put_digits(out, nanos / 10_i64.pow(9 - fraction.min(9) as u32), fraction);
    }
    out.push(b'Z');
    true
}

/// An instant in RFC 3339, as proto3 JSON writes it; `None`: the year has not four digits.
pub(crate) fn rfc3339(seconds: i64, nanos: i32) -> Option<String> {
    let mut out = Vec::new();
    let nanos = i64::from(nanos);
    put_instant(&mut out, seconds, nanos, fraction_digits(nanos)).then(|| String::from_utf8(out).ok())?
}

/// How many digits proto3 JSON writes of a fraction: none, 3, 6 or 9.
pub(super) fn fraction_digits(nanos: i64) -> usize {
    match nanos {
        0 => 0,
        _ if nanos % 1_000_000 == 0 => 3,
        _ if nanos % 1000 == 0 => 6,
        _ => 9,
    }
}

/// Reads an instant in RFC 3339: seconds since 1970 and nanoseconds. Digits beyond the ninth are dropped.
pub(super) fn parse_instant(text: &[u8]) -> Option<(i64, i64)> {
    let digits = |from: usize, to: usize| -> Option<i64> { number(text.get(from..to)?) };
    let byte = |at: usize| text.get(at).copied();
    if byte(4)? != b'-' || byte(7)? != b'-' || byte(10)? != b'T' || byte(13)? != b':' || byte(16)? != b':' {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let [b'.', fraction @ ..] = rest {
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        nanos = fraction_nanos(&fraction[..count]);
        rest = &fraction[count..];
    }
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    YEARS.contains(&seconds).then_some((seconds, nanos))
}

/// A decimal number of digits only; at most 18 of them.
fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |all, byte| byte.is_ascii_digit().then(|| all * 10 + i64::from(byte - b'0')))
}

/// The digits after a point, as nanoseconds.
fn fraction_nanos(digits: &[u8]) -> i64 {
    let digits = &digits[..digits.len().min(9)];
    digits.iter().fold(0, |all, byte| all * 10 + i64::from(byte - b'0')) * 10_i64.pow(9 - digits.len() as u32)
}

/// Appends proto3 JSON's form of a duration, without quotes: "90.500s". False: out of range, or mixed signs.
pub(super) fn put_duration(out: &mut Vec<u8>, seconds: i64, nanos: i64) -> bool {
    let mixed = seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0;
    if mixed || seconds.unsigned_abs() > DURATION_SECONDS.unsigned_abs() || nanos.abs() >= NANOS {
        return false;
    }
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(seconds.unsigned_abs()).as_bytes());
    let digits = fraction_digits(nanos);
    if digits > 0 {
        out.push(b'.');
        put_digits(out, nanos.abs() / 10_i64.pow(9 - digits as u32), digits);
    }
    out.push(b's');
    true
}

/// Reads a duration in proto3 JSON's form, or else in Go's: seconds and nanoseconds of one sign.
pub(super) fn parse_duration(text: &[u8]) -> Option<(i64, i64)> {
    parse_seconds(text).or_else(|| parse_go_duration(text).map(|nanos| (nanos / NANOS, nanos % NANOS)))
}

/// "-90.5s": seconds with up to nine digits after the point.
fn parse_seconds(text: &[u8]) -> Option<(i64, i64)> {
    let (sign, text) = match text {
        [b'-', rest @ ..] => (-1, rest),
        _ => (1, text),
    };
    let text = text.strip_suffix(b"s")?;
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b""[..]),
    };
    if fraction.len() > 9 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = number(whole).filter(|seconds| *seconds <= DURATION_SECONDS)?;
    let nanos = fraction_nanos(fraction);
    if seconds == DURATION_SECONDS && nanos > 0 {
        return None;
    }
    Some((sign * seconds, sign * nanos))
}

/// Appends Go's form of a duration in nanoseconds, without quotes: "1m30.5s", "1.5ms", "0s".
pub(super) fn put_go_duration(out: &mut Vec<u8>, duration: i64) {
    let all = duration.unsigned_abs();
    if duration < 0 {
        out.push(b'-');
    }
    // Below a second: one unit, the largest that leaves a whole part.
    let (unit, scale) = match all {
        0 => return out.extend_from_slice(b"0s"),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("µs", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let minutes = all / (60 * 1_000_000_000);
    if minutes >= 60 {
        out.extend_from_slice(format!("{}h", minutes / 60).as_bytes());
    }
    if minutes > 0 {
        out.extend_from_slice(format!("{}m", minutes % 60).as_bytes());
    }
    let rest = all % (60 * 1_000_000_000);
    out.extend_from_slice((rest / scale).to_string().as_bytes());
    let fraction = rest % scale;
    if fraction > 0 {
        let width = scale.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
    out.extend_from_slice(unit.as_bytes());
}

/// Reads a duration in Go's form, as nanoseconds.
pub(super) fn parse_go_duration(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut all: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() || whole.len() > 20 {
            return None;
        }
        let units = [
            ("ns", 1),
            ("us", 1_000),
            ("µs", 1_000),
            ("μs", 1_000),
            ("ms", 1_000_000),
            ("s", NANOS),
            ("m", 60 * NANOS),
            ("h", 3600 * NANOS),
        ];
        let (unit, scale) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        rest = &after[unit.len()..];
        all += whole.parse::<i128>().unwrap_or_default() * i128::from(scale);
        let fraction = &fraction[..fraction.len().min(15)];
        let part = fraction.parse::<i128>().unwrap_or_default() * i128::from(scale);
        all += part / 10_i128.pow(fraction.len() as u32);
        if all > i128::from(i64::MAX) + 1 {
            return None;
        }
    }
    i64::try_from(if negative { -all } else { all }).ok()
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests;
