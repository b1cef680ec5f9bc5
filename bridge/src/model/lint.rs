//! Faults and advice that concern several resources, or the schema as a whole.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{DescriptorPool, Kind};

use super::{
    Rules, Source, annotation,
    bind::{Bindings, Methods, Role},
    catalogue::Problem,
    comments::Comments,
    fault::Faults,
    json_names, names,
    resource::{self, Draft},
};

/// The options of files.
pub(super) fn files(pool: &DescriptorPool, faults: &mut Faults) {
    for file in pool.files() {
        match annotation::api(&file) {
            Ok(Some(api)) => {
                resource::check_group(api.group(), &file, faults);
                if !api.version.is_empty() {
                    resource::check_version(&api.version, &file, faults);
                }
            }
            Ok(None) => {}
            Err(error) => faults.report(&file, Problem::undecodable_option("kubridge.v1.api", error)),
        }
    }
}

/// There is no resource at all: why.
pub(crate) fn nothing(pool: &DescriptorPool, faults: &mut Faults) {
    let importing = pool
        .files()
        .find(|file| file.dependencies().any(|import| import.name().ends_with("kubridge/v1/api.proto")));
    match importing {
        Some(file) if !annotation::any_in(pool) => faults.report(&file, Problem::options_stripped()),
        _ => faults.report_set(Problem::no_resource()),
    }
}

/// Resources against each other, and each against what it must have.
pub(super) fn resources(drafts: &[Draft], bindings: &Bindings, rules: &Rules, faults: &mut Faults) {
    let methods = &bindings.methods;
    collisions(drafts, faults);
    for (index, (draft, methods)) in drafts.iter().zip(methods).enumerate() {
        if bindings.in_doubt.contains(&index) {
            continue;
        }
        if methods.is_empty() {
            faults.report(&draft.message, Problem::no_method(&draft.kind, draft.message.name()));
        } else if rules.require_list && !methods.contains_key(&Role::List) {
            let problem = match bindings.misnamed_lists.get(&index) {
                Some((method, usual)) => Problem::misnamed_list(&draft.kind, method, usual),
                None => Problem::no_list(&draft.kind, draft.message.name()),
            };
            faults.report(&draft.message, problem);
        }
    }
    let roots = drafts.iter().zip(methods).flat_map(|(draft, methods)| {
        let actions = methods.iter().filter(|(role, _)| matches!(role, Role::Action(..)));
        let messages = actions.flat_map(|(_, bound)| [bound.input.clone(), bound.output.clone()]);
        std::iter::once(draft.message.clone()).chain(messages)
    });
    json_names::check(roots, faults);
    list_keys(drafts, faults);
}

/// Two resources of one group and version with one name.
fn collisions(drafts: &[Draft], faults: &mut Faults) {
    let mut kinds: HashMap<(&str, &str, String), &Draft> = HashMap::new();
    let mut taken: HashMap<(&str, &str, String), (&Draft, &str)> = HashMap::new();
    for draft in drafts {
        let key = |name: &str| (draft.group.as_str(), draft.version.as_str(), name.to_owned());
        let mut shadowed = false;
        for kind in [draft.kind.clone(), format!("{}List", draft.kind)] {
            if let Some(other) = kinds.insert(key(&kind), draft) {
                shadowed = true;
                let (first, second) = (other.message.full_name(), draft.message.full_name());
                faults.report_field(&draft.message, "kind", Problem::kind_twice(first, second, kind));
                break;
            }
        }
        let mut names: Vec<(&str, &str)> = vec![("plural", &draft.plural), ("singular", &draft.singular)];
        names.extend(draft.short_names.iter().map(|name| ("short_names", name.as_str())));
        for (field, name) in names {
            match taken.get(&key(name)) {
                Some((other, _)) if other.message == draft.message => {}
                // Two of a kind have one singular: that was reported.
                Some(_) if shadowed && field == "singular" => {}
                Some((other, other_field)) => {
                    let first = other.message.full_name();
                    let problem = if field == "plural" && *other_field == "plural" {
                        Problem::plural_twice(first, draft.message.full_name(), name)
                    } else {
                        Problem::name_taken(name, other_field, first, field)
                    };
                    faults.report_field(&draft.message, field, problem);
                }
                None => {
                    taken.insert(key(name), (draft, field));
                }
            }
        }
    }
}

/// `list_type` and `list_map_keys` of every field in reach.
fn list_keys(drafts: &[Draft], faults: &mut Faults) {
    use crate::proto::ListType;
    let (messages, _) = json_names::reachable(drafts.iter().map(|draft| draft.message.clone()));
    for (message, field) in
        messages.iter().flat_map(|message| message.fields().map(move |field| (message, field)))
    {
        let annotated = annotation::field(&field);
        let Ok(list_type) = ListType::try_from(annotated.list_type) else {
            faults.report_field(message, field.name(), Problem::unknown_list_type(annotated.list_type));
            continue;
        };
        if list_type != ListType::Unspecified && !field.is_list() {
            faults.report_field(message, field.name(), Problem::list_type_of_no_list());
            continue;
        }
        if list_type != ListType::Map {
            if !annotated.list_map_keys.is_empty() {
                faults.report_field(message, field.name(), Problem::keys_without_map());
            }
            if list_type == ListType::Set
                && matches!(field.kind(), Kind::Message(m) if !super::path::is_scalar(m.full_name()))
            {
                faults.report_field(message, field.name(), Problem::set_of_messages());
            }
            continue;
        }
        let Kind::Message(element) = field.kind() else {
            faults.report_field(message, field.name(), Problem::map_of_scalars());
            continue;
        };
        if annotated.list_map_keys.is_empty() {
            faults.report_field(message, field.name(), Problem::map_without_keys());
        }
        for key in &annotated.list_map_keys {
            if !element.fields().any(|field| {
                field.json_name() == key && !matches!(field.kind(), Kind::Message(_)) && !field.is_list()
            }) {
                faults.report_field(message, field.name(), Problem::bad_map_key(key, element.full_name()));
            }
        }
    }
}

/// What is served all the same.
pub(super) fn advise(drafts: &[Draft], methods: &[Methods], comments: &Comments, advice: &mut Faults) {
    let mut files = BTreeMap::new();
    for (draft, methods) in drafts.iter().zip(methods) {
        let file = draft.message.parent_file();
        files.insert(file.name().to_owned(), file);
        if let Some(Kind::Message(status)) =
            draft.status_field.and_then(|n| draft.message.get_field(n)).map(|f| f.kind())
        {
            for field in status.fields() {
                let scalar = matches!(
                    field.kind(),
                    Kind::Bool
                        | Kind::Int32
                        | Kind::Int64
                        | Kind::Uint32
                        | Kind::Uint64
                        | Kind::Double
                        | Kind::Float
                );
                if scalar
                    && !field.is_list()
                    && !field.supports_presence()
                    && !annotation::field(&field).emit_zero
                {
                    advice.report_field(&status, field.name(), Problem::zero_left_out());
                }
            }
        }
        if let Some(delete) = methods.get(&Role::Delete) {
            let conditional = [Source::DeleteOptions, Source::Preconditions, Source::ResourceVersion];
            if !delete.request.iter().any(|binding| conditional.contains(&binding.source)) {
                advice.report_field(&draft.message, "delete", Problem::unconditional_delete());
            }
        }
        if !names::is_subdomain(&draft.group) || draft.group.contains('.') {
            continue;
        }
        advice.report_field(&draft.message, "group", Problem::group_without_dot(&draft.group));
    }
    for file in files.values().filter(|file| !comments.any_in(file)) {
        advice.report(file, Problem::no_comments());
    }
}
