//! What a request selects of a collection: namespace, labels, fields. Exact, whatever the backend filters.

use std::borrow::Cow;

use crate::{
    model::Resource,
    object::MetaView,
    selector::{FieldSelector, LabelSelector},
    status::ApiError,
    transcode::{FieldType, WireError},
    watch::Selects,
    wire,
};

/// The selection of one request, ready to match objects on the wire.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
    /// Where the fields beside name and namespace lie.
    paths: Vec<(String, Vec<FieldType>)>,
}

impl Filter {
    /// Prepares the selectors. Errors are 400: a field that this resource does not select by.
    pub(super) fn new(
        resource: &Resource,
        namespace: &str,
        labels: LabelSelector,
        fields: FieldSelector,
    ) -> Result<Self, ApiError> {
        fields.check(|field| {
            field == "metadata.name"
                || (field == "metadata.namespace" && resource.namespaced)
                || resource.selectable_fields.iter().any(|known| known == field)
        })?;
        let paths = fields
            .requirements()
            .iter()
            .filter(|requirement| !requirement.field.starts_with("metadata."))
            .filter_map(|requirement| Some((requirement.field.clone(), path(resource, &requirement.field)?)))
            .collect();
        let namespace = if resource.namespaced { namespace.into() } else { String::new() };
        Ok(Self { namespace, labels, fields, paths })
    }

    /// Whether the client selects at all (the namespace aside).
    pub(super) fn has_selectors(&self) -> bool {
        !(self.labels.is_empty() && self.fields.is_empty())
    }

    /// What the selectors look at.
    pub(super) fn selects(&self) -> Selects {
        if self.labels.is_empty() && self.paths.is_empty() { Selects::Identity } else { Selects::State }
    }

    /// Whether an object is selected.
    pub(super) fn matches(&self, object: &[u8]) -> Result<bool, WireError> {
        if self.namespace.is_empty() && !self.has_selectors() {
            return Ok(true);
        }
        let meta = MetaView::of(object)?;
        Ok((self.namespace.is_empty() || meta.namespace == self.namespace)
            && (self.labels.is_empty() || self.labels.matches(|key| meta.label(key)))
            && (self.fields.is_empty() || self.fields_match(&meta, object)?))
    }

    fn fields_match(&self, meta: &MetaView<'_>, object: &[u8]) -> Result<bool, WireError> {
        let mut values = Vec::with_capacity(self.paths.len());
        for (field, path) in &self.paths {
            values.push((field.as_str(), value(object, path)?));
        }
        Ok(self.fields.matches(|field| match field {
            "metadata.name" => Cow::Borrowed(meta.name),
            "metadata.namespace" => Cow::Borrowed(meta.namespace),
            _ => {
                let found = values.iter().find(|(name, _)| *name == field);
                Cow::Owned(found.map(|(_, value)| value.clone()).unwrap_or_default())
            }
        }))
    }
}

fn path(resource: &Resource, field: &str) -> Option<Vec<FieldType>> {
    let mut steps = Vec::new();
    let mut message = Some(resource.message.clone());
    for name in field.split('.') {
        let step = message?.field(name)?;
        message = step.message();
        steps.push(step);
    }
    Some(steps)
}

/// The field's value as text; an absent one is empty.
fn value(object: &[u8], path: &[FieldType]) -> Result<String, WireError> {
    let Some((last, parents)) = path.split_last() else { return Ok(String::new()) };
    let mut parent = Cow::Borrowed(object);
    for step in parents {
        let inner = wire::message_field(&parent, step.number())
            .map_err(|e| WireError::Malformed { path: String::new(), offset: e.offset })?
            .into_owned();
        parent = inner.into();
    }
    let mut json = Vec::new();
    if !last.write_json(&parent, &mut json)? {
        return Ok(String::new());
    }
    Ok(serde_json::from_slice::<String>(&json)
        .unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned()))
}
