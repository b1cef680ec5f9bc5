//! The wire in every legal order, and in none.

use kubridge_bridge::transcode::{MAX_DEPTH, UnknownFields, WireError};

use super::support::{all, len, message, parse, specials, to_json, varint};

#[test]
fn fields_in_any_order_and_in_pieces() {
    let inner = message("test.v1.Inner");
    for (wire, json) in [
        ([varint(2, 1), len(1, b"a")].concat(), r#"{"name":"a","count":1}"#),
        ([len(1, b"a"), len(1, b"b")].concat(), r#"{"name":"b"}"#),
        ([varint(2, 1), varint(2, 0)].concat(), "{}"),
        ([len(3, &len(1, b"a")), len(3, &varint(2, 5))].concat(), r#"{"inner":{"name":"a","count":5}}"#),
        (
            [len(3, &len(3, &len(1, b"a"))), len(3, &len(3, &varint(2, 5)))].concat(),
            r#"{"inner":{"inner":{"name":"a","count":5}}}"#,
        ),
        (
            [len(4, &len(1, b"a")), len(1, b"n"), len(4, b"")].concat(),
            r#"{"name":"n","inners":[{"name":"a"},{}]}"#,
        ),
        (
            [len(5, &len(1, b"k")), len(1, b"n"), len(5, &len(1, b"a"))].concat(),
            r#"{"name":"n","byName":{"a":{},"k":{}}}"#,
        ),
    ] {
        assert_eq!(to_json(&inner, &wire).unwrap(), json);
    }
    let tail = r#""shown":0,"shownText":"","shownPower":"Unspecified","shownFlag":false,"shownList":[]"#;
    for (wire, json) in [
        // The oneof's last member counts, and a message's pieces since.
        ([varint(51, 1), len(50, b"x")].concat(), r#""aText":"x""#),
        ([len(50, b"x"), varint(51, 1)].concat(), r#""aNumber":1"#),
        (
            [len(52, &len(1, b"a")), varint(51, 1), len(52, &varint(2, 5))].concat(),
            r#""anInner":{"count":5}"#,
        ),
        ([len(52, &len(1, b"a")), len(52, &varint(2, 5))].concat(), r#""anInner":{"name":"a","count":5}"#),
        // Packed, unpacked, in pieces.
        ([len(30, &[1, 2]), varint(30, 3), len(30, &[]), len(30, &[4])].concat(), r#""numbers":[1,2,3,4]"#),
        ([len(30, &[1]), varint(2, 9), varint(30, 2)].concat(), r#""i32":9,"numbers":[1,2]"#),
        ([len(31, &[1, 2]), varint(31, 3)].concat(), r#""loose":[1,2,3]"#),
        // Numbers are cut to their size.
        (varint(2, 0x1_0000_0001), r#""i32":1"#),
        (varint(4, 0x1_0000_0001), r#""u32":1"#),
        (varint(14, 2), r#""flag":true"#),
    ] {
        assert_eq!(to_json(&all(), &wire).unwrap(), format!("{{{json},{tail}}}"));
    }
    // Shown zeros keep their place when fields come out of order.
    let wire = [len(74, b"x"), varint(72, 1)].concat();
    assert_eq!(
        to_json(&all(), &wire).unwrap(),
        r#"{"shown":0,"shownText":"","shownPower":"On","shownFlag":false,"shownList":["x"]}"#
    );
}

#[test]
fn disorder_at_every_level_costs_no_more_than_two_readings() {
    let mut wire = varint(2, 1);
    for _ in 0..MAX_DEPTH - 1 {
        wire = [len(3, &wire), len(1, b"x")].concat();
    }
    assert!(to_json(&message("test.v1.Inner"), &wire).is_ok());
}

#[test]
fn unknown_fields_are_noticed() {
    let inner = message("test.v1.Inner");
    let notices = |wire: &[u8]| inner.to_json(wire, None, &mut Vec::new()).unwrap().unknown_fields;
    assert!(!notices(&len(1, b"a")));
    assert!(notices(&varint(9, 1)));
    assert!(notices(&len(3, &[len(1, b"a"), len(99, b"b")].concat())));
    assert!(notices(&len(5, &[len(1, b"a"), varint(3, 1)].concat())));
    let mut out = Vec::new();
    assert!(specials().to_json(&len(8, &varint(3, 1)), None, &mut out).unwrap().unknown_fields);
    assert!(specials().to_json(&len(11, &varint(3, 1)), None, &mut out).unwrap().unknown_fields);
}

#[test]
fn unknown_fields_are_collected_by_path() {
    let inner = message("test.v1.Inner");
    let wire = [
        varint(9, 1),
        len(3, &[len(1, b"a"), len(99, b"b")].concat()),
        len(3, &varint(98, 1)),
        varint(10, 2),
    ]
    .concat();
    assert_eq!(
        inner.unknown_fields(&wire).unwrap(),
        [
            UnknownFields { path: vec![], raw: [varint(9, 1), varint(10, 2)].concat() },
            UnknownFields { path: vec![3], raw: [len(99, b"b"), varint(98, 1)].concat() },
        ]
    );
    assert_eq!(inner.unknown_fields(&len(4, &len(1, b"x"))).unwrap(), []);
    let path = |wire: &[u8]| inner.unknown_fields(wire).unwrap_err().path;
    assert_eq!(path(&len(4, &varint(9, 1))), "inners");
    assert_eq!(path(&len(3, &len(4, &len(3, &varint(9, 1))))), "inner.inners");
    assert_eq!(path(&len(5, &len(2, &varint(9, 1)))), "byName");
    assert_eq!(path(&len(5, &varint(9, 1))), "byName");
}

#[test]
fn single_fields_are_written() {
    let all = all();
    let wire = [
        varint(2, 7),
        len(60, &len(1, b"a")),
        len(30, &[1, 2]),
        len(60, &varint(2, 5)),
        varint(20, 0),
        varint(51, 3),
        len(50, b"x"),
    ]
    .concat();
    let write = |name: &str| {
        let mut out = b"=".to_vec();
        let shown = all.field(name).unwrap().write_json(&wire, &mut out).unwrap();
        (shown, String::from_utf8(out).unwrap())
    };
    for (name, value) in [
        ("i32", "7"),
        ("inner", r#"{"name":"a","count":5}"#),
        ("numbers", "[1,2]"),
        ("optNumber", "0"),
        ("aText", r#""x""#),
        ("shown", "0"),
        ("shownList", "[]"),
    ] {
        assert_eq!(write(name), (true, format!("={value}")), "{name}");
    }
    for name in ["i64", "aNumber", "texts", "labels", "anInner", "optText"] {
        assert_eq!(write(name), (false, "=".to_owned()), "{name}");
    }
    assert!(all.field("opt_number").is_none());
    let field = all.field("inner").unwrap();
    assert_eq!((field.number(), field.message().unwrap().full_name()), (60, "test.v1.Inner"));
    assert!(specials().field("time").unwrap().message().is_none());
    assert!(all.field("inners").unwrap().message().is_none());
    let mut out = Vec::new();
    assert!(all.field("i32").unwrap().write_json(&[0x10], &mut out).is_err());
    assert!(out.is_empty());
}

#[test]
fn malformed_wire_is_named_with_its_path() {
    for (wire, path, offset) in [
        (vec![0x10], "test.v1.All", 1),
        (vec![0xff; 12], "test.v1.All", 0),
        (vec![0x00, 0x01], "test.v1.All", 0),
        // Ten bytes of 0x80 and more than 64 bits.
        ([vec![0x18], vec![0xff; 9], vec![0x02]].concat(), "i64", 1),
        (vec![0x7a, 0x05, b'a'], "text", 1),
        (vec![0x7a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "text", 1),
        (vec![0x61, 1, 2, 3], "dbl", 1),
        // Groups, and types that the schema does not say.
        (vec![0x13], "i32", 1),
        (vec![0x12, 0x01, 0x01], "i32", 1),
        (vec![0x9b, 0x06], "test.v1.All", 2),
        ([len(34, b""), len(34, &len(3, &[0x0a, 0x09]))].concat(), "inners[1].inner.name", 9),
        (len(30, &[1, 2, 0x80]), "numbers[2]", 5),
    ] {
        let error = to_json(&all(), &wire).unwrap_err();
        assert!(
            matches!(&error, WireError::Malformed { path: p, offset: o } if (p.as_str() == path || wire[0] == 0x10) && *o == offset),
            "{wire:?}: {error:?}"
        );
    }
    assert_eq!(to_json(&all(), &len(15, b"\xff")).unwrap_err(), WireError::Utf8 { path: "text".to_owned() });
    let entry = [len(1, b"k\xc0"), len(2, b"")].concat();
    assert_eq!(to_json(&all(), &len(40, &entry)).unwrap_err(), WireError::Utf8 { path: "labels".to_owned() });
    let entry = [len(1, b"k"), len(2, b"\xed\xa0\x80")].concat();
    assert_eq!(
        to_json(&all(), &len(40, &entry)).unwrap_err(),
        WireError::Utf8 { path: "labels.k".to_owned() }
    );
}

#[test]
fn values_without_a_form_in_json_are_errors() {
    let nan = [vec![0x11], f64::NAN.to_le_bytes().to_vec()].concat();
    for (wire, text) in [
        (
            len(1, &varint(1, 1 << 60)),
            "time: 1152921504606846976 seconds since 1970, outside of the years 1 to 9999",
        ),
        (len(2, &varint(2, 1_000_000_000)), "microTime: 1000000000 nanoseconds, not within a second"),
        (len(5, &varint(1, 2)), "port: an IntOrString of type 2, not 0 or 1"),
        (
            len(9, &[varint(1, 1), varint(2, -1_i64 as u64)].concat()),
            "duration: 1 seconds and -1 nanoseconds are no duration",
        ),
        (
            len(10, &len(1, b"fooBar")),
            r#"mask: the field mask path "fooBar" has no form in JSON: it is not lower_snake_case"#,
        ),
        (len(12, &nan), "value: NaN in a google.protobuf.Value has no form in JSON"),
        (
            len(14, &len(1, b"x/no.Such")),
            r#"any: an Any of type "x/no.Such", which the schema does not have"#,
        ),
        (
            len(7, &len(1, b"{\"a\":}")),
            "raw: raw bytes that are not JSON: line 1, column 6: invalid character '}', expected a value",
        ),
        (
            len(30, &len(1, b"1 2")),
            "raws[0]: raw bytes that are not JSON: line 1, column 3: invalid character '2', expected the end of the JSON input",
        ),
    ] {
        assert_eq!(to_json(&specials(), &wire).unwrap_err().to_string(), text);
    }
    assert_eq!(
        to_json(&specials(), &len(7, &len(1, b"\xff"))).unwrap_err(),
        WireError::Utf8 { path: "raw".to_owned() }
    );
}

#[test]
fn depth_is_limited() {
    let inner = message("test.v1.Inner");
    for field in [3, 4] {
        let mut wire = Vec::new();
        let steps = if field == 3 { MAX_DEPTH - 1 } else { MAX_DEPTH / 2 - 1 };
        for _ in 0..steps {
            wire = len(field, &wire);
        }
        assert!(to_json(&inner, &wire).is_ok());
        assert!(matches!(to_json(&inner, &len(field, &wire)), Err(WireError::TooDeep { .. })));
    }
    let mut wire = Vec::new();
    for _ in 0..100_000 {
        wire = if wire.len() < 200_000 { len(3, &wire) } else { break };
    }
    assert!(matches!(to_json(&inner, &wire), Err(WireError::TooDeep { .. })));
    let raw = |depth: usize| len(7, &len(1, [vec![b'['; depth], vec![b']'; depth]].concat().as_slice()));
    assert!(to_json(&specials(), &raw(MAX_DEPTH - 1)).is_ok());
    assert_eq!(
        to_json(&specials(), &raw(MAX_DEPTH)).unwrap_err(),
        WireError::TooDeep { path: "raw".to_owned() }
    );
}

#[test]
fn long_messages_have_their_lengths() {
    let inner = message("test.v1.Inner");
    for size in [0, 127, 128, 16_000, 17_000, 300_000] {
        let text = "x".repeat(size);
        let json = format!(
            r#"{{"inner":{{"inner":{{"name":"{text}y"}},"inners":[{{"name":"{text}z"}},{{"count":1}}]}},"inners":[{{}}]}}"#
        );
        let wire = parse(&inner, &json).unwrap().wire;
        assert_eq!(to_json(&inner, &wire).unwrap(), json);
    }
}
