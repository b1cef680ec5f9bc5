//! Request messages: where each field's value comes from.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{
    ActionVerb, Binding, Source, annotation,
    bind::Role,
    fault::Faults,
    resource::{Draft, is_message},
};
use crate::proto::Bind;

/// Binds the request of `method` to what `role` has to give.
pub(super) fn bind(
    method: &MethodDescriptor,
    role: &Role,
    draft: &Draft,
    faults: &mut Faults,
) -> Vec<Binding> {
    match role {
        Role::Action(_, verb) => action(method, *verb, draft, faults),
        _ => standard(method, role, draft, faults),
    }
}

fn standard(method: &MethodDescriptor, role: &Role, draft: &Draft, faults: &mut Faults) -> Vec<Binding> {
    let input = method.input();
    let writes = matches!(role, Role::Create | Role::Update | Role::UpdateStatus);
    if input == draft.message && writes {
        return vec![Binding { field: None, source: Source::Object }];
    }
    let allowed = allowed(role);
    let mut bindings: Vec<Binding> = Vec::new();
    for field in input.fields() {
        let source = match source(&field, draft) {
            Ok(source) => source,
            Err((message, mend)) => {
                faults.add_field(method, field.name(), message, mend);
                continue;
            }
        };
        if source != Source::Nothing && !allowed.contains(&source) {
            let (message, mend) = unbound(&field, draft, role);
            faults.add_field(method, field.name(), message, mend);
            continue;
        }
        if let Some(first) = bindings.iter().find(|b| b.source == source && source != Source::Nothing) {
            let first = first.field.and_then(|number| input.get_field(number));
            faults.add_field(
                method,
                field.name(),
                format!(
                    "{} and {} get the same value",
                    first.as_ref().map_or("another field", |first| first.name()),
                    field.name()
                ),
                "leave one out, or write `[(kubridge.v1.field) = {bind: NONE}]`",
            );
            continue;
        }
        bindings.push(Binding { field: Some(field.number()), source });
    }
    check_needs(method, role, draft, &bindings, faults);
    bindings
}

/// What a request must have a place for.
fn check_needs(
    method: &MethodDescriptor,
    role: &Role,
    draft: &Draft,
    bindings: &[Binding],
    faults: &mut Faults,
) {
    let has = |source| bindings.iter().any(|b| b.source == source);
    // A field that failed to bind was reported already.
    let named = |name: &str| method.input().get_field_by_name(name).is_some();
    match role {
        Role::Create | Role::Update | Role::UpdateStatus => {
            let reported = method.input().fields().any(|field| is_body_like(&field));
            if !has(Source::Object) && !reported {
                faults.add(
                    method,
                    format!("the request {} has no place for the {}", method.input().full_name(), draft.kind),
                    format!(
                        "put a field of type {} into it, or make {0} the request",
                        draft.message.full_name()
                    ),
                );
            }
        }
        Role::Get | Role::Delete if !has(Source::Name) && !named("name") => {
            faults.add(
                method,
                format!("the request {} has no place for the object's name", method.input().full_name()),
                format!("write `string name`, or make kubridge.v1.{role:?}Request the request"),
            );
        }
        _ => {}
    }
    let writes = matches!(role, Role::Create | Role::Update | Role::UpdateStatus);
    if draft.namespaced && !writes && !has(Source::Namespace) && !named("namespace") {
        faults.add(
            method,
            format!("the request {} has no place for the namespace", method.input().full_name()),
            format!("write `string namespace`, or, where {} lives in none, `scope: CLUSTER`", draft.kind),
        );
    }
}

/// A body of another type was reported as a field that nothing binds.
fn is_body_like(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(m) if !m.full_name().starts_with("kubridge.v1."))
}

type Problem = (String, String);

fn source(field: &FieldDescriptor, draft: &Draft) -> Result<Source, Problem> {
    let annotated = annotation::read_field(field)
        .map_err(|error| {
            (
                format!("(kubridge.v1.field) cannot be decoded: {error}"),
                "compile with the api.proto of this Kubridge".to_owned(),
            )
        })?
        .unwrap_or_default();
    match Bind::try_from(annotated.bind) {
        Ok(Bind::Unspecified) => {}
        Ok(Bind::None) => return Ok(Source::Nothing),
        Ok(Bind::Namespace) => return string(field, Source::Namespace),
        Ok(Bind::Name) => return string(field, Source::Name),
        Ok(Bind::Body) if is_message(field, draft.message.full_name()) => return Ok(Source::Object),
        Ok(Bind::Body) => {
            return Err((
                format!("bind: BODY, but {} is not the {}", field.name(), draft.message.full_name()),
                format!("make it a {}; other bodies only an action has", draft.message.full_name()),
            ));
        }
        Err(_) => {
            return Err((
                format!("{} is no binding that this Kubridge knows", annotated.bind),
                "write BODY, NONE, NAMESPACE or NAME".to_owned(),
            ));
        }
    }
    if let Some(source) = by_type(field, draft) {
        return Ok(source);
    }
    by_name(field).unwrap_or_else(|| Err(unbound_anywhere(field, draft)))
}

