//! Methods -> verbs and actions of resources.

use std::collections::{BTreeMap, HashSet};

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use super::{
    ActionVerb, Binding, annotation,
    catalogue::Problem,
    fault::Faults,
    names,
    near_miss::{self, Near},
    request,
    resource::Draft,
    response,
};
use crate::proto::{self, Verb};

/// What a method does for its resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Get,
    List,
    Watch,
    Create,
    Update,
    UpdateStatus,
    Delete,
    DeleteCollection,
    /// The subresource and the HTTP method.
    Action(String, ActionVerb),
}

impl Role {
    /// In Kubernetes' words.
    pub(super) fn verb(&self) -> String {
        match self {
            Self::UpdateStatus => "update of the status".to_owned(),
            Self::Action(name, verb) => format!("{} of the subresource {name}", action_verb(*verb)),
            role => format!("{role:?}").to_ascii_lowercase(),
        }
    }
}

fn action_verb(verb: ActionVerb) -> &'static str {
    match verb {
        ActionVerb::Create => "create",
        ActionVerb::Get => "get",
        ActionVerb::Update => "update",
        ActionVerb::Delete => "delete",
    }
}

/// A method, bound, before its messages are compiled.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) path: String,
    pub(super) streaming: bool,
    pub(super) request: Vec<Binding>,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
}

/// The methods of one draft.
pub(super) type Methods = BTreeMap<Role, Bound>;

/// What [`bind`] found.
#[derive(Debug)]
pub(super) struct Bindings {
    /// The methods of each draft.
    pub(super) methods: Vec<Methods>,
    /// Drafts that a method may belong to, or not: that was reported, and what they lack is not known.
    pub(super) in_doubt: HashSet<usize>,
    /// Drafts without List, and the method that looks as if it should be it: its name, and the usual one.
    pub(super) misnamed_lists: BTreeMap<usize, (String, String)>,
}

/// Binds all methods of a pool to `drafts`.
pub(super) fn bind(
    pool: &DescriptorPool,
    drafts: &[Draft],
    faults: &mut Faults,
    advice: &mut Faults,
) -> Bindings {
    let mut in_doubt = HashSet::new();
    let mut bound: Vec<Methods> = drafts.iter().map(|_| Methods::new()).collect();
    let mut first: BTreeMap<(usize, Role), MethodDescriptor> = BTreeMap::new();
    let mut leftover = Vec::new();
    for service in pool.services() {
        let mut any = false;
        let mut unread = Vec::new();
        for method in service.methods() {
            match reading(&method, drafts, faults) {
                Reading::Of(index, role) => {
                    any = true;
                    let Some(draft) = drafts.get(index) else { continue };
                    if let Some(other) = first.get(&(index, role.clone())) {
                        let problem = Problem::bound_twice(role.verb(), &draft.plural, other.full_name());
                        faults.report(&method, problem);
                        continue;
                    }
                    first.insert((index, role.clone()), method.clone());
                    check_streams(&method, &role, faults);
                    response::check(&method, &role, draft, faults);
                    let request = request::bind(&method, &role, draft, faults);
                    let path = format!("/{}/{}", service.full_name(), method.name());
                    let (input, output) = (method.input(), method.output());
                    let streaming = method.is_server_streaming();
                    if let Some(methods) = bound.get_mut(index) {
                        methods.insert(role, Bound { path, streaming, request, input, output });
                    }
                }
                Reading::Doubt(candidates) => {
                    any = true;
                    in_doubt.extend(candidates);
                }
                Reading::Fault | Reading::Ignored => any = true,
                Reading::None => unread.push(method),
            }
        }
        leftover.extend(unread.into_iter().map(|method| (method, any)));
    }
    // What is still missing is known when everything has been read.
    let mut misnamed_lists = BTreeMap::new();
    for (method, ours) in leftover {
        let near = near_miss::find(&method, drafts, &bound);
        if let Some(Near { index, verb: Verb::List, name }) = &near {
            misnamed_lists.entry(*index).or_insert((method.name().to_owned(), name.clone()));
        }
        advise_unread(&method, ours, near, drafts, advice);
    }
    Bindings { methods: bound, in_doubt, misnamed_lists }
}

