use super::{
    Reader,
    number::{Integer, NotInteger, integral},
};

fn string(json: &str) -> Option<String> {
    let mut reader = Reader::new(json.as_bytes());
    let text = reader.string().ok()?.into_owned();
    (reader.at == json.len()).then(|| String::from_utf8(text).expect("UTF-8"))
}

#[test]
fn strings_are_unescaped() {
    for (json, text) in [
        (r#""""#, ""),
        (r#""a longer text without escapes""#, "a longer text without escapes"),
        (r#""a\"b\\c\/d\b\f\n\r\t""#, "a\"b\\c/d\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u20AC\ud83d\ude00 and é€""#, "é€😀 and é€"),
    ] {
        assert_eq!(string(json).as_deref(), Some(text), "{json}");
    }
    for bad in [
        r#""a"#,
        r#""\x""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        r#""\u12g4""#,
        "\"a\nb\"",
        r#""\"#,
    ] {
        assert_eq!(string(bad), None, "{bad}");
    }
    // The quote at every place of a word.
    for length in 0..30 {
        let text = "x".repeat(length);
        assert_eq!(string(&format!("\"{text}\"")), Some(text));
    }
}

#[test]
fn integers_are_read_in_every_notation() {
    for (text, value) in [
        ("0", 0),
        ("-0", 0),
        ("1.0", 1),
        ("1e3", 1000),
        ("-1.50e1", -15),
        ("120e-1", 12),
        ("0e999999999999999999999", 0),
        ("1000000000000000000000000e-24", 1),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(integral(text.as_bytes()).ok().and_then(Integer::signed), Some(value), "{text}");
        let read = Reader::new(text.as_bytes()).integer().expect("a number");
        assert_eq!(read.ok().and_then(Integer::signed), Some(value), "{text}");
    }
    for (text, error) in [
        ("1.5", NotInteger::Fraction),
        ("1e-1", NotInteger::Fraction),
        ("1e-99999999999999999999", NotInteger::Fraction),
        ("1e99999999999999999999", NotInteger::Range),
        ("18446744073709551616", NotInteger::Range),
    ] {
        assert_eq!(Reader::new(text.as_bytes()).integer().expect("a number"), Err(error), "{text}");
    }
    for bad in ["-", "01", "1.", ".5", "1e", "1e+", "+1", "--1"] {
        let mut reader = Reader::new(bad.as_bytes());
        assert!(reader.integer().is_err() || reader.at < bad.len(), "{bad}");
        let mut reader = Reader::new(bad.as_bytes());
        assert!(reader.double().is_err() || reader.at < bad.len(), "{bad}");
    }
}

#[test]
fn doubles_are_rounded_correctly() {
    for text in [
        "0",
        "-0.0",
        "0.1",
        "123.456",
        "1e22",
        "1.7976931348623157e308",
        "5e-324",
        "9007199254740993",
        "0.30000000000000004",
    ] {
        let read = Reader::new(text.as_bytes()).double().expect("a number").expect("in range");
        assert_eq!(read.to_bits(), text.parse::<f64>().expect("a number").to_bits(), "{text}");
    }
    // Against the standard library, over all lengths of digits before and after the point.
    let mut state = 1_u64;
    for round in 0..200_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
        let digits = (state >> (state % 60)).to_string();
        let point = (state >> 32) as usize % (digits.len() + 1);
        let (whole, fraction) = digits.split_at(point);
        let whole = if whole.is_empty() { "0" } else { whole };
        let text = if fraction.is_empty() { whole.to_owned() } else { format!("-{whole}.{fraction}") };
        let read = Reader::new(text.as_bytes()).double().expect("a number").expect("in range");
        assert_eq!(read.to_bits(), text.parse::<f64>().expect("a number").to_bits(), "{text}");
        let read = Reader::new(text.as_bytes()).float().expect("a number").expect("in range");
        assert_eq!(read.to_bits(), text.parse::<f32>().expect("a number").to_bits(), "{text}");
    }
    assert_eq!(Reader::new(b"1e400").double().expect("a number"), None);
    assert_eq!(Reader::new(b"1e39").float().expect("a number"), None);
}

#[test]
fn values_are_copied_without_white_space() {
    let json = " { \"a\" : [ 1 , \"<\\u003c \" , null ] , \"b\" : { } } ";
    let copy = |escape| {
        let (mut out, mut reader) = (Vec::new(), Reader::new(json.as_bytes()));
        reader.copy_value(0, &mut out, escape).expect("JSON");
        reader.end().expect("the end");
        String::from_utf8(out).expect("UTF-8")
    };
    assert_eq!(copy(false), r#"{"a":[1,"<\u003c ",null],"b":{}}"#);
    assert_eq!(copy(true), r#"{"a":[1,"\u003c\u003c ",null],"b":{}}"#);
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(Reader::new(deep(100).as_bytes()).skip_value(0).is_ok());
    assert!(Reader::new(deep(101).as_bytes()).skip_value(0).is_err());
    assert!(Reader::new(deep(101).as_bytes()).copy_value(0, &mut Vec::new(), true).is_err());
}
