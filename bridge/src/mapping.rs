//! Services that know nothing of Kubernetes, as Kubernetes APIs.
//!
//! A [`Mapping`] says how messages are resources and methods are verbs. It is derived from Google's annotations
//! (`google.api.resource` and its friends, AIP), and says of every fact what it follows from. Compiled with the
//! descriptors it is two things: a [`Schema`] in the contract form, which everything else works with, and a [`Mapped`],
//! by which [`MappedCaller`] answers the calls of that schema with calls of the service.

mod annotations;
mod caller;
mod compile;
mod derive;
mod facts;
mod file;
mod identity;
mod merge;
mod names;
mod object;
mod plan;
mod shape;
mod synthetic;

use std::sync::Arc;

use prost_reflect::DescriptorPool;

use crate::model::{
    Api, Fault, Keeps, Methods, Resource, Rules, Schema, annotation,
    catalogue::Problem,
    fault::{Faults, Place},
    lint, set,
};

pub use caller::MappedCaller;
pub use facts::{
    ColumnMapping, Fact, FieldMapping, Home, Mapping, MethodMapping, MethodsMapping, NamesMapping, Origin,
    ResourceMapping, Value, Verb,
};
pub use file::{ApiVersion, Kind, MappingFile, Metadata};
pub use object::UPDATE_TIME;
pub use plan::Mapped;

use self::{
    compile::Titles,
    plan::{Plan, Role},
};

/// Reads what a backend declares: by our own annotations where it has them, else by Google's and by mapping files.
/// Of a file of which the backend has nothing nothing is taken: it is another backend's.
///
/// # Errors
/// All faults at once, sorted by file, element and field.
pub fn read_schema(bytes: &[u8], rules: Rules, files: &[MappingFile]) -> Result<Schema, Vec<Fault>> {
    read(bytes, rules, files, false)
}

/// The same by one mapping alone, which was chosen for this backend.
///
/// # Errors
/// As [`read_schema`]; and that the mapping says nothing of this backend.
pub fn read_schema_by(bytes: &[u8], rules: Rules, chosen: &MappingFile) -> Result<Schema, Vec<Fault>> {
    read(bytes, rules, std::slice::from_ref(chosen), true)
}

/// Those of `files` that say something of a backend. The others may change without being news to it.
pub fn relevant(bytes: &[u8], files: &[MappingFile]) -> Vec<MappingFile> {
    let Ok(pool) = set::read(bytes) else { return files.to_vec() };
    if annotation::any_in(&pool) {
        return Vec::new();
    }
    let (mut faults, mut advice) = (Faults::default(), Faults::default());
    let found = derive::derive(&pool, &merge::named(&pool, files), &mut faults, &mut advice).found;
    let says = |file: &&MappingFile| merge::places(file, &found).iter().any(Option::is_some);
    files.iter().filter(says).cloned().collect()
}

fn read(bytes: &[u8], rules: Rules, files: &[MappingFile], chosen: bool) -> Result<Schema, Vec<Fault>> {
    let pool = set::read(bytes).map_err(Faults::into_sorted)?;
    let (mut faults, mut advice) = (Faults::default(), Faults::default());
    if annotation::any_in(&pool) {
        files.iter().filter(|file| merge::names_any(&pool, file)).for_each(|file| {
            advice.report_field(file.place(), "spec.resources", Problem::mapping_overruled());
        });
        let mut schema = Schema::from_pool(&pool, rules)?;
        schema.advice.extend(advice.into_sorted());
        return Ok(schema);
    }
    let named = merge::named(&pool, files);
    let derived = derive::derive(&pool, &named, &mut faults, &mut advice);
    if chosen {
        let says = |file: &&MappingFile| merge::places(file, &derived.found).iter().any(Option::is_some);
        for file in files.iter().filter(|file| !says(file)) {
            faults.report(file.place(), Problem::mapping_of_another_backend(&file.metadata.name));
        }
    }
    let mapping = merge::merge(&pool, files, derived, &mut faults, &mut advice);
    if mapping.resources.is_empty() && faults.is_empty() {
        nothing(&pool, files, &mut faults);
        return Err(faults.into_sorted());
    }
    compile_all(&pool, mapping, rules, faults, advice)
}

/// There is no resource at all: why, and every way to have one.
fn nothing(pool: &DescriptorPool, files: &[MappingFile], faults: &mut Faults) {
    if let Some(file) = annotations::stripped(pool) {
        faults.report(Place::file(&file), Problem::google_options_stripped());
        return;
    }
    lint::nothing(pool, faults);
    for file in files {
        let messages: Vec<&str> = file
            .spec
            .resources
            .iter()
            .filter_map(|said| Some(said.message.as_ref()?.value.as_str()))
            .collect();
        faults.report_field(
            file.place(),
            "spec.resources",
            Problem::mapping_without_backend(messages.join(", ")),
        );
    }
}

