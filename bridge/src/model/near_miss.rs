//! Methods that nobody bound and that look as if somebody should have: `UpdateSensors`, `FetchMachine`, `LitsMachines`.

use prost_reflect::MethodDescriptor;

use super::{
    bind::{Methods, PREFIXES, standard},
    resource::Draft,
};
use crate::proto::Verb;

/// What others call the verbs.
const SYNONYMS: [(&str, Verb); 15] = [
    ("Read", Verb::Get),
    ("Fetch", Verb::Get),
    ("Retrieve", Verb::Get),
    ("Search", Verb::List),
    ("Query", Verb::List),
    ("Stream", Verb::Watch),
    ("Subscribe", Verb::Watch),
    ("Observe", Verb::Watch),
    ("Add", Verb::Create),
    ("Insert", Verb::Create),
    ("Put", Verb::Update),
    ("Replace", Verb::Update),
    ("Modify", Verb::Update),
    ("Remove", Verb::Delete),
    ("Destroy", Verb::Delete),
];

/// What a method was perhaps meant to be.
#[derive(Debug, Clone)]
pub(super) struct Near {
    /// Of which draft.
    pub(super) index: usize,
    /// What it would do.
    pub(super) verb: Verb,
    /// How it would be called: "UpdateSensor".
    pub(super) name: String,
}

/// The verb and the resource that the name of `method` is nearest to, where the resource has no such method yet.
pub(super) fn find(method: &MethodDescriptor, drafts: &[Draft], bound: &[Methods]) -> Option<Near> {
    let name = method.name();
    let mut nearest: Option<(usize, usize, Verb, &Draft)> = None;
    for (index, (draft, methods)) in drafts.iter().zip(bound).enumerate() {
        for at in (1..name.len()).filter(|at| name.is_char_boundary(*at)) {
            let (verb, rest) = name.split_at(at);
            let Some((slips_in_kind, (slips_in_verb, verb))) = kind_slips(rest, draft).zip(read_verb(verb))
            else {
                continue;
            };
            let slips = slips_in_kind + slips_in_verb;
            let is_free = standard(verb).is_some_and(|role| !methods.contains_key(&role));
            if slips <= 2 && is_free && nearest.is_none_or(|(fewest, ..)| slips < fewest) {
                nearest = Some((slips, index, verb, draft));
            }
        }
    }
    let (_, index, verb, draft) = nearest?;
    Some(Near { index, verb, name: usual(verb, draft) })
}

/// The verb that a word means, and how many letters of it are wrong.
fn read_verb(word: &str) -> Option<(usize, Verb)> {
    let words = PREFIXES.iter().chain(&SYNONYMS);
    let slips = words.filter_map(|(known, verb)| Some((slips(word, known)?, *verb)));
    slips.min_by_key(|(slips, _)| *slips)
}

/// How many letters of `rest` differ from the kind or the plural of `draft`; capitals do not count.
fn kind_slips(rest: &str, draft: &Draft) -> Option<usize> {
    [draft.kind.as_str(), &draft.plural].into_iter().filter_map(|known| slips(rest, known)).min()
}

/// A letter too many, too few, wrong, or two in each other's place. At most one in four letters is a slip.
fn slips(written: &str, known: &str) -> Option<usize> {
    let (written, known) = (written.to_ascii_lowercase(), known.to_ascii_lowercase());
    let distance = strsim::osa_distance(&written, &known);
    (distance <= known.len() / 4).then_some(distance)
}

/// As the contract's examples name it: GetMachine, ListMachines.
fn usual(verb: Verb, draft: &Draft) -> String {
    let prefix = PREFIXES.iter().find(|(_, known)| *known == verb).map_or("", |(prefix, _)| prefix);
    let Draft { kind, plural, .. } = draft;
    let many = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    match plural.strip_prefix(&kind.to_ascii_lowercase()) {
        Some(ending) if many => format!("{prefix}{kind}{ending}"),
        _ => format!("{prefix}{kind}"),
    }
}