/// `ours`: other methods of its service are bound. A service that has nothing to do with us may call its methods what
/// it likes, unless one looks like a slip.
fn advise_unread(
    method: &MethodDescriptor,
    ours: bool,
    near: Option<Near>,
    drafts: &[Draft],
    advice: &mut Faults,
) {
    let status = method.name().strip_suffix("Status").and_then(|name| name.strip_prefix("Update"));
    if status.is_some_and(|kind| drafts.iter().any(|draft| draft.kind == kind)) {
        advice.report(method, Problem::unbound_status_update());
    } else if let Some((near, draft)) = near.and_then(|near| Some((near.clone(), drafts.get(near.index)?))) {
        let option = near.verb.as_str_name();
        let verb = option.to_ascii_lowercase();
        advice.report(method, Problem::near_miss(verb, &draft.kind, near.name, option));
    } else if ours {
        advice.report(method, Problem::unbound_method());
    }
}

enum Reading {
    /// The draft, and what the method does for it.
    Of(usize, Role),
    /// Several drafts; reported.
    Doubt(Vec<usize>),
    /// Reported.
    Fault,
    /// `ignore: true`.
    Ignored,
    /// Neither name nor annotation makes it ours.
    None,
}

fn reading(method: &MethodDescriptor, drafts: &[Draft], faults: &mut Faults) -> Reading {
    match annotation::method(method) {
        Ok(Some(annotated)) if annotated != proto::Method::default() => {
            by_annotation(method, &annotated, drafts, faults)
        }
        Ok(_) => by_name(method, drafts, faults),
        Err(error) => {
            faults.report(method, Problem::undecodable_option("kubridge.v1.method", error));
            Reading::Fault
        }
    }
}

/// Verbs as method names begin with them. DeleteCollection before Delete is not enough: both may read.
pub(super) const PREFIXES: [(&str, Verb); 7] = [
    ("Get", Verb::Get),
    ("List", Verb::List),
    ("Watch", Verb::Watch),
    ("Create", Verb::Create),
    ("Update", Verb::Update),
    ("Delete", Verb::Delete),
    ("DeleteCollection", Verb::DeleteCollection),
];

fn by_name(method: &MethodDescriptor, drafts: &[Draft], faults: &mut Faults) -> Reading {
    let mut readings: Vec<(usize, Verb)> = Vec::new();
    for (prefix, verb) in PREFIXES {
        let Some(rest) = method.name().strip_prefix(prefix).filter(|rest| !rest.is_empty()) else { continue };
        let plural = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
        for (index, draft) in drafts.iter().enumerate() {
            if draft.kind == rest || (plural && rest.eq_ignore_ascii_case(&draft.plural)) {
                readings.push((index, verb));
            }
        }
    }
    let near = nearest(method, drafts, readings.iter().map(|(index, _)| *index).collect());
    readings.retain(|(index, _)| near.contains(index));
    match readings.as_slice() {
        [] => Reading::None,
        [(index, verb)] => match standard(*verb) {
            Some(role) => Reading::Of(*index, role),
            None => Reading::None,
        },
        several => {
            let list: Vec<String> = several
                .iter()
                .map(|(index, verb)| format!("{} {}", verb.as_str_name(), qualified(drafts, *index)))
                .collect();
            let mut kinds: Vec<_> = several
                .iter()
                .filter_map(|(index, verb)| Some((drafts.get(*index)?.kind.as_str(), *verb)))
                .collect();
            kinds.dedup();
            let readings = list.join(" and as ");
            let problem = match kinds.as_slice() {
                [(kind, verb), _, ..] => Problem::ambiguous_name(readings, verb.as_str_name(), kind),
                _ => Problem::ambiguous_package(readings),
            };
            faults.report(method, problem);
            Reading::Doubt(several.iter().map(|(index, _)| *index).collect())
        }
    }
}