fn by_type(field: &FieldDescriptor, draft: &Draft) -> Option<Source> {
    if field.is_list() || field.is_map() {
        return None;
    }
    let Kind::Message(message) = field.kind() else { return None };
    if message == draft.message {
        return Some(Source::Object);
    }
    Some(match message.full_name().strip_prefix("kubridge.v1.")? {
        "GetOptions" => Source::GetOptions,
        "ListOptions" => Source::ListOptions,
        "DeleteOptions" => Source::DeleteOptions,
        "CreateOptions" => Source::CreateOptions,
        "UpdateOptions" => Source::UpdateOptions,
        "PatchOptions" => Source::PatchOptions,
        "Preconditions" => Source::Preconditions,
        _ => return None,
    })
}

fn by_name(field: &FieldDescriptor) -> Option<Result<Source, Problem>> {
    let name = field.name();
    Some(match name {
        "namespace" => string(field, Source::Namespace),
        "name" => string(field, Source::Name),
        "label_selector" => string(field, Source::LabelSelector),
        "field_selector" => string(field, Source::FieldSelector),
        "continue" => string(field, Source::Continue),
        "resource_version" => string(field, Source::ResourceVersion),
        "resource_version_match" => string(field, Source::ResourceVersionMatch),
        "field_manager" => string(field, Source::FieldManager),
        "field_validation" => string(field, Source::FieldValidation),
        "propagation_policy" => string(field, Source::PropagationPolicy),
        "limit" => integer(field, Source::Limit),
        "timeout_seconds" => integer(field, Source::TimeoutSeconds),
        "grace_period_seconds" => integer(field, Source::GracePeriodSeconds),
        "allow_watch_bookmarks" => boolean(field, Source::AllowWatchBookmarks),
        "send_initial_events" => boolean(field, Source::SendInitialEvents),
        "orphan_dependents" => boolean(field, Source::OrphanDependents),
        "validate_only" => boolean(field, Source::DryRunFlag),
        "dry_run" if field.is_list() && field.kind() == Kind::String => Ok(Source::DryRun),
        "dry_run" if !field.is_list() && field.kind() == Kind::Bool => Ok(Source::DryRunFlag),
        "dry_run" => Err(wrong_type(name, "bool dry_run` or `repeated string dry_run")),
        "preconditions" => Err(wrong_type(name, "kubridge.v1.Preconditions preconditions")),
        _ => return None,
    })
}

fn string(field: &FieldDescriptor, source: Source) -> Result<Source, Problem> {
    let fits = !field.is_list() && field.kind() == Kind::String;
    if fits { Ok(source) } else { Err(wrong_type(field.name(), &format!("string {}", field.name()))) }
}

fn boolean(field: &FieldDescriptor, source: Source) -> Result<Source, Problem> {
    let fits = !field.is_list() && field.kind() == Kind::Bool;
    if fits { Ok(source) } else { Err(wrong_type(field.name(), &format!("bool {}", field.name()))) }
}

fn integer(field: &FieldDescriptor, source: Source) -> Result<Source, Problem> {
    let fits =
        !field.is_list() && matches!(field.kind(), Kind::Int64 | Kind::Int32 | Kind::Uint64 | Kind::Uint32);
    if fits { Ok(source) } else { Err(wrong_type(field.name(), &format!("int64 {}", field.name()))) }
}

fn wrong_type(name: &str, declaration: &str) -> Problem {
    (
        format!("{name} has not the type that its name promises"),
        format!("write `{declaration}`, or `[(kubridge.v1.field) = {{bind: NONE}}]`"),
    )
}

fn unbound_anywhere(field: &FieldDescriptor, draft: &Draft) -> Problem {
    if let Kind::Message(message) = field.kind()
        && is_body_like(field)
    {
        let list = if field.is_list() { "a list of " } else { "" };
        return (
            format!(
                "nothing binds {}: {list}{} is not the {}",
                field.name(),
                message.full_name(),
                draft.kind
            ),
            format!(
                "make it one {}, or write `[(kubridge.v1.field) = {{bind: NONE}}]`",
                draft.message.full_name()
            ),
        );
    }
    (
        format!("nothing binds {}", field.name()),
        "give it the name or type of a part of the request (namespace, name, label_selector, ..., \
         kubridge.v1.*Options), or write `[(kubridge.v1.field) = {bind: NONE}]`"
            .to_owned(),
    )
}

fn unbound(field: &FieldDescriptor, draft: &Draft, role: &Role) -> Problem {
    (
        format!("nothing binds {}: {} of {} has no such part", field.name(), role.verb(), draft.plural),
        "leave it out, or write `[(kubridge.v1.field) = {bind: NONE}]`".to_owned(),
    )
}

