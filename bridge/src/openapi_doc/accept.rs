//! A downloaded document -> the part of it that its server may speak for, without faults.

use serde_json::{Map, Value};

use super::{
    Fault, V2Document, V3Document, json,
    lint::{self, Dialect},
    path, refs,
};

/// Of a downloaded v3 document what concerns `group` and `version`: paths below `/apis/G/V/`, and what these use.
///
/// # Errors
/// What is wrong with that part; nothing of the document is to be published then.
pub fn accept_v3(bytes: &[u8], group: &str, version: &str) -> Result<V3Document, Vec<Fault>> {
    accept_v3_at(bytes, &path(group, version))
}

/// Of a v3 document that the delegate serves as `key` ("api/v1", "apis/apps/v1", "apis/apps", "version") what that
/// key is about.
///
/// # Errors
/// As [`accept_v3`].
pub fn accept_v3_at(bytes: &[u8], key: &str) -> Result<V3Document, Vec<Fault>> {
    let mut twice = Vec::new();
    let document = json::parse(bytes, &mut twice).map_err(|fault| vec![fault])?;
    let part = cut_v3(&document, |path| is_below(path, key));
    checked(&part, Dialect::V3, claim(key), &twice)?;
    Ok(V3Document::new(&part))
}

/// Of a downloaded v2 document what concerns `group` and `version`: paths below `/apis/G/V/`, and what these use.
///
/// # Errors
/// As [`accept_v3`].
pub fn accept_v2(bytes: &[u8], group: &str, version: &str) -> Result<V2Document, Vec<Fault>> {
    let key = path(group, version);
    accept_v2_where(bytes, Some((group, version)), |path| is_below(path, &key))
}

/// [`accept_v2`] for many groups and versions, with the document read only once.
///
/// # Errors
/// The document is not read at all.
pub fn accept_v2_each(
    bytes: &[u8],
    claims: &[(String, String)],
) -> Result<Vec<Result<V2Document, Vec<Fault>>>, Vec<Fault>> {
    let mut twice = Vec::new();
    let document = json::parse(bytes, &mut twice).map_err(|fault| vec![fault])?;
    let each = claims.iter().map(|(group, version)| {
        let key = path(group, version);
        let part = cut_v2(&document, |path| is_below(path, &key));
        checked(&part, Dialect::V2, Some((group, version)), &twice)?;
        Ok(V2Document::new(part))
    });
    Ok(each.collect())
}

/// The delegate's v2 document, whole: it speaks for whatever nobody else claims.
///
/// # Errors
/// As [`accept_v3`].
pub fn accept_v2_whole(bytes: &[u8]) -> Result<V2Document, Vec<Fault>> {
    accept_v2_where(bytes, None, |_| true)
}

fn accept_v2_where(
    bytes: &[u8],
    claim: Option<(&str, &str)>,
    keep: impl Fn(&str) -> bool,
) -> Result<V2Document, Vec<Fault>> {
    let mut twice = Vec::new();
    let document = json::parse(bytes, &mut twice).map_err(|fault| vec![fault])?;
    let part = cut_v2(&document, keep);
    checked(&part, Dialect::V2, claim, &twice)?;
    Ok(V2Document::new(part))
}

/// Whether a path belongs to a key of the v3 index.
pub(super) fn is_below(path: &str, key: &str) -> bool {
    let Some(rest) = path.strip_prefix('/').and_then(|path| path.strip_prefix(key)) else { return false };
    // Below "apis" and "apis/apps" are other keys.
    let parts = key.split('/').count();
    let whole = match key.split('/').next() {
        Some("apis") => parts == 3,
        Some("api") => parts == 2,
        _ => true,
    };
    rest.is_empty() || rest == "/" || (whole && rest.starts_with('/'))
}

/// "apis/G/V" and "api/V" as group and version.
pub(super) fn claim(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.split('/');
    let claim = match (parts.next()?, parts.next()?, parts.next()) {
        ("api", version, None) => ("", version),
        ("apis", group, Some(version)) => (group, version),
        _ => return None,
    };
    parts.next().is_none().then_some(claim)
}

fn checked(
    document: &Value,
    dialect: Dialect,
    claim: Option<(&str, &str)>,
    twice: &[String],
) -> Result<(), Vec<Fault>> {
    if !document.is_object() {
        return Err(vec![Fault::new("", "is no object", "send an OpenAPI document")]);
    }
    let mut faults = lint::faults(document, dialect, claim);
    // What is cut away may be as it likes.
    let kept = |pointer: &&String| document.pointer(pointer).is_some();
    faults.extend(
        twice
            .iter()
            .filter(kept)
            .map(|pointer| Fault::new(pointer, "is there twice", "leave one of them out")),
    );
    faults.truncate(lint::MAX_FAULTS);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Leaves the kept paths and what they use, and nothing that is neither. What is malformed stays, for the lint.
fn cut_v3(document: &Value, keep: impl Fn(&str) -> bool) -> Value {
    let Some(document) = document.as_object() else { return document.clone() };
    let paths = cut_paths(document, keep);
    let mut out = with(document, &["openapi", "info", "security"]);
    let mut kept = Map::new();
    match document.get("components") {
        Some(Value::Object(components)) => {
            let sections: Vec<(String, &Map<String, Value>)> = components
                .iter()
                .filter(|(name, _)| *name != "securitySchemes")
                .filter_map(|(name, section)| Some((format!("#/components/{name}/"), section.as_object()?)))
                .collect();
            let reached = refs::reached(&paths, &sections);
            for ((prefix, _), section) in
                sections.iter().zip(reached).filter(|(_, section)| !section.is_empty())
            {
                let name = prefix.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                kept.insert(name.to_owned(), section.into());
            }
            for (name, section) in components {
                if name == "securitySchemes" || !section.is_object() {
                    kept.insert(name.clone(), section.clone());
                }
            }
            out.insert("components".to_owned(), kept.into());
        }
        Some(other) => {
            out.insert("components".to_owned(), other.clone());
        }
        None => {}
    }
    out.insert("paths".to_owned(), paths);
    out.into()
}

fn cut_v2(document: &Value, keep: impl Fn(&str) -> bool) -> Value {
    let Some(document) = document.as_object() else { return document.clone() };
    let paths = cut_paths(document, keep);
    let mut out = with(document, &["swagger", "info"]);
    let names = ["definitions", "parameters", "responses"];
    let sections: Vec<(String, &Map<String, Value>)> = names
        .iter()
        .filter_map(|name| Some((format!("#/{name}/"), document.get(*name)?.as_object()?)))
        .collect();
    let reached = refs::reached(&paths, &sections);
    for ((prefix, _), section) in sections.iter().zip(reached) {
        out.insert(prefix.trim_matches(['#', '/']).to_owned(), section.into());
    }
    for name in names {
        if let Some(section) = document.get(name).filter(|section| !section.is_object()) {
            out.insert(name.to_owned(), section.clone());
        }
    }
    out.insert("paths".to_owned(), paths);
    out.into()
}

fn cut_paths(document: &Map<String, Value>, keep: impl Fn(&str) -> bool) -> Value {
    match document.get("paths") {
        Some(Value::Object(paths)) => {
            let kept = paths.iter().filter(|(path, _)| keep(path));
            kept.map(|(path, item)| (path.clone(), item.clone())).collect::<Map<_, _>>().into()
        }
        Some(other) => other.clone(),
        None => Value::Object(Map::new()),
    }
}

fn with(document: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    let kept = document.iter().filter(|(key, _)| keys.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}
