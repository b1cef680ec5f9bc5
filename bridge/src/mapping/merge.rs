//! What files say over what was derived.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use super::{
    derive::{self, Derived, Found},
    facts::{Mapping, MethodMapping, NamesMapping, ResourceMapping, Verb},
    file::MappingFile,
};
use crate::model::{catalogue::Problem, fault::Faults};

/// The messages that the files make resources, where the backend has them.
pub(super) fn named(pool: &DescriptorPool, files: &[MappingFile]) -> Vec<MessageDescriptor> {
    let resources = files.iter().flat_map(|file| &file.spec.resources);
    resources.filter_map(|resource| pool.get_message_by_name(&resource.message.as_ref()?.value)).collect()
}

/// Whether the backend has a message that the file names.
pub(super) fn names_any(pool: &DescriptorPool, file: &MappingFile) -> bool {
    !named(pool, std::slice::from_ref(file)).is_empty()
}

/// Lays the files over what was derived. A file of which the backend has nothing is another backend's.
pub(super) fn merge(
    pool: &DescriptorPool,
    files: &[MappingFile],
    derived: Derived,
    faults: &mut Faults,
    advice: &mut Faults,
) -> Mapping {
    let Derived { mut found, doubts } = derived;
    let mut said_by: BTreeMap<usize, &MappingFile> = BTreeMap::new();
    for file in files {
        let places = places(file, &found);
        if places.iter().all(Option::is_none) {
            advice.report_field(file.place(), "spec.resources", Problem::mapping_unused());
            continue;
        }
        for at in places.iter().flatten() {
            let first = *said_by.entry(*at).or_insert(file);
            if !std::ptr::eq(first, file) {
                let message = found.get(*at).map_or("", |found| found.message.full_name()).to_owned();
                faults.report(file.place(), Problem::mapped_twice(message, first.said(), file.said()));
            }
        }
        lay(pool, file, &places, &mut found, faults);
    }
    for doubt in doubts {
        let Some(found) = found.get(doubt.resource) else { continue };
        let resource = &found.resource;
        if is(resource.ignore.as_ref()) || chosen(resource, doubt.verb, files) {
            continue;
        }
        let other = resource.methods.of(doubt.verb).and_then(|method| method.method.as_ref());
        let other = other.map_or("", |method| &method.value);
        faults.report(&doubt.method, Problem::verb_twice(doubt.verb.as_str(), found.kind(), other));
    }
    let mut resources = Vec::new();
    for found in found {
        let mut resource = found.resource;
        for verb in Verb::ALL {
            let place = resource.methods.place(verb);
            if place.as_ref().is_some_and(|method| is(method.ignore.as_ref())) {
                *place = None;
            }
        }
        resource.actions.retain(|_, action| !is(action.ignore.as_ref()));
        if is(resource.ignore.as_ref()) || resource.methods.is_empty() {
            continue;
        }
        derive::check(&found.message, &resource, faults, advice);
        resources.push(resource);
    }
    Mapping { resources, ..Mapping::default() }
}

fn is(flag: Option<&super::facts::Fact<bool>>) -> bool {
    flag.is_some_and(|fact| fact.value)
}

/// Whether a file says which method a verb is.
fn chosen(resource: &ResourceMapping, verb: Verb, files: &[MappingFile]) -> bool {
    let said = resource.methods.of(verb).and_then(|method| method.method.as_ref());
    !files.is_empty() && said.is_some_and(|said| said.origin == super::facts::Origin::File)
}

/// The resource that each entry of a file means. All none: the file says nothing of this backend.
pub(super) fn places(file: &MappingFile, found: &[Found]) -> Vec<Option<usize>> {
    file.spec.resources.iter().map(|said| place(said, &file.spec, found)).collect()
}

/// Lays a file over what was derived.
fn lay(
    pool: &DescriptorPool,
    file: &MappingFile,
    places: &[Option<usize>],
    found: &mut [Found],
    faults: &mut Faults,
) {
    for (index, (said, at)) in file.spec.resources.iter().zip(places).enumerate() {
        let Some(found) = at.and_then(|at| found.get_mut(at)) else {
            let problem = match (&said.message, &said.kind) {
                (Some(message), _) => Problem::no_such_resource("message", &message.value),
                (None, Some(kind)) => Problem::no_such_resource("kind", &kind.value),
                (None, None) => Problem::names_nothing(),
            };
            faults.report_field(file.place(), &format!("spec.resources[{index}]"), problem);
            continue;
        };
        let mut said = said.clone();
        said.group = said.group.or_else(|| file.spec.group.clone());
        said.version = said.version.or_else(|| file.spec.version.clone());
        over(pool, found, said);
    }
}

