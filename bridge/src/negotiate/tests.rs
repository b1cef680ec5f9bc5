#![allow(clippy::unwrap_used)]

use http::HeaderValue;

use super::*;
use crate::status::golden;

fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
}

fn agreed(accept: &str, endpoint: Endpoint) -> Result<(MediaType, Shape), ApiError> {
    Negotiated::new(&headers(&[(header::ACCEPT, accept)]), "", endpoint).map(|n| (n.media_type, n.shape))
}

#[test]
fn accepted() {
    use Endpoint::{Document, List, Object, Watch};
    use MediaType::{Json, Yaml};
    use MetaVersion::{V1, V1beta1};
    let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    for (accept, endpoint, want) in [
        ("application/json", Object, (Json, Shape::Object)),
        ("*/*", List, (Json, Shape::Object)),
        ("", Watch, (Json, Shape::Object)),
        ("application/*", Object, (Json, Shape::Object)),
        ("text/html, */*;q=0.1", Object, (Json, Shape::Object)),
        ("APPLICATION/YAML", Object, (Yaml, Shape::Object)),
        ("application/json;q=0.5,application/yaml", Object, (Yaml, Shape::Object)),
        ("*/*,application/yaml", Object, (Yaml, Shape::Object)),
        (kubectl, List, (Json, Shape::Table(V1))),
        (kubectl, Watch, (Json, Shape::Table(V1))),
        (kubectl, Document, (Json, Shape::Object)),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Object, (Json, Shape::Table(V1beta1))),
        ("application/yaml;as=Table;v=v1;g=meta.k8s.io", Object, (Yaml, Shape::Table(V1))),
        (partial, Object, (Json, Shape::Partial(V1))),
        (partial, Watch, (Json, Shape::Partial(V1))),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            List,
            (Json, Shape::PartialList(V1)),
        ),
        ("application/vnd.kubernetes.protobuf,application/json", Object, (Json, Shape::Object)),
        ("application/cbor,application/json", List, (Json, Shape::Object)),
        ("application/json;as=Bogus;v=v1;g=meta.k8s.io,application/json", Object, (Json, Shape::Object)),
        ("application/json;stream=watch", Watch, (Json, Shape::Object)),
        ("application/vnd.kubernetes.protobuf;stream=watch, application/json", Watch, (Json, Shape::Object)),
    ] {
        assert_eq!(agreed(accept, endpoint).unwrap(), want, "{accept}");
    }
}

#[test]
fn not_accepted() {
    use Endpoint::{List, Object, Watch};
    for (accept, endpoint, file) in [
        ("text/html", List, "208-406-bad-as"),
        ("application/json;q=0", Object, "208-406-bad-as"),
        ("application/vnd.kubernetes.protobuf", Object, "208-406-bad-as"),
        ("application/cbor", Object, "208-406-bad-as"),
        ("application/json;as=Bogus;v=v1;g=meta.k8s.io", Object, "208-406-bad-as"),
        ("application/json;as=Table;v=v2;g=meta.k8s.io", List, "208-406-bad-as"),
        ("application/json;stream=watch", Object, "208-406-bad-as"),
        ("garbage", Object, "208-406-bad-as"),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", List, "096-pom-on-list-mismatch"),
    ] {
        let mut want = golden(file);
        // We write no protobuf, and our lists have no Go type.
        want.message = want.message.replace(", application/vnd.kubernetes.protobuf", "");
        want.message = want.message.replace(" (*wardle.FlunderList)", "");
        assert_eq!(*agreed(accept, endpoint).unwrap_err().status, want, "{accept}");
    }
    let error = agreed("application/yaml", Watch).unwrap_err();
    assert_eq!(
        error.status.message,
        "only the following media types are accepted: application/json;stream=watch"
    );
    assert_eq!(
        Negotiated::for_error(&headers(&[(header::ACCEPT, "text/html")]), "").media_type,
        MediaType::Json
    );
}

