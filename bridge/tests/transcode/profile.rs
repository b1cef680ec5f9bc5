//! The Kubernetes JSON profile, row by row.

use kubridge_bridge::transcode::TypeMeta;

use super::support::{all, len, message, parse, specials, there_and_back, to_json, varint};

/// What every All shows.
const SHOWN: &str = r#""shown":0,"shownText":"","shownPower":"Unspecified","shownFlag":false,"shownList":[]"#;

/// JSON of All in, and out again, without what is always shown.
#[track_caller]
fn case(json: &str, expected: &str) {
    let out = there_and_back(&all(), json);
    let out = out.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let out = out.strip_suffix(SHOWN).unwrap_or_else(|| panic!("{out}")).trim_end_matches(',');
    assert_eq!(format!("{{{out}}}"), expected, "{json}");
}

#[track_caller]
fn special(json: &str, expected: &str) {
    assert_eq!(there_and_back(&specials(), json), expected, "{json}");
}

#[test]
fn integers() {
    for (json, expected) in [
        (r#"{"i32":-5}"#, r#"{"i32":-5}"#),
        (
            r#"{"i32":2147483647,"s32":-2147483648,"sf32":-1}"#,
            r#"{"i32":2147483647,"s32":-2147483648,"sf32":-1}"#,
        ),
        (r#"{"u32":4294967295,"f32":"4294967295"}"#, r#"{"u32":4294967295,"f32":4294967295}"#),
        (r#"{"i64":"-9223372036854775808"}"#, r#"{"i64":-9223372036854775808}"#),
        (
            r#"{"i64":9223372036854775807,"s64":9223372036854775807}"#,
            r#"{"i64":9223372036854775807,"s64":9223372036854775807}"#,
        ),
        (
            r#"{"u64":18446744073709551615,"f64":18446744073709551615}"#,
            r#"{"u64":18446744073709551615,"f64":18446744073709551615}"#,
        ),
        (r#"{"sf64":1e3,"i64":1.0,"u64":"15e-1e0"}"#, ""),
        (r#"{"sf64":1e3,"i64":1.0,"u64":"150e-1"}"#, r#"{"i64":1,"u64":15,"sf64":1000}"#),
        (r#"{"i32":0,"i64":"0","u32":0.0,"u64":-0,"s32":0e9}"#, "{}"),
    ] {
        if expected.is_empty() {
            assert!(parse(&all(), json).is_err(), "{json}");
        } else {
            case(json, expected);
        }
    }
}

#[test]
fn floats() {
    for (json, expected) in [
        (r#"{"dbl":1.0}"#, r#"{"dbl":1}"#),
        (r#"{"dbl":0.1,"flt":0.1}"#, r#"{"dbl":0.1,"flt":0.1}"#),
        (r#"{"dbl":"NaN","flt":"-Infinity"}"#, r#"{"dbl":"NaN","flt":"-Infinity"}"#),
        (r#"{"dbl":"Infinity","flt":"1.5"}"#, r#"{"dbl":"Infinity","flt":1.5}"#),
        (r#"{"dbl":-0.0}"#, r#"{"dbl":-0}"#),
        (r#"{"dbl":0.0,"flt":0}"#, "{}"),
        (r#"{"dbl":1e21,"flt":3.4028235e38}"#, r#"{"dbl":1e+21,"flt":3.4028235e+38}"#),
    ] {
        case(json, expected);
    }
}

#[test]
fn strings_and_bytes() {
    for (json, expected) in [
        (r#"{"text":"a\u00e9\n\"\\\/<>&"}"#, r#"{"text":"aé\n\"\\/\u003c\u003e\u0026"}"#),
        (r#"{"text":"\ud83d\ude00\u2028"}"#, r#"{"text":"😀\u2028"}"#),
        (r#"{"text":""}"#, "{}"),
        (r#"{"data":"+/+/"}"#, r#"{"data":"+/+/"}"#),
        (r#"{"data":"-_-_"}"#, r#"{"data":"+/+/"}"#),
        (r#"{"data":"YQ"}"#, r#"{"data":"YQ=="}"#),
        (r#"{"data":"YQ=="}"#, r#"{"data":"YQ=="}"#),
        (r#"{"data":"\u0059Q=="}"#, r#"{"data":"YQ=="}"#),
        (r#"{"data":""}"#, "{}"),
        (r#"{"flag":true}"#, r#"{"flag":true}"#),
        (r#"{"flag":false}"#, "{}"),
    ] {
        case(json, expected);
    }
}

#[test]
fn enums() {
    for (json, expected) in [
        (r#"{"power":"On"}"#, r#"{"power":"On"}"#),
        (r#"{"power":"POWER_STATE_ON"}"#, r#"{"power":"On"}"#),
        (r#"{"power":2}"#, r#"{"power":"NotReady"}"#),
        (r#"{"power":"2"}"#, r#"{"power":"NotReady"}"#),
        (r#"{"power":"TCP"}"#, r#"{"power":"TCP"}"#),
        (r#"{"power":"POWER_STATE_TCP"}"#, r#"{"power":"TCP"}"#),
        (r#"{"power":-7}"#, r#"{"power":"Odd"}"#),
        (r#"{"power":"Far"}"#, r#"{"power":"Far"}"#),
        (r#"{"power":42}"#, r#"{"power":"42"}"#),
        (r#"{"power":"-42"}"#, r#"{"power":"-42"}"#),
        (r#"{"power":"Unspecified"}"#, "{}"),
        (r#"{"optPower":"Unspecified"}"#, r#"{"optPower":"Unspecified"}"#),
        (r#"{"optPower":0}"#, r#"{"optPower":"Unspecified"}"#),
        (r#"{"powers":["Unspecified","On",0,42]}"#, r#"{"powers":["Unspecified","On","Unspecified","42"]}"#),
        (
            r#"{"powersByName":{"a":"Unspecified","b":"TCP"}}"#,
            r#"{"powersByName":{"a":"Unspecified","b":"TCP"}}"#,
        ),
        (r#"{"aPower":"Unspecified"}"#, r#"{"aPower":"Unspecified"}"#),
    ] {
        case(json, expected);
    }
}

#[test]
fn presence() {
    for (json, expected) in [
        (
            r#"{"optNumber":0,"optText":"","optFlag":false,"optData":""}"#,
            r#"{"optNumber":0,"optText":"","optFlag":false,"optData":""}"#,
        ),
        (r#"{"optNumber":null,"optText":null,"inner":null,"numbers":null,"labels":null,"power":null}"#, "{}"),
        (r#"{"inner":{}}"#, r#"{"inner":{}}"#),
        (r#"{"numbers":[],"labels":{},"inners":[]}"#, "{}"),
        (r#"{"aNumber":0}"#, r#"{"aNumber":0}"#),
        (r#"{"aText":"","aNumber":null}"#, r#"{"aText":""}"#),
        (r#"{"anInner":{}}"#, r#"{"anInner":{}}"#),
        (r#"{"aNull":null}"#, r#"{"aNull":null}"#),
        (r#"{"aNull":"NULL_VALUE"}"#, r#"{"aNull":null}"#),
        (r#"{"podCIDR":"10.0.0.0/8"}"#, r#"{"podCIDR":"10.0.0.0/8"}"#),
    ] {
        case(json, expected);
    }
    let shown = r#"{"shown":3,"shownText":"x","shownPower":"On","shownFlag":true,"shownList":["a"]}"#;
    assert_eq!(there_and_back(&all(), shown), shown);
    // A zero that stands on the wire is a zero.
    let zeros = [varint(2, 0), len(15, b""), varint(17, 0), len(30, b""), varint(70, 0)].concat();
    assert_eq!(to_json(&all(), &zeros).unwrap(), format!("{{{SHOWN}}}"));
    assert_eq!(to_json(&all(), &varint(51, 0)).unwrap(), format!(r#"{{"aNumber":0,{SHOWN}}}"#));
}

#[test]
fn lists_and_maps() {
    for (json, expected) in [
        (r#"{"numbers":[1,-1,0,300],"loose":[1,2]}"#, r#"{"numbers":[1,-1,0,300],"loose":[1,2]}"#),
        (
            r#"{"texts":["","a"],"flags":[true,false],"dbls":[1.5,"NaN"]}"#,
            r#"{"texts":["","a"],"dbls":[1.5,"NaN"],"flags":[true,false]}"#,
        ),
        (r#"{"inners":[{},{"name":"x"}]}"#, r#"{"inners":[{},{"name":"x"}]}"#),
        (r#"{"labels":{"b":"2","a":"1","":"3"}}"#, r#"{"labels":{"":"3","a":"1","b":"2"}}"#),
        (r#"{"labels":{"a\"<":null}}"#, r#"{"labels":{"a\"\u003c":""}}"#),
        (r#"{"byI32":{"10":"x","9":"y","-1":"z"}}"#, r#"{"byI32":{"-1":"z","10":"x","9":"y"}}"#),
        (
            r#"{"byU64":{"18446744073709551615":"x","0":""}}"#,
            r#"{"byU64":{"0":"","18446744073709551615":"x"}}"#,
        ),
        (r#"{"byFlag":{"true":"t","false":"f"}}"#, r#"{"byFlag":{"false":"f","true":"t"}}"#),
        (r#"{"byS64":{"-9223372036854775808":"1"}}"#, r#"{"byS64":{"-9223372036854775808":1}}"#),
        (r#"{"byF32":{"7":"YQ=="},"bySf64":{"-7":0.5}}"#, r#"{"byF32":{"7":"YQ=="},"bySf64":{"-7":0.5}}"#),
        (
            r#"{"innerByName":{"b":{"count":1},"a":{},"c":null}}"#,
            r#"{"innerByName":{"a":{},"b":{"count":1},"c":{}}}"#,
        ),
    ] {
        case(json, expected);
    }
    // Entries without key or value, the last of equal keys, a value in pieces.
    let wire =
        [len(40, b""), len(40, &len(1, b"a")), len(40, &[len(1, b"a"), len(2, b"x")].concat())].concat();
    assert!(to_json(&all(), &wire).unwrap().contains(r#""labels":{"":"","a":"x"}"#));
    let wire = len(44, &[len(2, &len(1, b"x")), len(1, b"k"), len(2, &varint(2, 5))].concat());
    assert!(to_json(&all(), &wire).unwrap().contains(r#""innerByName":{"k":{"name":"x","count":5}}"#));
}

#[test]
fn lists_of_objects_always_show_their_items() {
    let list = message("test.v1.InnerList");
    assert_eq!(to_json(&list, b"").unwrap(), r#"{"items":[]}"#);
    assert_eq!(
        there_and_back(&list, r#"{"metadata":{"resourceVersion":"7"}}"#),
        r#"{"metadata":{"resourceVersion":"7"},"items":[]}"#
    );
    assert_eq!(there_and_back(&list, r#"{"items":[{"name":"a"}]}"#), r#"{"items":[{"name":"a"}]}"#);
}

#[test]
fn kubernetes_types() {
    for (json, expected) in [
        (r#"{"time":"2026-11-23T05:04:57Z"}"#, r#"{"time":"2026-11-23T05:04:57Z"}"#),
        (r#"{"time":"2026-11-23T06:04:57.9+01:00"}"#, r#"{"time":"2026-11-23T05:04:57Z"}"#),
        (r#"{"time":"1970-01-01T00:00:00Z"}"#, r#"{"time":"1970-01-01T00:00:00Z"}"#),
        (r#"{"time":null}"#, "{}"),
        (r#"{"microTime":"2026-11-23T05:04:57.1234567Z"}"#, r#"{"microTime":"2026-11-23T05:04:57.123456Z"}"#),
        (r#"{"microTime":"2026-11-23T05:04:57Z"}"#, r#"{"microTime":"2026-11-23T05:04:57.000000Z"}"#),
        (r#"{"goDuration":"90.5s"}"#, r#"{"goDuration":"1m30.5s"}"#),
        (r#"{"goDuration":"0s"}"#, r#"{"goDuration":"0s"}"#),
        (r#"{"quantity":"500m"}"#, r#"{"quantity":"500m"}"#),
        (r#"{"quantity":1.50}"#, r#"{"quantity":"1.50"}"#),
        (r#"{"limits":{"cpu":2,"memory":"2Gi"}}"#, r#"{"limits":{"cpu":"2","memory":"2Gi"}}"#),
        (r#"{"port":80}"#, r#"{"port":80}"#),
        (r#"{"port":"http"}"#, r#"{"port":"http"}"#),
        (r#"{"port":0}"#, r#"{"port":0}"#),
        (r#"{"port":""}"#, r#"{"port":""}"#),
        (r#"{"port":-1}"#, r#"{"port":-1}"#),
        (r#"{"fieldsV1":{"f:spec": {".": {} }}}"#, r#"{"fieldsV1":{"f:spec":{".":{}}}}"#),
        (r#"{"raw":{"b": [1.0, "x<\u0041"], "a":null}}"#, r#"{"raw":{"b":[1.0,"x\u003cA"],"a":null}}"#),
        (r#"{"raw":null}"#, "{}"),
        (r#"{"raw":"text"}"#, r#"{"raw":"text"}"#),
        (r#"{"raws":[null,1,{}]}"#, r#"{"raws":[null,1,{}]}"#),
        (r#"{"times":["1970-01-01T00:00:01Z"]}"#, r#"{"times":["1970-01-01T00:00:01Z"]}"#),
    ] {
        special(json, expected);
    }
    // The raw text is kept as the client wrote it, but for white space.
    let wire = parse(&specials(), r#"{"raw": {"b" : [1.0, "\u0041"]} }"#).unwrap().wire;
    assert_eq!(wire, len(7, &len(1, br#"{"b":[1.0,"\u0041"]}"#)));
    // A Time of no fields is no time to Kubernetes: the epoch is written out.
    assert_eq!(parse(&specials(), r#"{"time":"1970-01-01T00:00:00Z"}"#).unwrap().wire, len(1, &varint(1, 0)));
    for (wire, json) in [
        (len(4, b""), r#"{"quantity":"0"}"#),
        (len(7, b""), "{}"),
        (len(7, &len(1, b" null")), "{}"),
        (len(7, &len(1, b"null")), "{}"),
        (len(6, &len(1, b"")), "{}"),
        (len(1, &[varint(2, 5), varint(1, 3)].concat()), r#"{"time":"1970-01-01T00:00:03Z"}"#),
        (len(3, &varint(1, -1_i64 as u64)), r#"{"goDuration":"-1ns"}"#),
    ] {
        assert_eq!(to_json(&specials(), &wire).unwrap(), json);
    }
}

#[test]
fn well_known_types() {
    for (json, expected) in [
        (r#"{"timestamp":"1970-01-01T00:00:00.5Z"}"#, r#"{"timestamp":"1970-01-01T00:00:00.500Z"}"#),
        (r#"{"timestamp":"0001-01-01T00:00:00Z"}"#, r#"{"timestamp":"0001-01-01T00:00:00Z"}"#),
        (r#"{"duration":"90.5s"}"#, r#"{"duration":"90.500s"}"#),
        (r#"{"duration":"1m30.5s"}"#, r#"{"duration":"90.500s"}"#),
        (r#"{"duration":"-0.000000001s"}"#, r#"{"duration":"-0.000000001s"}"#),
        (r#"{"mask":"spec.rackUnit,status"}"#, r#"{"mask":"spec.rackUnit,status"}"#),
        (r#"{"mask":""}"#, r#"{"mask":""}"#),
        (r#"{"struct":{"b":[1,null,{"x":true}],"a":3.0}}"#, r#"{"struct":{"a":3,"b":[1,null,{"x":true}]}}"#),
        (r#"{"struct":{}}"#, r#"{"struct":{}}"#),
        (r#"{"value":null}"#, r#"{"value":null}"#),
        (r#"{"value":9007199254740992}"#, r#"{"value":9007199254740992}"#),
        (r#"{"value":"x"}"#, r#"{"value":"x"}"#),
        (r#"{"value":[[],{}]}"#, r#"{"value":[[],{}]}"#),
        (r#"{"value":false}"#, r#"{"value":false}"#),
        (
            r#"{"values":[null,1],"valuesByName":{"b":null,"a":"x"}}"#,
            r#"{"values":[null,1],"valuesByName":{"a":"x","b":null}}"#,
        ),
        (r#"{"list":[1,"a",null]}"#, r#"{"list":[1,"a",null]}"#),
        (r#"{"empty":{}}"#, r#"{"empty":{}}"#),
        (r#"{"null":null}"#, "{}"),
        (r#"{"nulls":[null,"NULL_VALUE",0]}"#, r#"{"nulls":[null,null,null]}"#),
        (
            r#"{"stringValue":"","boolValue":false,"int32Value":0}"#,
            r#"{"stringValue":"","boolValue":false,"int32Value":0}"#,
        ),
        (r#"{"stringValue":null,"boolValue":null}"#, "{}"),
        (
            r#"{"bytesValue":"YQ","int64Value":"5","uint32Value":6,"uint64Value":"7","floatValue":1.5,"doubleValue":"NaN"}"#,
            r#"{"bytesValue":"YQ==","int64Value":5,"uint32Value":6,"uint64Value":7,"floatValue":1.5,"doubleValue":"NaN"}"#,
        ),
        (
            r#"{"any":{"@type":"type.googleapis.com/test.v1.Inner","name":"x"}}"#,
            r#"{"any":{"@type":"type.googleapis.com/test.v1.Inner","name":"x"}}"#,
        ),
        (r#"{"any":{"name":"x","inner":{"@type":1},"@type":"type.googleapis.com/test.v1.Inner"}}"#, ""),
        (
            r#"{"any":{"count":"3","@type":"x/test.v1.Inner"}}"#,
            r#"{"any":{"@type":"x/test.v1.Inner","count":3}}"#,
        ),
        (
            r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1.5s"}}"#,
            r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1.500s"}}"#,
        ),
        (
            r#"{"any":{"value":{},"@type":"x/google.protobuf.Empty"}}"#,
            r#"{"any":{"@type":"x/google.protobuf.Empty","value":{}}}"#,
        ),
        (
            r#"{"any":{"@type":"x/kubridge.v1.Time","value":"1970-01-01T00:00:01Z"}}"#,
            r#"{"any":{"@type":"x/kubridge.v1.Time","value":"1970-01-01T00:00:01Z"}}"#,
        ),
        (
            r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/test.v1.Inner"}}}"#,
            r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/test.v1.Inner"}}}"#,
        ),
        (r#"{"any":{}}"#, r#"{"any":{}}"#),
    ] {
        if expected.is_empty() {
            assert_eq!(parse(&specials(), json).unwrap().unknown, ["any.inner.@type"]);
        } else {
            special(json, expected);
        }
    }
    // Messages that are such a type themselves.
    for (name, json) in [
        ("google.protobuf.Struct", r#"{"a":1}"#),
        ("google.protobuf.Timestamp", r#""1970-01-01T00:00:01Z""#),
        ("google.protobuf.Empty", "{}"),
        ("google.protobuf.ListValue", "[1]"),
        ("kubridge.v1.RawExtension", r#"{"x":[1]}"#),
    ] {
        assert_eq!(there_and_back(&message(name), json), json);
    }
    // In pieces on the wire: structs merge, other values replace.
    let entry = |key: &[u8]| len(1, &[len(1, key), len(2, &varint(4, 1))].concat());
    let wire = len(12, &[len(5, &entry(b"a")), len(5, &entry(b"b"))].concat());
    assert_eq!(to_json(&specials(), &wire).unwrap(), r#"{"value":{"a":true,"b":true}}"#);
    let wire = len(12, &[len(5, &entry(b"a")), len(3, b"x")].concat());
    assert_eq!(to_json(&specials(), &wire).unwrap(), r#"{"value":"x"}"#);
}

#[test]
fn type_meta() {
    let meta = Some(TypeMeta { api_version: "test/v1", kind: "Inner" });
    let mut out = Vec::new();
    message("test.v1.Inner").to_json(&len(1, b"x"), meta, &mut out).unwrap();
    assert_eq!(out, br#"{"kind":"Inner","apiVersion":"test/v1","name":"x"}"#);
    out.clear();
    message("test.v1.Inner").to_json(b"", meta, &mut out).unwrap();
    assert_eq!(out, br#"{"kind":"Inner","apiVersion":"test/v1"}"#);

    let parsed =
        parse(&message("test.v1.Inner"), r#"{"kind":"Inner","apiVersion":"test/v1","name":"x"}"#).unwrap();
    assert_eq!((parsed.kind.as_deref(), parsed.api_version.as_deref()), (Some("Inner"), Some("test/v1")));
    assert!(parsed.unknown.is_empty());
    assert_eq!(parsed.wire, len(1, b"x"));
    let parsed = parse(&message("test.v1.Inner"), r#"{"kind":null,"inner":{"kind":"x"}}"#).unwrap();
    assert_eq!((parsed.kind, parsed.unknown), (None, vec!["inner.kind".to_owned()]));
    let parsed = parse(&message("test.v1.Inner"), r#"{"kind":"a","kind":"b"}"#).unwrap();
    assert_eq!((parsed.kind.as_deref(), parsed.duplicates), (Some("b"), vec!["kind".to_owned()]));

    // Fields of these names are fields.
    let own = message("test.v1.Reference");
    let json = r#"{"kind":"Own","name":"n","apiVersion":"v9"}"#;
    let parsed = parse(&own, json).unwrap();
    assert_eq!((parsed.kind, parsed.api_version), (None, None));
    out.clear();
    own.to_json(&parsed.wire, meta, &mut out).unwrap();
    assert_eq!(out, json.as_bytes());
}

#[test]
fn explicit_presence_defaults_and_groups() {
    let legacy = message("test.legacy.Legacy");
    assert_eq!(to_json(&legacy, b"").unwrap(), "{}");
    let json = r#"{"name":"","count":0,"level":"High","numbers":[0,1],"packedNumbers":[0,1]}"#;
    assert_eq!(there_and_back(&legacy, json), json);
    assert_eq!(to_json(&legacy, &varint(3, 9)).unwrap(), r#"{"level":"9"}"#);
    // Packed where the schema says unpacked, and the reverse.
    let wire = [len(4, &[1, 2]), varint(4, 3), varint(5, 4), len(5, &[5])].concat();
    assert_eq!(to_json(&legacy, &wire).unwrap(), r#"{"numbers":[1,2,3],"packedNumbers":[4,5]}"#);
    assert!(parse(&legacy, r#"{"detail":{"text":"x"}}"#).is_err());
    assert!(to_json(&legacy, &[0x33, 0x34]).is_err());
}
