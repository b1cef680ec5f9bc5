use super::*;

fn instant(seconds: i64, nanos: i64, fraction: usize) -> String {
    let mut out = Vec::new();
    assert!(put_instant(&mut out, seconds, nanos, fraction));
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn instants_are_written_and_read() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_795_410_307, "2026-11-23T05:05:07Z"),
        (YEAR_ONE, "0001-01-01T00:00:00Z"),
        (*YEARS.start(), "0000-01-01T00:00:00Z"),
        (*YEARS.end(), "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(instant(seconds, 0, 0), text);
        assert_eq!(parse_instant(text.as_bytes()), Some((seconds, 0)), "{text}");
    }
    assert_eq!(instant(0, 1_500, 6), "1970-01-01T00:00:00.000001Z");
    assert!(!put_instant(&mut Vec::new(), YEARS.end() + 1, 0, 0));
    assert!(!put_instant(&mut Vec::new(), i64::MIN, 0, 0));
}

#[test]
fn every_day_of_four_centuries_round_trips() {
    for day in 0..146_097 {
        let seconds = YEAR_ONE + day * 86_400 + 12 * 3600;
        assert_eq!(parse_instant(instant(seconds, 0, 0).as_bytes()), Some((seconds, 0)));
    }
}

#[test]
fn offsets_and_fractions_are_read() {
    for (text, seconds, nanos) in [
        ("1970-01-01T01:00:00+01:00", 0, 0),
        ("1969-12-31T16:30:00.5-07:30", 0, 500_000_000),
        ("1970-01-01T00:00:00.1234567899Z", 0, 123_456_789),
    ] {
        assert_eq!(parse_instant(text.as_bytes()), Some((seconds, nanos)), "{text}");
    }
    for bad in [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01t00:00:00z",
        "1970-13-01T00:00:00Z",
        "1971-02-29T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00+0100",
        "1970-01-01T00:00:00ZZ",
        "0000-01-01T00:00:00+01:00",
        "1970-01-01T00:00:00\u{e9}",
    ] {
        assert_eq!(parse_instant(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn durations_are_written_and_read() {
    for (seconds, nanos, text) in [
        (0, 0, "0s"),
        (90, 500_000_000, "90.500s"),
        (-1, -1_000, "-1.000001s"),
        (0, -1, "-0.000000001s"),
        (DURATION_SECONDS, 0, "315576000000s"),
    ] {
        let mut out = Vec::new();
        assert!(put_duration(&mut out, seconds, nanos));
        assert_eq!(String::from_utf8_lossy(&out), text);
        assert_eq!(parse_duration(text.as_bytes()), Some((seconds, nanos)), "{text}");
    }
    assert_eq!(parse_duration(b"1m30.5s"), Some((90, 500_000_000)));
    assert_eq!(parse_duration(b"-1m"), Some((-60, 0)));
    for bad in ["", "s", "1", "-", "315576000001s", "1.5", "1e3s", "1 s"] {
        assert_eq!(parse_duration(bad.as_bytes()), None, "{bad}");
    }
    for (seconds, nanos) in [(1, -1), (-1, 1), (DURATION_SECONDS + 1, 0), (i64::MIN, 0), (0, NANOS)] {
        assert!(!put_duration(&mut Vec::new(), seconds, nanos));
    }
}

#[test]
fn go_durations_are_written_and_read() {
    for (nanos, text) in [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (90_500_000_000, "1m30.5s"),
        (3_600_000_000_000, "1h0m0s"),
        (4_205_001_000_000, "1h10m5.001s"),
        (-1_500_000_000, "-1.5s"),
        (i64::MAX, "2562047h47m16.854775807s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        let mut out = Vec::new();
        put_go_duration(&mut out, nanos);
        assert_eq!(String::from_utf8_lossy(&out), text);
        assert_eq!(parse_go_duration(text.as_bytes()), Some(nanos), "{text}");
    }
    for (text, nanos) in [
        ("0", 0),
        ("+5s", 5 * NANOS),
        (".5s", NANOS / 2),
        ("1.s", NANOS),
        ("1h1ns", 3600 * NANOS + 1),
        ("1us", 1000),
    ] {
        assert_eq!(parse_go_duration(text.as_bytes()), Some(nanos), "{text}");
    }
    for bad in ["", "-", "5", ".s", "1d", "1h ", "99999999999999999999999h", "2562047h47m16.854775808s"] {
        assert_eq!(parse_go_duration(bad.as_bytes()), None, "{bad}");
    }
}