#[test]
fn pretty_for_people() {
    let pretty = |agent: &str, query: &str, endpoint| {
        Negotiated::new(&headers(&[(header::USER_AGENT, agent)]), query, endpoint).unwrap().pretty
    };
    for (agent, query, want) in [
        ("kubectl/v1.36", "", false),
        ("kubectl/v1.36", "pretty=true", true),
        ("kubectl/v1.36", "pretty=1", true),
        ("kubectl/v1.36", "pretty=yes", false),
        ("curl/8.0", "", true),
        ("curl/8.0", "pretty", true),
        ("curl/8.0", "pretty=false", false),
        ("Mozilla/5.0 (X11)", "", true),
        ("Wget/1.2", "", true),
    ] {
        assert_eq!(pretty(agent, query, Endpoint::Object), want, "{agent} {query}");
        assert!(!pretty(agent, query, Endpoint::Watch));
    }
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn written_as_kube_apiserver_writes_it() {
    let pretty = file("046-get-pretty.json");
    let value: serde_json::Value = serde_json::from_slice(&pretty).unwrap();
    // Compact, in the order of the file.
    let compact = String::from_utf8(pretty.clone()).unwrap().replace("\n", "");
    let compact: String = compact.split("  ").collect::<String>().replace("\": ", "\":");
    assert_eq!(
        String::from_utf8(pretty_json(compact.as_bytes())).unwrap(),
        String::from_utf8_lossy(pretty.trim_ascii_end())
    );
    assert_eq!(
        pretty_json(br#"{"a":"{,:\"[","b":[],"c":{}}"#),
        b"{\n  \"a\": \"{,:\\\"[\",\n  \"b\": [],\n  \"c\": {}\n}"
    );
    let yaml = file("050-get-yaml.yaml");
    // Keys with a colon are quoted here and bare there: the same document.
    let ours = String::from_utf8(json_to_yaml(compact.as_bytes()).unwrap()).unwrap();
    assert_eq!(ours.replace('"', ""), String::from_utf8_lossy(&yaml).replace('"', ""));
    let back: serde_json::Value = serde_json::from_slice(&yaml_to_json(&yaml).unwrap()).unwrap();
    assert_eq!(back, value);
}

#[test]
fn yaml_bodies() {
    for (yaml, json) in [
        ("a: 1\nb: [x, true, null, 1.5, '1']\n", r#"{"a":1,"b":["x",true,null,1.5,"1"]}"#),
        ("---\nz: 1\na: 2\n", r#"{"z":1,"a":2}"#),
        ("a: 1\na: 2\n", r#"{"a":1,"a":2}"#),
        ("1: x\ntrue: z\n", r#"{"1":"x","true":"z"}"#),
        ("a: &x {b: 1}\nc: *x\n", r#"{"a":{"b":1},"c":{"b":1}}"#),
        ("{}", "{}"),
        ("mode: 0644\non: yes\n", r#"{"mode":420,"on":true}"#),
        ("a: {}\nb: []\n", r#"{"a":{},"b":[]}"#),
        ("t: 2026-11-23T05:04:57Z\n", r#"{"t":"2026-11-23T05:04:57Z"}"#),
        ("n: 18446744073709551615\nm: -5\n", r#"{"n":18446744073709551615,"m":-5}"#),
        (r#"{"a": "x\ny"}"#, r#"{"a":"x\ny"}"#),
        ("a: |\n  x\n  y\n", r#"{"a":"x\ny\n"}"#),
    ] {
        assert_eq!(String::from_utf8(yaml_to_json(yaml.as_bytes()).unwrap()).unwrap(), json, "{yaml}");
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    let deep = "[".repeat(101) + &"]".repeat(101);
    for bad in ["a: 1\n---\nb: 2\n", "a: [", "{a: 1}: 2", "a: .nan", &bomb, &deep, "a: *nope"] {
        let error = yaml_to_json(bad.as_bytes()).unwrap_err();
        assert_eq!(error.code().as_u16(), 400, "{bad}");
        assert!(error.status.message.len() < 2000, "{}", error.status.message);
    }
    assert_eq!(yaml_to_json(b"a: \xff").unwrap_err().code().as_u16(), 400);
}

#[test]
fn strings_survive_yaml() {
    for text in [
        "yes",
        "null",
        "1e3",
        "0x10",
        "",
        " a",
        "a: b",
        "# x",
        "line\nbreak",
        "tab\t",
        "é\u{7}",
        "- x",
        "2026-01-01",
    ] {
        let json = serde_json::json!({ "k": text, "l": [text] });
        let yaml = json_to_yaml(json.to_string().as_bytes()).unwrap();
        let back: serde_json::Value = serde_json::from_slice(&yaml_to_json(&yaml).unwrap()).unwrap();
        assert_eq!(back, json, "{}", String::from_utf8_lossy(&yaml));
    }
}

#[test]
fn body_types() {
    for (value, want) in [
        ("application/json", Some(MediaType::Json)),
        ("application/json; charset=utf-8", Some(MediaType::Json)),
        ("Application/YAML", Some(MediaType::Yaml)),
        ("", Some(MediaType::Json)),
        ("application/x-www-form-urlencoded", None),
        ("application/vnd.kubernetes.protobuf", None),
        (";", None),
    ] {
        let got = body_type(&headers(&[(header::CONTENT_TYPE, value)]));
        assert_eq!(got.as_ref().ok().copied(), want, "{value}");
        if let Err(error) = got {
            let mut golden = golden("211-415-put");
            golden.message = golden.message.replace(", application/vnd.kubernetes.protobuf", "");
            assert_eq!(*error.status, golden);
        }
    }
    assert_eq!(body_type(&HeaderMap::new()).unwrap(), MediaType::Json);
    assert_eq!(
        &*body_json(&headers(&[(header::CONTENT_TYPE, "application/yaml")]), b"a: 1").unwrap(),
        b"{\"a\":1}"
    );
}

#[test]
fn include_object() {
    assert_eq!(IncludeObject::parse("includeObject=None").unwrap(), IncludeObject::None);
    assert_eq!(IncludeObject::parse("").unwrap(), IncludeObject::Metadata);
    assert_eq!(IncludeObject::parse("includeObject=Object").unwrap(), IncludeObject::Object);
    let error = IncludeObject::parse("includeObject=Bogus").unwrap_err();
    assert_eq!(*error.status, golden("090-table-includeObject-bad"));
}

proptest::proptest! {
    #[test]
    fn never_panics(accept in "[a-z/*;=,q0-9. \"]{0,40}", yaml in "[a-z:\\[\\]{}&*!|>'\"#\n -]{0,60}") {
        let _ = agreed(&accept, Endpoint::List);
        if let Ok(json) = yaml_to_json(yaml.as_bytes()) {
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
    }
}

#[test]
fn the_form_of_a_discovery_document() {
    use DocumentEncoding::{Json, PrettyJson, Protobuf, Yaml};
    const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    const V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let list = |clauses: &[&str]| clauses.join(",");
    let (plain, both) = (|encoding| Some((false, encoding)), |encoding| Some((true, encoding)));
    // What is accepted; the form where there is an aggregated document, and where there is none.
    let cases = [
        (String::new(), plain(Json), plain(Json)),
        (list(&["*/*"]), plain(Json), plain(Json)),
        (list(&["application/*"]), plain(Json), plain(Json)),
        (list(&[V2]), both(Json), None),
        (list(&[V2, V2BETA1, "application/json"]), both(Json), plain(Json)),
        (list(&[&format!("{V2};profile=nopeer"), V2, "application/json"]), both(Json), plain(Json)),
        (
            list(&["application/json; as=APIGroupDiscoveryList; v=v2; g=apidiscovery.k8s.io"]),
            both(Json),
            None,
        ),
        (list(&[V2BETA1]), None, None),
        (list(&[V2BETA1, "application/yaml"]), plain(Yaml), plain(Yaml)),
        // Wherever it stands, the aggregated one is given.
        (list(&["application/json", &format!("{V2};q=0.1")]), both(Json), plain(Json)),
        (list(&["application/json", &format!("{V2};q=0")]), plain(Json), plain(Json)),
        (list(&[&V2.replace("json", "yaml")]), both(Yaml), None),
        (list(&[&V2.replace("application/json", PROTOBUF), "*/*"]), both(Protobuf), plain(Json)),
        (list(&[&V2.replace("application/json", "*/*")]), both(Json), None),
        (list(&[PROTOBUF, "application/json"]), plain(Protobuf), plain(Protobuf)),
        (list(&["application/yaml;q=0.5", "application/json;q=0.4"]), plain(Yaml), plain(Yaml)),
        (list(&["*/*", "application/yaml"]), plain(Yaml), plain(Yaml)),
        (list(&["application/cbor", "application/json"]), plain(Json), plain(Json)),
        (list(&["application/json;pretty=1"]), plain(PrettyJson), plain(PrettyJson)),
        (list(&[&format!("{V2};pretty=1")]), both(PrettyJson), None),
        (list(&["application/json;as=Table;v=v1;g=meta.k8s.io"]), None, None),
        (list(&["application/json;v=v1"]), None, None),
        (list(&["application/json;sv=v1"]), None, None),
        (list(&["application/json;as="]), plain(Json), plain(Json)),
        (list(&["text/html", "*; q=.2"]), plain(Json), plain(Json)),
        (list(&["application/json;stream=watch"]), plain(Json), plain(Json)),
        (list(&["application/yaml;stream=watch"]), None, None),
        (list(&["text/html"]), None, None),
    ];
    for (accept, with, without) in cases {
        let headers = headers(&[(header::ACCEPT, &accept)]);
        let form = |aggregated| {
            let form = DiscoveryForm::new(&headers, "", aggregated);
            form.map(|form| (form.aggregated, form.encoding)).map_err(|error| error.status)
        };
        assert_eq!(form(true).ok(), with, "{accept}");
        assert_eq!(form(false).ok(), without, "{accept}");
        for status in [form(true), form(false)].into_iter().filter_map(Result::err) {
            assert_eq!((status.code, status.reason.as_ref()), (406, "NotAcceptable"));
        }
    }
    let browser = headers(&[(header::USER_AGENT, "Mozilla/5.0 (X11)"), (header::ACCEPT, V2)]);
    assert_eq!(DiscoveryForm::new(&browser, "", true).unwrap().encoding, PrettyJson);
    let yaml = headers(&[(header::ACCEPT, "application/yaml")]);
    assert_eq!(DiscoveryForm::new(&yaml, "pretty=true", true).unwrap().encoding, Yaml);
}