/// The resource that a file means.
fn place(said: &ResourceMapping, file: &Mapping, found: &[Found]) -> Option<usize> {
    if let Some(message) = &said.message {
        return found.iter().position(|found| found.message.full_name() == message.value);
    }
    let same = |one: &Option<super::facts::Fact<String>>, other: &Option<super::facts::Fact<String>>| {
        one.as_ref().is_none_or(|one| other.as_ref().is_some_and(|other| one.value == other.value))
    };
    let kind = said.kind.as_ref()?;
    let version = said.version.clone().or_else(|| file.version.clone());
    found.iter().position(|found| {
        found.kind() == kind.value
            && (found.resource.version.is_none() || same(&version, &found.resource.version))
    })
}

/// Takes from `said` what it says.
macro_rules! take {
    ($base:expr, $said:expr; $($field:ident),*) => {
        $(if $said.$field.is_some() { $base.$field = $said.$field; })*
    };
}

fn over(pool: &DescriptorPool, found: &mut Found, said: ResourceMapping) {
    let ResourceMapping { names, fields, methods, actions, .. } = said.clone();
    let base = &mut found.resource;
    take!(base, said; message, ignore, group, version, kind, plural, singular, short_names, categories, columns,
          selectable_fields);
    let NamesMapping { field, patterns, namespace_field } = names;
    // Names without patterns take the place of those with.
    if namespace_field.is_some() || (field.is_some() && patterns.is_none()) {
        base.names.patterns = None;
    }
    if let Some(field) = field {
        base.names.field = Some(field);
    }
    if let Some(patterns) = patterns {
        base.names.patterns = Some(patterns);
        base.names.namespace_field = None;
    }
    if namespace_field.is_some() {
        base.names.namespace_field = namespace_field;
    }
    for (name, said) in fields {
        let base = base.fields.entry(name).or_default();
        take!(base, said; to, required, immutable, input_only);
    }
    settle_names(base);
    for verb in Verb::ALL {
        let Some(said) = methods.of(verb).cloned() else { continue };
        let present = found.resource.methods.of(verb);
        let base = start(pool, found, verb, &said, present);
        *found.resource.methods.place(verb) = Some(method_over(base, said));
    }
    for (name, said) in actions {
        let base = found.resource.actions.remove(&name).unwrap_or_default();
        let known = said.method.is_none()
            || said.method.as_ref().map(|m| &m.value) == base.method.as_ref().map(|m| &m.value);
        let base = if known { base } else { action_of(pool, &said) };
        found.resource.actions.insert(name, method_over(base, said));
    }
}

/// The fields that the names name go nowhere else.
fn settle_names(resource: &mut ResourceMapping) {
    use super::facts::{Fact, Home, Origin};
    let names = [(&resource.names.field, Home::Name), (&resource.names.namespace_field, Home::Namespace)];
    for (name, home) in names {
        let Some(name) = name.as_ref().filter(|name| name.origin == Origin::File) else { continue };
        for (other, field) in &mut resource.fields {
            if *other != name.value && field.to.as_ref().is_some_and(|to| to.value == home) {
                field.to = Some(Fact { value: Home::Spec, origin: Origin::File });
            }
        }
        let field = resource.fields.entry(name.value.clone()).or_default();
        if field.to.as_ref().is_none_or(|to| to.origin != Origin::File) {
            field.to = Some(Fact { value: home, origin: Origin::File });
        }
    }
}

/// What a method is before the file's words of it: what was derived, or, of another method, what follows from it.
fn start(
    pool: &DescriptorPool,
    found: &Found,
    verb: Verb,
    said: &MethodMapping,
    present: Option<&MethodMapping>,
) -> MethodMapping {
    let name = said.method.as_ref().map(|method| &method.value);
    let derived = present.and_then(|present| present.method.as_ref()).map(|method| &method.value);
    match (name, present) {
        (None, Some(present)) => return present.clone(),
        (Some(name), Some(present)) if Some(name) == derived => return present.clone(),
        _ => {}
    }
    match name.and_then(|name| method(pool, name)) {
        Some(method) => derive::complete(found, verb, &method),
        None => MethodMapping::default(),
    }
}

/// An action that a file names: its request's `name` is the object's, as that of every custom method.
fn action_of(pool: &DescriptorPool, said: &MethodMapping) -> MethodMapping {
    let found = said.method.as_ref().and_then(|name| method(pool, &name.value));
    found.map(|method| derive::custom(&method)).unwrap_or_default()
}

pub(super) fn method(pool: &DescriptorPool, name: &str) -> Option<MethodDescriptor> {
    let (service, short) = name.rsplit_once('.')?;
    pool.get_service_by_name(service)?.methods().find(|method| method.name() == short)
}

fn method_over(mut base: MethodMapping, said: MethodMapping) -> MethodMapping {
    take!(base, said; method, ignore, items, next_page_token, operation);
    base.request.extend(said.request);
    base
}
