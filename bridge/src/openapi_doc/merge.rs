//! Many v2 documents -> one, by the rules of Kubernetes' aggregator.

use std::collections::BTreeMap;

use super::{
    V2Document,
    parts::{Part, Parts, reference},
};

/// One document of all. The earlier one wins a path; a later one's definition (parameter, response) of the same name is
/// the same but for its kinds, or is renamed: `NAME_v2`, `NAME_v3`.
pub fn merge<'a>(documents: impl IntoIterator<Item = &'a V2Document>) -> V2Document {
    let mut merged = Parts::default();
    for document in documents {
        add(&mut merged, &document.parts);
    }
    V2Document { parts: merged }
}

fn add(merged: &mut Parts, document: &Parts) {
    let cut;
    let mut document = document;
    if document.paths.keys().any(|path| merged.paths.contains_key(path)) {
        let mut rest = document.clone();
        rest.paths.retain(|path, _| !merged.paths.contains_key(path));
        rest.keep_reached();
        cut = rest;
        document = &cut;
    }
    let mut renames = BTreeMap::new();
    rename("definitions", &merged.definitions, &document.definitions, &mut renames);
    rename("parameters", &merged.parameters, &document.parameters, &mut renames);
    rename("responses", &merged.responses, &document.responses, &mut renames);
    copy("definitions", &mut merged.definitions, &document.definitions, &renames);
    copy("parameters", &mut merged.parameters, &document.parameters, &renames);
    copy("responses", &mut merged.responses, &document.responses, &renames);
    for (path, item) in &document.paths {
        merged.paths.insert(path.clone(), item.renamed(&renames));
    }
}

/// Which parts need another name: old reference -> new.
fn rename(
    section: &str,
    merged: &BTreeMap<String, Part>,
    parts: &BTreeMap<String, Part>,
    renames: &mut BTreeMap<String, String>,
) {
    let mut conflicts: Vec<(&String, &Part)> = parts
        .iter()
        .filter(|(name, part)| merged.get(*name).is_some_and(|known| known.text != part.text))
        .collect();
    // One that an earlier document needed may do for this one too. What refers to others of these is only known to be
    // equal once these have their names.
    loop {
        let before = conflicts.len();
        conflicts.retain(|(name, part)| {
            let used = numbered(name).map_while(|new| merged.get(&new).map(|known| (new, known))).find(
                |(new, known)| {
                    let mut with_own = renames.clone();
                    with_own.insert(reference(section, name), reference(section, new));
                    part.renamed(&with_own).text == known.text
                },
            );
            match used {
                Some((new, _)) => {
                    renames.insert(reference(section, name), reference(section, &new));
                    false
                }
                None => true,
            }
        });
        if conflicts.len() == before {
            break;
        }
    }
    for (name, _) in conflicts {
        let free = |name: &String| {
            let reference = reference(section, name);
            !merged.contains_key(name)
                && !parts.contains_key(name)
                && !renames.values().any(|used| *used == reference)
        };
        if let Some(new) = numbered(name).find(free) {
            renames.insert(reference(section, name), reference(section, &new));
        }
    }
}

/// `NAME_v2`, `NAME_v3`, ...
fn numbered(name: &str) -> impl Iterator<Item = String> {
    (2..).map(move |n| format!("{name}_v{n}"))
}

fn copy(
    section: &str,
    merged: &mut BTreeMap<String, Part>,
    parts: &BTreeMap<String, Part>,
    renames: &BTreeMap<String, String>,
) {
    for (name, part) in parts {
        let new = renames.get(&reference(section, name));
        let new = new.and_then(|new| new.rsplit('/').next()).map(super::json::unescaped);
        let part = part.renamed(renames);
        match merged.entry(new.unwrap_or_else(|| name.clone())) {
            std::collections::btree_map::Entry::Occupied(mut known) => {
                known.get_mut().kinds.extend(part.kinds);
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(part);
            }
        }
    }
}