/// What the request of a verb has to give.
fn allowed(role: &Role) -> &'static [Source] {
    use Source as S;
    match role {
        Role::Get => &[S::Namespace, S::Name, S::GetOptions, S::ResourceVersion],
        Role::List | Role::Watch => &[
            S::Namespace,
            S::ListOptions,
            S::LabelSelector,
            S::FieldSelector,
            S::Limit,
            S::Continue,
            S::ResourceVersion,
            S::ResourceVersionMatch,
            S::TimeoutSeconds,
            S::AllowWatchBookmarks,
            S::SendInitialEvents,
        ],
        Role::Create => &[
            S::Namespace,
            S::Name,
            S::Object,
            S::CreateOptions,
            S::DryRun,
            S::DryRunFlag,
            S::FieldManager,
            S::FieldValidation,
        ],
        Role::Update | Role::UpdateStatus => &[
            S::Namespace,
            S::Name,
            S::Object,
            S::UpdateOptions,
            S::PatchOptions,
            S::ResourceVersion,
            S::DryRun,
            S::DryRunFlag,
            S::FieldManager,
            S::FieldValidation,
        ],
        Role::Delete => &[
            S::Namespace,
            S::Name,
            S::DeleteOptions,
            S::ResourceVersion,
            S::DryRun,
            S::DryRunFlag,
            S::GracePeriodSeconds,
            S::Preconditions,
            S::PropagationPolicy,
            S::OrphanDependents,
        ],
        Role::DeleteCollection => &[
            S::Namespace,
            S::DeleteOptions,
            S::ListOptions,
            S::LabelSelector,
            S::FieldSelector,
            S::Limit,
            S::Continue,
            S::ResourceVersion,
            S::ResourceVersionMatch,
            S::TimeoutSeconds,
            S::DryRun,
            S::DryRunFlag,
            S::GracePeriodSeconds,
            S::Preconditions,
            S::PropagationPolicy,
            S::OrphanDependents,
        ],
        Role::Action(..) => &[],
    }
}

/// An action: namespace, name and dry_run from the request, the rest is the JSON body.
fn action(method: &MethodDescriptor, verb: ActionVerb, draft: &Draft, faults: &mut Faults) -> Vec<Binding> {
    let input = method.input();
    let mut bindings = Vec::new();
    let mut body = input == draft.message;
    if body {
        return vec![Binding { field: None, source: Source::Object }];
    }
    for field in input.fields() {
        let source = match action_source(&field, draft) {
            Ok(source) => source,
            Err((message, mend)) => {
                faults.add_field(method, field.name(), message, mend);
                continue;
            }
        };
        match source {
            Some(source) => bindings.push(Binding { field: Some(field.number()), source }),
            None if verb == ActionVerb::Get => faults.add_field(
                method,
                field.name(),
                format!("nothing binds {}: a GET has no body", field.name()),
                "write `verb: CREATE`, leave the field out, or write `[(kubridge.v1.field) = {bind: NONE}]`",
            ),
            None => body = true,
        }
    }
    if body {
        bindings.insert(0, Binding { field: None, source: Source::Object });
    }
    let has = |source| bindings.iter().any(|b| b.source == source);
    for (missing, source) in [("name", Source::Name), ("namespace", Source::Namespace)] {
        let reported =
            input.get_field_by_name(missing).is_some_and(|field| action_source(&field, draft).is_err());
        if has(source) || reported || (source == Source::Namespace && !draft.namespaced) {
            continue;
        }
        faults.add(
            method,
            format!("the request {} has no place for the object's {missing}", input.full_name()),
            format!(
                "write `string {missing}`, or mark another field `[(kubridge.v1.field) = {{bind: {}}}]`",
                missing.to_uppercase()
            ),
        );
    }
    bindings
}

/// `None`: the field is part of the body.
fn action_source(field: &FieldDescriptor, draft: &Draft) -> Result<Option<Source>, Problem> {
    match Bind::try_from(annotation::field(field).bind) {
        Ok(Bind::Body) => Ok(None),
        Ok(Bind::Unspecified) => match (field.name(), by_type(field, draft)) {
            (_, Some(Source::Object | Source::Preconditions)) => Ok(None),
            (_, Some(options)) => Ok(Some(options)),
            ("namespace" | "name" | "dry_run" | "validate_only", None) => by_name(field)
                .transpose()
                .map_err(|(message, mend)| (message, mend.replace("bind: NONE", "bind: BODY"))),
            _ => Ok(None),
        },
        _ => source(field, draft).map(Some),
    }
}

/// Whether `message` is, or has a field that is, the resource.
pub(super) fn mentions(message: &MessageDescriptor, draft: &Draft) -> bool {
    *message == draft.message
        || message.fields().any(|field| matches!(field.kind(), Kind::Message(m) if m == draft.message))
}
