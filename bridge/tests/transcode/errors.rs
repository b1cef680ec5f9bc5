//! Bad JSON: what is reported, and where.

use kubridge_bridge::transcode::{JsonError, MAX_DEPTH};

use super::support::{all, message, parse, specials, to_json};

#[track_caller]
fn unknown(json: &str, paths: &[&str]) {
    let parsed = parse(&all(), json).unwrap();
    assert_eq!(parsed.unknown, paths, "{json}");
}

#[test]
fn unknown_fields_are_named_by_their_path() {
    unknown(r#"{"foo":1,"inner":{"bar":{"x":[1,{}]},"name":"n"}}"#, &["foo", "inner.bar"]);
    unknown(
        r#"{"inners":[{"name":"a"},{"bogus":null,"inner":{"Name":1}}]}"#,
        &["inners[1].bogus", "inners[1].inner.Name"],
    );
    unknown(r#"{"innerByName":{"a.b":{"x":1}}}"#, &["innerByName.a.b.x"]);
    // Only the JSON name counts, in its case.
    unknown(
        r#"{"opt_text":"x","OptText":"x","pod_cidr":"x","podCidr":"x"}"#,
        &["opt_text", "OptText", "pod_cidr", "podCidr"],
    );
    unknown(r#"{"foo":1,"foo":2}"#, &["foo"]);
    unknown(r#"{"metadata":{"labels":{"foo":"bar"},"zone":1}}"#, &["metadata.zone"]);
    let many: Vec<_> = (0..1000).map(|n| format!("\"x{n}\":0")).collect();
    assert_eq!(parse(&all(), &format!("{{{}}}", many.join(","))).unwrap().unknown.len(), 100);
    // A name in escapes is the same name.
    assert_eq!(parse(&all(), r#"{"\u006932":5}"#).unwrap().wire, [0x10, 5]);
}

#[test]
fn the_last_duplicate_wins() {
    for (json, same_as, paths) in [
        (r#"{"i32":1,"i32":0}"#, "{}", vec!["i32"]),
        (r#"{"text":"a","text":null}"#, "{}", vec!["text"]),
        (
            r#"{"inner":{"name":"a","count":1},"inner":{"name":"b"}}"#,
            r#"{"inner":{"name":"b"}}"#,
            vec!["inner"],
        ),
        (r#"{"numbers":[1],"i32":1,"numbers":[2]}"#, r#"{"i32":1,"numbers":[2]}"#, vec!["numbers"]),
        (r#"{"labels":{"a":"1","a":"2"}}"#, r#"{"labels":{"a":"2"}}"#, vec!["labels.a"]),
        (r#"{"labels":{"b":"1","a":"2","b":"3"}}"#, r#"{"labels":{"a":"2","b":"3"}}"#, vec!["labels.b"]),
        (r#"{"aText":"a","aText":"b"}"#, r#"{"aText":"b"}"#, vec!["aText"]),
        (
            r#"{"inners":[{"name":"a","inner":{"count":1,"count":2},"name":"b"}]}"#,
            r#"{"inners":[{"name":"b","inner":{"count":2}}]}"#,
            vec!["inners[0].name", "inners[0].inner.count"],
        ),
        (r#"{"i32":1,"i32":2,"i32":3}"#, r#"{"i32":3}"#, vec!["i32"]),
        (r#"{"text":"a","t\u0065xt":"b"}"#, r#"{"text":"b"}"#, vec!["text"]),
    ] {
        let parsed = parse(&all(), json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let expected = to_json(&all(), &parse(&all(), same_as).unwrap().wire).unwrap();
        assert_eq!(to_json(&all(), &parsed.wire).unwrap(), expected, "{json}");
        assert_eq!(parsed.duplicates, paths, "{json}");
    }
    let parsed = parse(&specials(), r#"{"struct":{"a":1,"a":{"b":1,"b":2}},"raw":{"a":1,"a":2}}"#).unwrap();
    assert_eq!(parsed.duplicates, ["struct.a", "struct.a.b"]);
    assert_eq!(
        to_json(&specials(), &parsed.wire).unwrap(),
        r#"{"raw":{"a":1,"a":2},"struct":{"a":{"b":2}}}"#
    );
    let parsed =
        parse(&specials(), r#"{"any":{"@type":"x/y","name":"a","@type":"x/test.v1.Inner","name":"b"}}"#);
    assert!(parsed.is_err(), "the type that is read first is no type: {parsed:?}");
    // Many keys that are not in order.
    let keys: Vec<_> = (0..100).map(|n| format!("\"k{}\":\"{n}\"", n * 37 % 90)).collect();
    assert_eq!(
        parse(&all(), &format!("{{\"labels\":{{{}}}}}", keys.join(","))).unwrap().duplicates.len(),
        10
    );
}

#[test]
fn duplicates_that_nest_cost_no_more_than_two_readings() {
    let (mut open, mut close) = (String::new(), String::new());
    for _ in 0..90 {
        open.push_str(r#"{"name":"a","name":"b","inner":"#);
        close.push('}');
    }
    let json = format!("{open}{{}}{close}");
    let parsed = parse(&message("test.v1.Inner"), &json).unwrap();
    assert_eq!(parsed.duplicates.len(), 90);
}

#[test]
fn type_errors_name_path_expectation_and_value() {
    for (json, text) in [
        (r#"{"text":5}"#, "text: must be a string, not a number"),
        (r#"{"metadata":{"name":["x"]}}"#, "metadata.name: must be a string, not an array"),
        (
            r#"{"inners":[{},{"count":"x"}]}"#,
            r#"inners[1].count: must be an integer of 64 bits, not the string "x""#,
        ),
        (r#"{"i32":2147483648}"#, "i32: 2147483648 is out of range, must be an integer of 32 bits"),
        (r#"{"u32":-1}"#, "u32: -1 is out of range, must be an unsigned integer of 32 bits"),
        (
            r#"{"i64":9223372036854775808}"#,
            "i64: 9223372036854775808 is out of range, must be an integer of 64 bits",
        ),
        (
            r#"{"u64":"1e999999999999"}"#,
            "u64: 1e999999999999 is out of range, must be an unsigned integer of 64 bits",
        ),
        (r#"{"i32":1.5}"#, "i32: must be an integer of 32 bits, not the number 1.5"),
        (r#"{"i32":" 1"}"#, r#"i32: must be an integer of 32 bits, not the string " 1""#),
        (r#"{"i32":true}"#, "i32: must be an integer of 32 bits, not a boolean"),
        (r#"{"dbl":1e400}"#, "dbl: 1e400 is out of range, must be a number of 64 bits"),
        (r#"{"flt":1e39}"#, "flt: 1e39 is out of range, must be a number of 32 bits"),
        (
            r#"{"dbl":"inf"}"#,
            r#"dbl: must be a number, "NaN", "Infinity" or "-Infinity", not the string "inf""#,
        ),
        (r#"{"flag":"true"}"#, "flag: must be a boolean, not a string"),
        (r#"{"inner":[]}"#, "inner: must be an object, not an array"),
        (r#"{"numbers":{}}"#, "numbers: must be an array, not an object"),
        (r#"{"labels":[]}"#, "labels: must be an object, not an array"),
        (r#"{"labels":{"a":1}}"#, "labels.a: must be a string, not a number"),
        (r#"{"texts":["a",null]}"#, "texts[1]: must be a string, not null"),
        (r#"{"inners":[null]}"#, "inners[0]: must be an object, not null"),
        (r#"{"byI32":{"01":""}}"#, r#"byI32.01: the key must be an integer of 32 bits in quotes, not "01""#),
        (r#"{"byFlag":{"yes":""}}"#, r#"byFlag.yes: the key must be true or false in quotes, not "yes""#),
        (
            r#"{"power":"on"}"#,
            r#"power: Unsupported value: "on": supported values: "Odd", "Unspecified", "On", "NotReady", "TCP", "Far""#,
        ),
        (r#"{"power":2147483648}"#, "power: 2147483648 is out of range, must be an integer of 32 bits"),
        (r#"{"data":"?"}"#, "data: must be a string in base64"),
        (
            r#"{"aText":"x","aNumber":1}"#,
            "aNumber: aText is set already; only one of the fields of choice may be",
        ),
        (r#"{"kind":5}"#, "kind: must be a string, not a number"),
        (r#"[]"#, "test.v1.All: must be an object, not an array"),
        ("null", "test.v1.All: must be an object, not null"),
    ] {
        let error = parse(&all(), json).unwrap_err();
        assert!(matches!(error, JsonError::Value { .. }), "{json}: {error:?}");
        assert_eq!(error.to_string(), text, "{json}");
    }
    for (json, text) in [
        (
            r#"{"time":"yesterday"}"#,
            r#"time: must be a time in RFC 3339, such as 2006-01-02T15:04:05Z, not "yesterday""#,
        ),
        (r#"{"time":5}"#, "time: must be a string with a time in RFC 3339, not a number"),
        (
            r#"{"timestamp":"0000-01-01T00:00:00Z"}"#,
            r#"timestamp: must be a time in RFC 3339, such as 2006-01-02T15:04:05Z, not "0000-01-01T00:00:00Z""#,
        ),
        (r#"{"duration":"5"}"#, r#"duration: must be a duration, such as 1m30.5s, not "5""#),
        (r#"{"quantity":"lots"}"#, r#"quantity: must be a quantity, such as 500m or 2Gi, not "lots""#),
        (r#"{"port":true}"#, "port: must be an integer or a string, not a boolean"),
        (r#"{"port":2147483648}"#, "port: 2147483648 is out of range, must be an integer of 32 bits"),
        (r#"{"mask":"a_b"}"#, r#"mask: must be field paths in lowerCamelCase, not "a_b""#),
        (r#"{"any":{"a":1}}"#, "any.a: must have a member @type beside this one"),
        (
            r#"{"any":{"@type":"x/no.Such"}}"#,
            r#"any.@type: must be the URL of a type of the schema, not "x/no.Such""#,
        ),
        (
            r#"{"any":{"@type":"x/google.protobuf.Duration"}}"#,
            "any.@type: must have a member value beside this one",
        ),
        (r#"{"value":1e400}"#, "value: 1e400 is out of range, must be a number of 64 bits"),
    ] {
        assert_eq!(parse(&specials(), json).unwrap_err().to_string(), text, "{json}");
    }
}

#[test]
fn syntax_errors_name_line_and_column() {
    for (json, line, column, text) in [
        ("", 1, 1, "unexpected end of JSON input, expected a value"),
        ("{\"apiVersion\":", 1, 15, "unexpected end of JSON input, expected a value"),
        (
            "{\n  \"text\": \"é\" x}",
            2,
            15,
            "invalid character 'x', expected ',' or '}' after a member of an object",
        ),
        ("{\"text\":\"a", 1, 11, "unexpected end of JSON input in a string"),
        (
            "{\"numbers\":[1 2]}",
            1,
            15,
            "invalid character '2', expected ',' or ']' after an element of an array",
        ),
        ("{\"text\":\"a\",}", 1, 13, "invalid character '}', expected the name of a member, in quotes"),
        ("{} {}", 1, 4, "invalid character '{', expected the end of the JSON input"),
        ("\u{feff}{}", 1, 1, "a byte order mark, which JSON does not have"),
        ("{\"text\":\"\\ud800\"}", 1, 10, "the lone surrogate \\ud800 in a string, which is no character"),
        ("{\"x\":\"\\udc00\"}", 1, 7, "the lone surrogate \\udc00 in a string, which is no character"),
        ("{\"text\":\"a\tb\"}", 1, 11, "the control character '\\t' in a string, not escaped"),
        (
            "{\"text\":\"\\q\"}",
            1,
            11,
            "invalid character 'q', expected one of \"\\/bfnrtu after \\ in a string",
        ),
        ("{\"i32\":01}", 1, 9, "invalid character '1', expected ',' or '}' after a member of an object"),
        ("{\"i32\":1.}", 1, 10, "invalid character '}', expected a digit in a number"),
        ("{\"flag\":tru}", 1, 12, "invalid character '}', expected the literal true"),
        ("not json", 1, 2, "invalid character 'o', expected the literal null"),
        ("{text:1}", 1, 2, "invalid character 't', expected the name of a member, in quotes"),
        ("{\"text\" 1}", 1, 9, "invalid character '1', expected ':' after the name of a member"),
        ("{\"foo\":'x'}", 1, 8, "invalid character '\\'', expected a value"),
    ] {
        let error = parse(&all(), json).unwrap_err();
        if json == "not json" {
            assert!(matches!(error, JsonError::Value { .. }), "{error}");
            continue;
        }
        assert_eq!(error, JsonError::Syntax { line, column, message: text.to_owned() }, "{json}");
    }
    assert_eq!(all().from_json(b"{\"text\":\"\xff\"}").unwrap_err(), JsonError::Utf8 { offset: 9 });
}

#[test]
fn depth_is_limited() {
    let nested =
        |open: &str, close: &str, times: usize| format!("{}{}", open.repeat(times), close.repeat(times));
    let inner = message("test.v1.Inner");
    let deep = |times: usize| format!("{}{{}}{}", "{\"inner\":".repeat(times), "}".repeat(times));
    let ok = parse(&inner, &deep(MAX_DEPTH - 1)).unwrap();
    assert_eq!(to_json(&inner, &ok.wire).unwrap(), deep(MAX_DEPTH - 1));
    let error = parse(&inner, &deep(MAX_DEPTH)).unwrap_err();
    let JsonError::TooDeep { path } = error else { panic!("{error}") };
    assert!(path.starts_with("inner.inner."));
    // Lists, maps, values, raw JSON and what is passed over count too.
    for (prefix, suffix, own) in [
        (r#"{"struct":{"a":"#, "}}", 2),
        (r#"{"value":"#, "}", 1),
        (r#"{"list":["#, "]}", 2),
        (r#"{"raw":"#, "}", 1),
        (r#"{"nonsense":"#, "}", 1),
        (r#"{"any":{"@type":"x/google.protobuf.Value","value":"#, "}}", 2),
    ] {
        let ok = format!("{prefix}{}{suffix}", nested("[", "]", MAX_DEPTH - own));
        let parsed = parse(&specials(), &ok).unwrap_or_else(|error| panic!("{prefix}: {error}"));
        if !prefix.contains("nonsense") {
            assert_eq!(to_json(&specials(), &parsed.wire).unwrap(), ok);
        }
        let bad = format!("{prefix}{}{suffix}", nested("[", "]", MAX_DEPTH - own + 1));
        assert!(matches!(parse(&specials(), &bad), Err(JsonError::TooDeep { .. })), "{prefix}");
    }
    // Nothing breaks long before the end of a hostile document.
    for open in ["[", "{\"inner\":", "{\"a\":", "{\"inners\":[", "{\"byName\":{\"\":"] {
        assert!(parse(&inner, &open.repeat(1_000_000)).is_err());
    }
}
