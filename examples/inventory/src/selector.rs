//! Label and field selectors, best effort: equality only. What is not understood selects
//! everything, and Kubridge filters exactly.

use crate::{contract::ObjectMeta, kind::Kind};

/// What must hold; all of it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Selector {
    labels: Vec<(String, String)>,
    fields: Vec<(String, String)>,
}

impl Selector {
    /// Of `a=b`, `a==b`, joined by commas.
    pub(crate) fn new(labels: &str, fields: &str) -> Self {
        Self { labels: equalities(labels), fields: equalities(fields) }
    }

    /// Whether nothing is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object is selected.
    pub(crate) fn matches<T: Kind>(&self, object: &T) -> bool {
        if self.is_empty() {
            return true;
        }
        let meta = object.meta().and_then(|meta| meta.decode_fields().ok()).unwrap_or_default();
        self.labels.iter().all(|(key, value)| meta.labels.get(key) == Some(value))
            && self.fields.iter().all(|(path, value)| field(object, &meta, path).is_none_or(|v| v == value))
    }
}

/// `None`: not a field that is known here.
fn field<'a, T: Kind>(object: &'a T, meta: &'a ObjectMeta, path: &str) -> Option<&'a str> {
    match path {
        "metadata.name" => Some(&meta.name),
        "metadata.namespace" => Some(&meta.namespace),
        _ => object.selectable(path),
    }
}

fn equalities(selector: &str) -> Vec<(String, String)> {
    // Sets ("a in (b,c)") have commas of their own.
    if selector.contains(['(', '\\']) {
        return Vec::new();
    }
    let equality = |term: &str| {
        let (key, value) = term.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value).trim();
        let key = key.trim();
        (!key.is_empty() && !key.ends_with('!')).then(|| (key.to_owned(), value.to_owned()))
    };
    selector.split(',').filter_map(equality).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Machine, MachineSpec};

    #[test]
    fn selects_by_equality_and_leaves_the_rest_alone() {
        let meta =
            ObjectMeta { name: "m".into(), labels: [("a".into(), "b".into())].into(), ..Default::default() };
        let spec = MachineSpec { rack: "r1".into(), ..Default::default() };
        let machine = Machine { metadata: Some(meta.into()), spec: Some(spec), status: None };
        for (labels, fields, selected) in [
            ("", "", true),
            ("a=b", "", true),
            ("a==b", "spec.rack=r1", true),
            ("a=c", "", false),
            ("x=y", "", false),
            ("", "spec.rack=r2", false),
            ("", "metadata.name=m", true),
            ("", "metadata.name=n", false),
            ("a in (c,d)", "", true),
            ("a!=b", "", true),
            ("", "spec.serial=zzz", true),
        ] {
            assert_eq!(Selector::new(labels, fields).matches(&machine), selected, "{labels:?} {fields:?}");
        }
    }
}
