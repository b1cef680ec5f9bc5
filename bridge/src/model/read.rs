//! A descriptor set -> a [`Schema`], or all of its faults.

use std::sync::{Arc, OnceLock};

use prost_reflect::DescriptorPool;

use super::{
    Action, Api, Fault, Keeps, Method, Methods, NameSyntax, Resource, Schema,
    bind::{self, Bound, Role},
    comments::Comments,
    fault::Faults,
    lint,
    resource::{self, Draft},
    set,
};
use crate::transcode::{MessageType, Tables};

/// What is asked of a schema beyond its shape. The default is what backends must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Every resource must have a List.
    pub require_list: bool,
    /// `spec` must be field 2 and `status` field 3.
    pub fixed_numbers: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { require_list: true, fixed_numbers: true }
    }
}

impl Rules {
    /// For the aggregator's own kinds: some are create-only (SelfSubjectAccessReview), and all have
    /// Kubernetes' field numbers (SelfSubjectReview has `status = 2`).
    pub const OWN_KINDS: Self = Self { require_list: false, fixed_numbers: false };
}

impl Schema {
    /// Reads a `google.protobuf.FileDescriptorSet`, as a compiler, the Schema service or reflection gives it.
    ///
    /// # Errors
    /// All faults at once, sorted by file, element and field.
    pub fn from_descriptor_set(bytes: &[u8], rules: Rules) -> Result<Self, Vec<Fault>> {
        let pool = set::read(bytes).map_err(Faults::into_sorted)?;
        Self::from_pool(&pool, rules)
    }

    /// Reads descriptors.
    ///
    /// # Errors
    /// All faults at once, sorted by file, element and field.
    pub fn from_pool(pool: &DescriptorPool, rules: Rules) -> Result<Self, Vec<Fault>> {
        let (mut faults, mut advice) = (Faults::default(), Faults::default());
        let comments = Comments::read(pool);
        lint::files(pool, &mut faults);
        let drafts: Vec<Draft> = pool
            .all_messages()
            .filter_map(|message| resource::read(&message, &comments, &rules, &mut faults))
            .collect();
        if drafts.is_empty() {
            if faults.is_empty() {
                lint::nothing(pool, &mut faults);
            }
            return Err(faults.into_sorted());
        }
        let bindings = bind::bind(pool, &drafts, &mut faults, &mut advice);
        lint::resources(&drafts, &bindings, &rules, &mut faults);
        if !faults.is_empty() {
            return Err(faults.into_sorted());
        }
        let methods = bindings.methods;
        lint::advise(&drafts, &methods, &comments, &mut advice);
        let tables = Tables::compile(pool);
        let mut apis: Vec<Api> = Vec::new();
        for (draft, methods) in drafts.into_iter().zip(methods) {
            // The tables are compiled from the same pool: every message has one.
            let Some(resource) = finish(&tables, draft, methods, rules).map(Arc::new) else { continue };
            match apis.iter_mut().find(|api| api.group == resource.group && api.version == resource.version) {
                Some(api) => api.resources.push(resource),
                None => apis.push(Api {
                    group: resource.group.clone(),
                    version: resource.version.clone(),
                    resources: vec![resource],
                }),
            }
        }
        let apis = apis.into_iter().map(Arc::new).collect();
        Ok(Self { apis, advice: advice.into_sorted(), mapped: None })
    }
}

/// The one place where message types are looked up.
fn finish(tables: &Tables, draft: Draft, bound: bind::Methods, rules: Rules) -> Option<Resource> {
    let table = |message: &prost_reflect::MessageDescriptor| -> Option<MessageType> {
        let table = tables.message(message.full_name());
        debug_assert!(table.is_some(), "{} is in the pool", message.full_name());
        table
    };
    let method = |bound: Bound| -> Option<Arc<Method>> {
        Some(Arc::new(Method {
            path: bound.path.into(),
            streaming: bound.streaming,
            request: bound.request,
            input: table(&bound.input)?,
            output: table(&bound.output)?,
        }))
    };
    let mut methods = Methods::default();
    let mut actions: Vec<Action> = Vec::new();
    for (role, bound) in bound {
        let kind = bound.input.name().to_owned();
        let method = method(bound)?;
        let place = match role {
            Role::Get => &mut methods.get,
            Role::List => &mut methods.list,
            Role::Watch => &mut methods.watch,
            Role::Create => &mut methods.create,
            Role::Update => &mut methods.update,
            Role::UpdateStatus => &mut methods.update_status,
            Role::Delete => &mut methods.delete,
            Role::DeleteCollection => &mut methods.delete_collection,
            Role::Action(name, verb) => {
                // Roles are sorted: the methods of one subresource come together, create first.
                match actions.last_mut().filter(|action| action.name == name) {
                    Some(action) => action.methods.push((verb, method)),
                    None => actions.push(Action { name, methods: vec![(verb, method)], kind }),
                }
                continue;
            }
        };
        *place = Some(method);
    }
    let updates = methods.update.is_some() || methods.update_status.is_some();
    Some(Resource {
        list_kind: format!("{}List", draft.kind),
        message: table(&draft.message)?,
        status_subresource: draft.status_field.is_some() && updates,
        group: draft.group,
        version: draft.version,
        kind: draft.kind,
        plural: draft.plural,
        singular: draft.singular,
        short_names: draft.short_names,
        categories: draft.categories,
        namespaced: draft.namespaced,
        managed: draft.managed,
        versioned: true,
        keeps: Keeps::default(),
        per_user: draft.per_user,
        columns: draft.columns,
        selectable_fields: draft.selectable_fields,
        deprecation_warning: draft.deprecation_warning,
        description: draft.description,
        spec_field: draft.spec_field,
        status_field: draft.status_field,
        methods,
        actions,
        wire_twin: !rules.fixed_numbers,
        names: NameSyntax::default(),
        table: OnceLock::new(),
    })
}