fn qualified(drafts: &[Draft], index: usize) -> String {
    drafts
        .get(index)
        .map_or_else(String::new, |draft| format!("{} ({})", draft.kind, draft.message.full_name()))
}

pub(super) fn standard(verb: Verb) -> Option<Role> {
    Some(match verb {
        Verb::Unspecified => return None,
        Verb::Get => Role::Get,
        Verb::List => Role::List,
        Verb::Watch => Role::Watch,
        Verb::Create => Role::Create,
        Verb::Update => Role::Update,
        Verb::Delete => Role::Delete,
        Verb::DeleteCollection => Role::DeleteCollection,
    })
}

/// Of several drafts those of the service's own package, if there are any; then those that the
/// method's messages mention, then those that the service's messages mention. (One kind may stand in
/// several versions.)
fn nearest(method: &MethodDescriptor, drafts: &[Draft], candidates: HashSet<usize>) -> HashSet<usize> {
    let service = method.parent_service();
    let package = service.package_name().to_owned();
    let mut candidates = candidates;
    let narrow = |set: HashSet<usize>, keep: &dyn Fn(&Draft) -> bool| {
        if set.len() < 2 {
            return set;
        }
        let kept: HashSet<usize> =
            set.iter().copied().filter(|index| drafts.get(*index).is_some_and(keep)).collect();
        if kept.is_empty() { set } else { kept }
    };
    candidates = narrow(candidates, &|draft| draft.message.package_name() == package);
    let kinds: HashSet<&str> =
        candidates.iter().filter_map(|index| drafts.get(*index)).map(|draft| draft.kind.as_str()).collect();
    if kinds.len() > 1 {
        return candidates; // two readings: types must not decide between kinds
    }
    let in_service = |draft: &Draft| {
        service
            .methods()
            .any(|m| request::mentions(&m.input(), draft) || request::mentions(&m.output(), draft))
    };
    let by_method = narrow(candidates, &|draft| {
        request::mentions(&method.input(), draft) || request::mentions(&method.output(), draft)
    });
    narrow(by_method, &in_service)
}

fn by_annotation(
    method: &MethodDescriptor,
    annotated: &proto::Method,
    drafts: &[Draft],
    faults: &mut Faults,
) -> Reading {
    if annotated.ignore {
        if *annotated != (proto::Method { ignore: true, ..Default::default() }) {
            faults.report(method, Problem::ignored_and_described());
            return Reading::Fault;
        }
        return Reading::Ignored;
    }
    let Ok(verb) = Verb::try_from(annotated.verb) else {
        faults.report_field(method, "verb", Problem::unknown_verb(annotated.verb));
        return Reading::Fault;
    };
    let verb = if verb == Verb::Unspecified { verb_of_name(method.name()) } else { Some(verb) };
    let Some(verb) = verb else {
        faults.report_field(method, "verb", Problem::no_verb());
        return Reading::Fault;
    };
    let Some(index) = kind_of(method, annotated, drafts, faults) else { return Reading::Fault };
    let Some(draft) = drafts.get(index) else { return Reading::Fault };
    match role(method, verb, &annotated.subresource, draft, faults) {
        Some(role) => Reading::Of(index, role),
        None => Reading::Fault,
    }
}

fn verb_of_name(name: &str) -> Option<Verb> {
    PREFIXES
        .iter()
        .rev() // DeleteCollection before Delete
        .find(|(prefix, _)| {
            name.strip_prefix(prefix).is_some_and(|rest| names::ends_word(name, name.len() - rest.len()))
        })
        .map(|(_, verb)| *verb)
}