fn compile_all(
    pool: &DescriptorPool,
    mapping: Mapping,
    rules: Rules,
    mut faults: Faults,
    mut advice: Faults,
) -> Result<Schema, Vec<Fault>> {
    let mut compiled: Vec<(Titles, Plan, ResourceMapping)> = Vec::new();
    for resource in &mapping.resources {
        if let Some((titles, plan)) = compile::resource(pool, resource, &mut faults) {
            compile::methods::check(&plan, &mut faults);
            compiled.push((titles, plan, resource.clone()));
        }
    }
    if !faults.is_empty() {
        return Err(faults.into_sorted());
    }
    find_parents(&mut compiled);
    let built = match synthetic::build(pool, &compiled) {
        Ok(built) => built,
        Err(error) => {
            faults.report_set(Problem::not_beside_the_contract(error));
            return Err(faults.into_sorted());
        }
    };
    let mut schema = Schema::from_pool(&built.pool, rules)?;
    let mut calls = std::collections::HashMap::new();
    let mut paths = std::collections::HashMap::new();
    for (made, (plan, role), called) in built.calls {
        // The path that people know, where it is told from the others by it.
        let mut path = called;
        while calls.contains_key(path.as_str()) {
            path.push_str(match role {
                Role::Verb(verb) => suffix(verb),
                Role::Action(_) => "#action",
            });
        }
        let path: Arc<str> = path.into();
        calls.insert(Arc::clone(&path), (plan, role));
        paths.insert(made, path);
    }
    for api in &mut schema.apis {
        let Some(api) = Arc::get_mut(api) else { continue };
        finish(api, &compiled, &paths);
    }
    let plans = compiled.into_iter().map(|(_, plan, _)| plan).collect();
    schema.mapped = Some(Arc::new(Mapped { plans, calls, mapping }));
    let mut all = std::mem::take(&mut schema.advice);
    all.extend(advice_of(&mut advice));
    all.sort();
    all.dedup();
    schema.advice = all;
    Ok(schema)
}

fn advice_of(advice: &mut Faults) -> Vec<Fault> {
    std::mem::take(advice).into_sorted()
}

fn suffix(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "#get",
        Verb::List => "#list",
        Verb::Create => "#create",
        Verb::Update => "#update",
        Verb::Delete => "#delete",
    }
}

/// The plan that lists the parents of each pattern: that of a resource with the parent's pattern.
fn find_parents(compiled: &mut [(Titles, Plan, ResourceMapping)]) {
    let shapes: Vec<(usize, String)> = compiled
        .iter()
        .enumerate()
        .filter(|(_, (_, plan, _))| plan.methods.contains_key(&Verb::List))
        .filter_map(|(at, (_, plan, _))| Some((at, plan.identity.resource_names()?)))
        .flat_map(|(at, names)| names.all().iter().map(move |pattern| (at, pattern.shape())))
        .collect();
    for (_, plan, _) in compiled {
        let Some(names) = plan.identity.resource_names() else { continue };
        let parent = |shape: String| shapes.iter().find(|(_, other)| *other == shape).map(|(at, _)| *at);
        plan.parents = names.all().iter().map(|pattern| pattern.parent_pattern().and_then(parent)).collect();
    }
}

/// What the contract form does not say of a resource.
fn finish(
    api: &mut Api,
    compiled: &[(Titles, Plan, ResourceMapping)],
    paths: &std::collections::HashMap<String, Arc<str>>,
) {
    for resource in &mut api.resources {
        let Some(resource) = Arc::get_mut(resource) else { continue };
        let plan = compiled
            .iter()
            .find(|(titles, ..)| {
                titles.group == resource.group
                    && titles.version == resource.version
                    && titles.kind == resource.kind
            })
            .map(|(_, plan, _)| plan);
        resource.versioned = false;
        resource.status_subresource = false;
        resource.keeps = Keeps {
            labels: plan.is_some_and(|plan| plan.field(Home::Labels).is_some()),
            annotations: plan.is_some_and(|plan| plan.field(Home::Annotations).is_some()),
            dependencies: false,
            status: false,
        };
        rename(resource, paths);
    }
}

/// Gives every method the path of what it calls.
fn rename(resource: &mut Resource, paths: &std::collections::HashMap<String, Arc<str>>) {
    let Methods { get, list, create, update, delete, .. } = &mut resource.methods;
    let standard = [get, list, create, update, delete].into_iter().flatten();
    let actions =
        resource.actions.iter_mut().flat_map(|action| &mut action.methods).map(|(_, method)| method);
    for method in standard.chain(actions) {
        if let Some(method) = Arc::get_mut(method)
            && let Some(path) = paths.get(&*method.path)
        {
            method.path = Arc::clone(path);
        }
    }
}
