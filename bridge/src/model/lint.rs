//! Faults and advice that concern several resources, or the schema as a whole.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{DescriptorPool, Kind};

use super::{
    Rules, Source, annotation,
    bind::{Bindings, Methods, Role},
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
            Err(error) => faults.add(
                &file,
                format!("(kubridge.v1.api) cannot be decoded: {error}"),
                "compile with the api.proto of this Kubridge",
            ),
        }
    }
}

/// There is no resource at all: why.
pub(crate) fn nothing(pool: &DescriptorPool, faults: &mut Faults) {
    let importing = pool
        .files()
        .find(|file| file.dependencies().any(|import| import.name().ends_with("kubridge/v1/api.proto")));
    match importing {
        Some(file) if !annotation::any_in(pool) => faults.add(
            &file,
            "imports kubridge/v1/api.proto, but no option of it is in the descriptors: the server's reflection strips \
             custom options",
            "implement kubridge.v1.Schema in the backend, or give Kubridge the file: `--descriptor-set FILE`",
        ),
        _ => faults.add_set(
            "no message is a resource",
            "import kubridge/v1/api.proto and write `option (kubridge.v1.resource) = {};` in a message; or annotate \
             messages with google.api.resource (AIP-123); or say in a mapping file (`--mapping FILE`) which messages are \
             resources",
        ),
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
            faults.add(&draft.message, format!("no method belongs to {}", draft.kind), list_mend(draft));
        } else if rules.require_list && !methods.contains_key(&Role::List) {
            faults.add(&draft.message, format!("{} has no List", draft.kind), list_mend(draft));
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

fn list_mend(draft: &Draft) -> String {
    format!(
        "write `rpc List{kind}(kubridge.v1.ListRequest) returns (List{kind}Response);` in a service, with \
         `kubridge.v1.ListMeta metadata = 1; repeated {message} items = 2;`",
        kind = draft.kind,
        message = draft.message.name()
    )
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
                faults.add_field(
                    &draft.message,
                    "kind",
                    format!(
                        "{} and {} both have the kind {kind}",
                        other.message.full_name(),
                        draft.message.full_name()
                    ),
                    "write another `kind` in one of them",
                );
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
                Some((other, other_field)) => faults.add_field(
                    &draft.message,
                    field,
                    if field == "plural" && *other_field == "plural" {
                        format!(
                            "{} and {} both have the plural {name:?}",
                            other.message.full_name(),
                            draft.message.full_name()
                        )
                    } else {
                        format!("{name:?} is a name ({other_field}) of {} too", other.message.full_name())
                    },
                    format!("write another `{field}`"),
                ),
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
            faults.add_field(
                message,
                field.name(),
                format!("{} is no list type that this Kubridge knows", annotated.list_type),
                "write ATOMIC, SET or MAP",
            );
            continue;
        };
        if list_type != ListType::Unspecified && !field.is_list() {
            faults.add_field(message, field.name(), "list_type on what is no list", "leave `list_type` out");
            continue;
        }
        if list_type != ListType::Map {
            if !annotated.list_map_keys.is_empty() {
                faults.add_field(
                    message,
                    field.name(),
                    "list_map_keys without MAP",
                    "write `list_type: MAP`",
                );
            }
            if list_type == ListType::Set
                && matches!(field.kind(), Kind::Message(m) if !super::path::is_scalar(m.full_name()))
            {
                faults.add_field(
                    message,
                    field.name(),
                    "a SET of messages",
                    "write `list_type: MAP` with its keys, or ATOMIC",
                );
            }
            continue;
        }
        let Kind::Message(element) = field.kind() else {
            faults.add_field(message, field.name(), "a MAP of scalars", "write `list_type: SET`");
            continue;
        };
        if annotated.list_map_keys.is_empty() {
            faults.add_field(
                message,
                field.name(),
                "a MAP without keys",
                "write `list_map_keys`: the fields that make the key",
            );
        }
        for key in &annotated.list_map_keys {
            if !element.fields().any(|field| {
                field.json_name() == key && !matches!(field.kind(), Kind::Message(_)) && !field.is_list()
            }) {
                faults.add_field(
                    message,
                    field.name(),
                    format!("the key {key:?} is no scalar field of {}", element.full_name()),
                    "write the fields' JSON names",
                );
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
                    advice.add_field(
                        &status,
                        field.name(),
                        "a zero of it is left out of JSON, where `kubectl wait` looks for it",
                        "write `[(kubridge.v1.field) = {emit_zero: true}]`, or make it `optional`",
                    );
                }
            }
        }
        if let Some(delete) = methods.get(&Role::Delete) {
            let conditional = [Source::DeleteOptions, Source::Preconditions, Source::ResourceVersion];
            if !delete.request.iter().any(|binding| conditional.contains(&binding.source)) {
                advice.add_field(
                    &draft.message,
                    "delete",
                    "the request of Delete has no place for the version that was read: deletes cannot be conditional",
                    "put `kubridge.v1.DeleteOptions options` into it",
                );
            }
        }
        if !names::is_subdomain(&draft.group) || draft.group.contains('.') {
            continue;
        }
        advice.add_field(
            &draft.message,
            "group",
            format!("the group {:?} has no dot: it may collide with Kubernetes' own", draft.group),
            "write a DNS name that you own, such as \"inventory.example.com\"",
        );
    }
    for file in files.values().filter(|file| !comments.any_in(file)) {
        advice.add(
            file,
            "there are no comments in the descriptors: `kubectl explain` has no text",
            "implement kubridge.v1.Schema, or compile with `--include_source_info`",
        );
    }
}