fn role(
    method: &MethodDescriptor,
    verb: Verb,
    subresource: &str,
    draft: &Draft,
    faults: &mut Faults,
) -> Option<Role> {
    match subresource {
        "" => return standard(verb),
        "status" => {
            if verb != Verb::Update {
                faults.report_field(method, "verb", Problem::status_verb(verb.as_str_name()));
                return None;
            }
            if draft.status_field.is_none() {
                let problem = Problem::no_status(draft.message.full_name(), draft.message.name());
                faults.report_field(method, "subresource", problem);
                return None;
            }
            return Some(Role::UpdateStatus);
        }
        "scale" => {
            faults.report_field(method, "subresource", Problem::scale_action());
            return None;
        }
        name if !names::is_label(name) => {
            faults.report_field(method, "subresource", Problem::not_a_label(name, "powercycle"));
            return None;
        }
        _ => {}
    }
    let verb = match verb {
        Verb::Create => ActionVerb::Create,
        Verb::Get => ActionVerb::Get,
        Verb::Update => ActionVerb::Update,
        Verb::Delete => ActionVerb::Delete,
        Verb::List | Verb::Watch | Verb::DeleteCollection | Verb::Unspecified => {
            faults.report_field(method, "verb", Problem::subresource_verb(verb.as_str_name()));
            return None;
        }
    };
    Some(Role::Action(subresource.to_owned(), verb))
}

/// The draft that an annotated method belongs to: by `kind`, by its name, by its messages.
fn kind_of(
    method: &MethodDescriptor,
    annotated: &proto::Method,
    drafts: &[Draft],
    faults: &mut Faults,
) -> Option<usize> {
    let matching = |test: &dyn Fn(&Draft) -> bool| -> HashSet<usize> {
        drafts.iter().enumerate().filter(|(_, draft)| test(draft)).map(|(index, _)| index).collect()
    };
    let candidates = if !annotated.kind.is_empty() {
        let found = matching(&|draft| draft.kind == annotated.kind);
        if found.is_empty() {
            faults.report_field(method, "kind", Problem::unknown_kind(&annotated.kind, kinds(drafts)));
            return None;
        }
        found
    } else {
        let longest = drafts.iter().filter_map(|draft| named(method.name(), draft)).max();
        let by_name = matching(&|draft| longest.is_some() && named(method.name(), draft) == longest);
        if by_name.is_empty() {
            matching(&|draft| {
                request::mentions(&method.input(), draft) || request::mentions(&method.output(), draft)
            })
        } else {
            by_name
        }
    };
    let candidates = nearest(method, drafts, candidates);
    let mut sorted: Vec<usize> = candidates.into_iter().collect();
    sorted.sort_unstable();
    match sorted.as_slice() {
        [index] => Some(*index),
        [] => {
            faults.report_field(method, "kind", Problem::no_kind(kinds(drafts)));
            None
        }
        several => {
            let list: Vec<String> = several.iter().map(|index| qualified(drafts, *index)).collect();
            faults.report_field(method, "kind", Problem::several_kinds(list.join(" and to ")));
            None
        }
    }
}

/// All kinds: "Machine, Rack".
fn kinds(drafts: &[Draft]) -> String {
    let mut kinds: Vec<&str> = drafts.iter().map(|draft| draft.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.join(", ")
}

/// How many letters of a method's name are the kind (or plural) of `draft`, in whole words.
fn named(name: &str, draft: &Draft) -> Option<usize> {
    let words = |word: &str| {
        name.to_ascii_lowercase()
            .match_indices(&word.to_ascii_lowercase())
            .any(|(at, found)| names::starts_word(name, at) && names::ends_word(name, at + found.len()))
            .then_some(word.len())
    };
    // The plural counts as the kind: which of them is longer must not decide between resources.
    words(&draft.kind).or_else(|| words(&draft.plural).map(|_| draft.kind.len()))
}

fn check_streams(method: &MethodDescriptor, role: &Role, faults: &mut Faults) {
    if method.is_client_streaming() {
        faults.report(method, Problem::streams_requests());
    }
    let streams = method.is_server_streaming();
    match role {
        Role::Watch if !streams => {
            faults.report(method, Problem::watch_does_not_stream());
        }
        Role::List | Role::Watch | Role::Action(..) => {}
        _ if streams => {
            faults.report(method, Problem::streams(role.verb()));
        }
        _ => {}
    }
}
