#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const LABELS: [(&str, &str); 4] = [("app", "web"), ("tier", ""), ("size", "10"), ("example.com/in", "in")];

fn get(key: &str) -> Option<&'static str> {
    LABELS.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
}

#[test]
fn label_selectors_match() {
    for (text, want) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier=", true),
        ("app!=web", false),
        ("nope!=web", true),
        ("nope=", false),
        ("app in (web, db)", true),
        ("app in (,web)", true),
        ("tier in (,)", true),
        ("tier in (a,,b)", true),
        ("app notin (web)", false),
        ("nope notin (web)", true),
        ("app,!nope", true),
        ("!app", false),
        ("nope", false),
        ("size>9", true),
        ("size>10", false),
        ("size<11", true),
        ("app>1", false),
        ("nope<1", false),
        ("example.com/in in (in,notin)", true),
        ("example.com/in=in", true),
        ("in", false),
        ("!in,app", true),
        ("\tapp\n=\rweb", true),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(get), want, "{text}");
    }
}

#[test]
fn bad_label_selectors_say_what_is_wrong() {
    for (text, want) in [
        ("app=web,", "found '', expected: identifier after ','"),
        (",app", "found ',', expected: !, identifier, or 'end of string'"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
        ("app=web x", "found 'x', expected: ',' or 'end of string'"),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app in ()", "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"),
        ("app in (a", "found '', expected: ',' or ')'"),
        ("app in (a=)", "found '=', expected: ',' or ')'"),
        ("!!app", "found '!', expected: identifier"),
        ("!app=x", "found '=', expected: ',' or 'end of string'"),
        ("app=a=b", "found '=', expected: ',' or 'end of string'"),
        ("app=(", "found '(', expected: identifier"),
        ("a b/c", "found 'b/c', expected: in, notin, =, ==, !=, gt, lt"),
        ("-app", "key: Invalid value: \"-app\": name part must consist of alphanumeric"),
        ("/app", "key: Invalid value: \"/app\": prefix part must be non-empty"),
        ("app=we$b", "values[0][app]: Invalid value: \"we$b\": a valid label must be"),
        ("app>x", "values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
    ] {
        let error = LabelSelector::parse(text).unwrap_err();
        assert_eq!(error.code().as_u16(), 400);
        assert!(error.status.message.contains(want), "{text}: {}", error.status.message);
    }
}

#[test]
fn field_selectors() {
    let fields = |field: &str| match field {
        "metadata.name" => "a",
        "spec.odd" => "x,y=\\",
        _ => "",
    };
    for (text, want) in [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name==a,,", true),
        ("metadata.name!=a", false),
        ("metadata.name!=b,spec.none=", true),
        ("spec.odd=x\\,y\\=\\\\", true),
        ("spec.odd!=x", true),
    ] {
        let selector = FieldSelector::parse(text).unwrap();
        assert_eq!(selector.matches(fields), want, "{text}");
        assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
    }
    for (text, want) in [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        ("a=\\b", "invalid field selector: invalid escape sequence: \\b"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err().status.message, want);
    }
    let error = FieldSelector::parse("metadata.name=a,spec.x=1").unwrap();
    let error = error.check(|field| field.starts_with("metadata.")).unwrap_err();
    assert_eq!(error.status.message, "field label not supported: spec.x");
}

proptest! {
    #[test]
    fn never_panics(text in "[a-z/=!()<>, .\\\\\u{e9}-]{0,30}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }
}
