//! Accept and Content-Type: which media type and which shape an answer has, and what a body is in.

mod accept;
mod body;
#[cfg(test)]
mod tests;

use http::{HeaderMap, header};

pub use self::body::{json_to_yaml, pretty_json, yaml_to_json};
use crate::{
    options::Query,
    status::{ApiError, quote},
};

/// What answers are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MediaType {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
}

/// The version of meta.k8s.io that a Table or PartialObjectMetadata is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaVersion {
    /// `meta.k8s.io/v1`.
    V1,
    /// `meta.k8s.io/v1beta1`: the same documents.
    V1beta1,
}

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The object or list itself.
    Object,
    /// A Table.
    Table(MetaVersion),
    /// PartialObjectMetadata: an object (or each object of a watch) with nothing but its metadata.
    Partial(MetaVersion),
    /// PartialObjectMetadataList: a list of such.
    PartialList(MetaVersion),
}

/// What a discovery document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentEncoding {
    /// `application/json`.
    Json,
    /// `application/json`, indented, for people.
    PrettyJson,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// Which form of a discovery document a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryForm {
    /// `apidiscovery.k8s.io/v2` (KEP-3352), not the legacy lists.
    pub aggregated: bool,
    /// What it is written in.
    pub encoding: DocumentEncoding,
}

/// What is asked, as far as it decides what may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// One object.
    Object,
    /// A list of objects.
    List,
    /// A watch.
    Watch,
    /// A document that has one shape: discovery, a Status, an action's answer.
    Document,
}

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The media type.
    pub media_type: MediaType,
    /// The shape.
    pub shape: Shape,
    /// Indented, for people. Never in a watch.
    pub pretty: bool,
}

/// How much of each object stands in a Table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata. The default.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// The patches that are accepted. OpenAPI lists exactly these.
pub const PATCH_TYPES: [&str; 2] = ["application/json-patch+json", "application/merge-patch+json"];
/// The media types of bodies and answers.
pub const MEDIA_TYPES: [&str; 2] = ["application/json", "application/yaml"];

impl MetaVersion {
    /// The `apiVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

impl Negotiated {
    /// What the request's headers and query (without `?`) ask for; 406 where it is nothing that we write.
    pub fn new(headers: &HeaderMap, query: &str, endpoint: Endpoint) -> Result<Self, ApiError> {
        let (media_type, shape, pretty) = accept::negotiate(&accept_header(headers), endpoint)?;
        let pretty = endpoint != Endpoint::Watch && (pretty || wants_pretty(headers, query));
        Ok(Self { media_type, shape, pretty })
    }

    /// For a Status that answers a request whose Accept may be what is wrong: JSON where nothing fits.
    pub fn for_error(headers: &HeaderMap, query: &str) -> Self {
        let document = Self::new(headers, query, Endpoint::Document);
        document.unwrap_or(Self { media_type: MediaType::Json, shape: Shape::Object, pretty: false })
    }

    /// The Content-Type of the answer; of a watch too, which is `application/json` as Kubernetes has it.
    pub fn content_type(&self) -> &'static str {
        match self.media_type {
            MediaType::Json => "application/json",
            MediaType::Yaml => "application/yaml",
        }
    }

    /// A whole answer, from JSON without white space: as it is with a line feed, indented, or as YAML.
    pub fn encode(&self, mut json: Vec<u8>) -> Result<Vec<u8>, ApiError> {
        match (self.media_type, self.pretty) {
            (MediaType::Yaml, _) => json_to_yaml(&json),
            (MediaType::Json, true) => Ok(pretty_json(&json)),
            (MediaType::Json, false) => {
                json.push(b'\n');
                Ok(json)
            }
        }
    }
}

impl DiscoveryForm {
    /// What the request's headers and query (without `?`) ask for, where `aggregated` says that there is an aggregated
    /// document too. As in kube-apiserver a clause for that wins over any other, wherever it stands.
    ///
    /// # Errors
    /// 406 where it is nothing that we write: an aggregated form of another version is ignored, a Table refused.
    pub fn new(headers: &HeaderMap, query: &str, aggregated: bool) -> Result<Self, ApiError> {
        let accept = accept_header(headers);
        let (mut form, pretty) = accept::discovery(&accept, aggregated)?;
        if form.encoding == DocumentEncoding::Json && (pretty || wants_pretty(headers, query)) {
            form.encoding = DocumentEncoding::PrettyJson;
        }
        Ok(form)
    }
}

impl IncludeObject {
    /// Reads `includeObject` of a Table request. Bad: 400.
    pub fn parse(query: &str) -> Result<Self, ApiError> {
        match Query::parse(query).get("includeObject").unwrap_or_default() {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                quote(other)
            ))),
        }
    }
}

/// What the body of a create, update, delete or action is in; none given is JSON, anything else is 415.
pub fn body_type(headers: &HeaderMap) -> Result<MediaType, ApiError> {
    match content_type(headers).as_deref() {
        None | Some("application/json") => Ok(MediaType::Json),
        Some("application/yaml") => Ok(MediaType::Yaml),
        Some(_) => Err(ApiError::unsupported_media_type(&MEDIA_TYPES)),
    }
}

/// The body of a create, update, delete or action as JSON.
pub fn body_json<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, ApiError> {
    match body_type(headers)? {
        MediaType::Json => Ok(body.into()),
        MediaType::Yaml => Ok(yaml_to_json(body)?.into()),
    }
}

/// The media type of the body, in lower case and without parameters. `None`: not given. What cannot be read is "".
pub fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or(";");
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!value.is_empty()).then_some(essence)
}

/// Which of these media types the request's Accept prefers, by its place; the first where any will do, as without an
/// Accept. `None`: it takes none of them, which is 406.
pub fn best(headers: &HeaderMap, offers: &[&str]) -> Option<usize> {
    accept::best(&accept_header(headers), offers)
}

fn accept_header(headers: &HeaderMap) -> String {
    let values: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn wants_pretty(headers: &HeaderMap, query: &str) -> bool {
    if let Some(value) = Query::parse(query).get("pretty").filter(|value| !value.is_empty()) {
        return matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(header::USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
    [b"curl".as_slice(), b"Wget", b"Mozilla/5.0"].iter().any(|name| agent.starts_with(name))
}
