//! How long ago something was, for people (k8s.io/apimachinery, util/duration).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `5s`, `3m20s`, `4h`, `2d3h`, `1y20d`: coarser the longer it is.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match (minutes, hours, days) {
        (0..2, ..) => format!("{seconds}s"),
        (2..10, ..) => two(minutes, "m", seconds % 60, "s"),
        (10..180, ..) => format!("{minutes}m"),
        (_, 0..8, _) => two(hours, "h", minutes % 60, "m"),
        (_, 8..48, _) => format!("{hours}h"),
        (_, _, 0..8) => two(days, "d", hours % 24, "h"),
        (_, _, 8..730) => format!("{days}d"),
        (_, _, 730..2920) => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// The age of an RFC 3339 instant. Up to two seconds in the future are the clocks' difference.
pub(super) fn age(instant: &str, now: SystemTime) -> String {
    let Some(then) = unix_seconds(instant) else { return "<invalid>".into() };
    let now = match now.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    };
    match now.saturating_sub(then) {
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        seconds => human_duration(Duration::from_secs(seconds.unsigned_abs())),
    }
}

/// The whole seconds of an RFC 3339 instant.
fn unix_seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let at = text.len() - zone.len();
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            sign * (hours * 3600 + minutes * 60)
        }
    };
    // Days of the proleptic Gregorian calendar, counted in years that begin in March.
    let shifted = (month + 9) % 12;
    let years = year - i64::from(month <= 2);
    let days = 365 * years + years.div_euclid(4) - years.div_euclid(100)
        + years.div_euclid(400)
        + (shifted * 306 + 5) / 10
        + day
        - 1
        - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}
