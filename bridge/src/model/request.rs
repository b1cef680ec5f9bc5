//! Request messages: where each field's value comes from.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{
    ActionVerb, Binding, Source, annotation,
    bind::Role,
    catalogue::Problem,
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
            Err(problem) => {
                faults.report_field(method, field.name(), problem);
                continue;
            }
        };
        if source != Source::Nothing && !allowed.contains(&source) {
            let problem = Problem::field_of_another_verb(field.name(), role.verb(), &draft.plural);
            faults.report_field(method, field.name(), problem);
            continue;
        }
        if let Some(first) = bindings.iter().find(|b| b.source == source && source != Source::Nothing) {
            let first = first.field.and_then(|number| input.get_field(number));
            let first = first.as_ref().map_or("another field", |first| first.name());
            faults.report_field(method, field.name(), Problem::same_value(first, field.name()));
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
                let (request, message) = (method.input(), draft.message.full_name());
                let problem = Problem::no_place_for_object(request.full_name(), &draft.kind, message);
                faults.report(method, problem);
            }
        }
        Role::Get | Role::Delete if !has(Source::Name) && !named("name") => {
            let standard = format!("kubridge.v1.{role:?}Request");
            faults.report(method, Problem::no_place_for_name(method.input().full_name(), standard));
        }
        _ => {}
    }
    let writes = matches!(role, Role::Create | Role::Update | Role::UpdateStatus);
    if draft.namespaced && !writes && !has(Source::Namespace) && !named("namespace") {
        faults.report(method, Problem::no_place_for_namespace(method.input().full_name(), &draft.kind));
    }
}

/// A body of another type was reported as a field that nothing binds.
fn is_body_like(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(m) if !m.full_name().starts_with("kubridge.v1."))
}

fn source(field: &FieldDescriptor, draft: &Draft) -> Result<Source, Problem> {
    let annotated = annotation::read_field(field)
        .map_err(|error| Problem::undecodable_option("kubridge.v1.field", error))?
        .unwrap_or_default();
    match Bind::try_from(annotated.bind) {
        Ok(Bind::Unspecified) => {}
        Ok(Bind::None) => return Ok(Source::Nothing),
        Ok(Bind::Namespace | Bind::Name) if !is_one(field, &[Kind::String]) => {
            return Err(Problem::wrong_type(field.name(), format!("string {}", field.name()), "NONE"));
        }
        Ok(Bind::Namespace) => return Ok(Source::Namespace),
        Ok(Bind::Name) => return Ok(Source::Name),
        Ok(Bind::Body) if is_message(field, draft.message.full_name()) => return Ok(Source::Object),
        Ok(Bind::Body) => {
            return Err(Problem::bound_body(field.name(), draft.message.full_name()));
        }
        Err(_) => {
            return Err(Problem::unknown_bind(annotated.bind));
        }
    }
    if let Some(source) = by_type(field, draft) {
        return Ok(source);
    }
    by_name(field, "NONE").unwrap_or_else(|| Err(unbound_anywhere(field, draft)))
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

/// `or_bind`: what says that a field of this name is meant to be something else.
fn by_name(field: &FieldDescriptor, or_bind: &str) -> Option<Result<Source, Problem>> {
    let fits = |source, wanted: &str, fits: bool| {
        let declaration = || format!("{wanted} {}", field.name());
        if fits { Ok(source) } else { Err(Problem::wrong_type(field.name(), declaration(), or_bind)) }
    };
    let string = |source| fits(source, "string", is_one(field, &[Kind::String]));
    let boolean = |source| fits(source, "bool", is_one(field, &[Kind::Bool]));
    let integer = |source| fits(source, "int64", is_one(field, &INTEGERS));
    let name = field.name();
    Some(match name {
        "namespace" => string(Source::Namespace),
        "name" => string(Source::Name),
        "label_selector" => string(Source::LabelSelector),
        "field_selector" => string(Source::FieldSelector),
        "continue" => string(Source::Continue),
        "resource_version" => string(Source::ResourceVersion),
        "resource_version_match" => string(Source::ResourceVersionMatch),
        "field_manager" => string(Source::FieldManager),
        "field_validation" => string(Source::FieldValidation),
        "propagation_policy" => string(Source::PropagationPolicy),
        "limit" => integer(Source::Limit),
        "timeout_seconds" => integer(Source::TimeoutSeconds),
        "grace_period_seconds" => integer(Source::GracePeriodSeconds),
        "allow_watch_bookmarks" => boolean(Source::AllowWatchBookmarks),
        "send_initial_events" => boolean(Source::SendInitialEvents),
        "orphan_dependents" => boolean(Source::OrphanDependents),
        "validate_only" => boolean(Source::DryRunFlag),
        "dry_run" if field.is_list() && field.kind() == Kind::String => Ok(Source::DryRun),
        "dry_run" if !field.is_list() && field.kind() == Kind::Bool => Ok(Source::DryRunFlag),
        "dry_run" => Err(Problem::wrong_type(name, "bool dry_run` or `repeated string dry_run", or_bind)),
        "preconditions" => Err(Problem::wrong_type(name, "kubridge.v1.Preconditions preconditions", or_bind)),
        _ => return None,
    })
}

const INTEGERS: [Kind; 4] = [Kind::Int64, Kind::Int32, Kind::Uint64, Kind::Uint32];

fn is_one(field: &FieldDescriptor, kinds: &[Kind]) -> bool {
    !field.is_list() && kinds.contains(&field.kind())
}

fn unbound_anywhere(field: &FieldDescriptor, draft: &Draft) -> Problem {
    if let Kind::Message(message) = field.kind()
        && is_body_like(field)
    {
        let list = if field.is_list() { "a list of " } else { "" };
        let found = format!("{list}{}", message.full_name());
        return Problem::unbound_message(field.name(), found, &draft.kind, draft.message.full_name());
    }
    Problem::unbound_field(field.name())
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
            Err(problem) => {
                faults.report_field(method, field.name(), problem);
                continue;
            }
        };
        match source {
            Some(source) => bindings.push(Binding { field: Some(field.number()), source }),
            None if verb == ActionVerb::Get => {
                faults.report_field(method, field.name(), Problem::get_has_no_body(field.name()));
            }
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
        let problem = Problem::no_place_in_action(input.full_name(), missing, missing.to_uppercase());
        faults.report(method, problem);
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
            ("namespace" | "name" | "dry_run" | "validate_only", None) => by_name(field, "BODY").transpose(),
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
