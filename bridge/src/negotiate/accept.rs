//! The Accept header (RFC 9110, 12.5.1) with Kubernetes' parameters `as`, `g`, `v`, `stream`, `pretty`.

use super::{DiscoveryForm, DocumentEncoding, Endpoint, MEDIA_TYPES, MediaType, MetaVersion, Shape};
use crate::{envelope, status::ApiError};

/// One clause: `application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9`.
#[derive(Debug)]
struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    quality: u16,
}

/// Media type, shape, and whether a `pretty` parameter asked for indentation.
pub(super) fn negotiate(accept: &str, endpoint: Endpoint) -> Result<(MediaType, Shape, bool), ApiError> {
    if accept.trim().is_empty() {
        return Ok((MediaType::Json, Shape::Object, false));
    }
    let clauses = clauses(accept);
    let mut mismatch = None;
    for clause in &clauses {
        let Some(media_type) = media_type(clause, endpoint) else { continue };
        match shape(clause, endpoint) {
            Asked::Shape(shape) => {
                let pretty = clause.get("pretty") == Some("1");
                return Ok((media_type, shape, pretty));
            }
            Asked::Nothing => {}
            Asked::Mismatch(message) => {
                mismatch.get_or_insert(message);
                // Kubernetes takes the first clause that it could write and then fails; a later one may do.
            }
        }
    }
    Err(match (mismatch, endpoint) {
        (Some(message), _) => not_acceptable(message),
        (None, Endpoint::Watch) => ApiError::not_acceptable(&["application/json;stream=watch"]),
        (None, Endpoint::Object | Endpoint::List | Endpoint::Document) => {
            ApiError::not_acceptable(&MEDIA_TYPES)
        }
    })
}

/// The form of a discovery document, and whether a `pretty` parameter asked for indentation.
pub(super) fn discovery(accept: &str, aggregated: bool) -> Result<(DiscoveryForm, bool), ApiError> {
    if accept.trim().is_empty() {
        return Ok((DiscoveryForm { aggregated: false, encoding: DocumentEncoding::Json }, false));
    }
    let clauses = clauses(accept);
    let find = |aggregated: bool| {
        clauses.iter().find_map(|clause| {
            let encoding = encoding(clause)?;
            let as_list = ["as", "g", "v"].map(|key| clause.get(key));
            let wanted = match aggregated {
                true => as_list == [Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")],
                false => as_list == [None; 3],
            };
            let pretty = clause.get("pretty") == Some("1");
            wanted.then_some((DiscoveryForm { aggregated, encoding }, pretty))
        })
    };
    let found = if aggregated { find(true) } else { None };
    found.or_else(|| find(false)).ok_or_else(|| {
        let [json, yaml] = MEDIA_TYPES;
        ApiError::not_acceptable(&[json, yaml, envelope::MEDIA_TYPE])
    })
}

enum Asked {
    Shape(Shape),
    Nothing,
    Mismatch(&'static str),
}

impl<'a> Clause<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| *v)
    }
}

/// In the order of the client's preference; of two equals the more specific one first.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> =
        accept.split(',').filter_map(clause).filter(|c| c.quality > 0).collect();
    clauses.sort_by_key(|c| (std::cmp::Reverse(c.quality), c.kind == "*", c.subtype == "*"));
    clauses
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next()?;
    let (kind, subtype) = match range.split_once('/') {
        Some((kind, subtype)) => (kind.trim(), subtype.trim()),
        // Not in the RFC, but Java sends it.
        None if range == "*" => ("*", "*"),
        None => return None,
    };
    let parameters: Vec<(&str, &str)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let quality =
        parameters.iter().find(|(k, _)| k.eq_ignore_ascii_case("q")).map_or(1000, |(_, q)| quality(q));
    Some(Clause { kind, subtype, parameters, quality })
}

/// `0.8` is 800; what is no number between 0 and 1 is 1000, as if it were not there.
fn quality(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0).round() as u16,
        _ => 1000,
    }
}

fn media_type(clause: &Clause<'_>, endpoint: Endpoint) -> Option<MediaType> {
    let is = |text: &str, name: &str| text.eq_ignore_ascii_case(name);
    let any = clause.kind == "*" && clause.subtype == "*";
    if any || (is(clause.kind, "application") && (is(clause.subtype, "json") || clause.subtype == "*")) {
        return Some(MediaType::Json);
    }
    let yaml = is(clause.kind, "application") && is(clause.subtype, "yaml");
    (yaml && endpoint != Endpoint::Watch).then_some(MediaType::Yaml)
}

/// What a document is written in for this clause, as far as its parameters allow it (`stream` of something that is no
/// stream is let pass, as Kubernetes does; no server version can be asked for).
fn encoding(clause: &Clause<'_>) -> Option<DocumentEncoding> {
    let stream = clause.get("stream").unwrap_or_default();
    if !clause.get("sv").unwrap_or_default().is_empty() || !matches!(stream, "" | "watch") {
        return None;
    }
    let protobuf = envelope::MEDIA_TYPE.split_once('/').is_some_and(|(kind, subtype)| {
        clause.kind.eq_ignore_ascii_case(kind) && clause.subtype.eq_ignore_ascii_case(subtype)
    });
    match media_type(clause, Endpoint::Document) {
        _ if protobuf => Some(DocumentEncoding::Protobuf),
        Some(MediaType::Json) => Some(DocumentEncoding::Json),
        Some(MediaType::Yaml) => stream.is_empty().then_some(DocumentEncoding::Yaml),
        None => None,
    }
}

fn shape(clause: &Clause<'_>, endpoint: Endpoint) -> Asked {
    let stream = clause.get("stream").unwrap_or_default();
    if !stream.is_empty() && (stream != "watch" || endpoint != Endpoint::Watch) {
        return Asked::Nothing;
    }
    let Some(kind) = clause.get("as") else { return Asked::Shape(Shape::Object) };
    let version = match (clause.get("g"), clause.get("v")) {
        (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
        (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1beta1,
        _ => return Asked::Nothing,
    };
    match (kind, endpoint) {
        (_, Endpoint::Document) => Asked::Nothing,
        ("Table", _) => Asked::Shape(Shape::Table(version)),
        ("PartialObjectMetadata", Endpoint::Object | Endpoint::Watch) => {
            Asked::Shape(Shape::Partial(version))
        }
        ("PartialObjectMetadata", Endpoint::List) => {
            Asked::Mismatch("you requested PartialObjectMetadata, but the requested object is a list")
        }
        ("PartialObjectMetadataList", Endpoint::List) => Asked::Shape(Shape::PartialList(version)),
        ("PartialObjectMetadataList", Endpoint::Object | Endpoint::Watch) => {
            Asked::Mismatch("you requested PartialObjectMetadataList, but the requested object is not a list")
        }
        _ => Asked::Nothing,
    }
}

fn not_acceptable(message: &str) -> ApiError {
    let mut error = ApiError::not_acceptable(&[]);
    error.status.message = message.into();
    error
}
