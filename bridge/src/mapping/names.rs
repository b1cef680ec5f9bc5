//! Resource names (AIP-122) <-> namespace and name.
//!
//! `publishers/p/books/b` is the object `b` in the namespace `p`. What Kubernetes forbids in a name is escaped, so
//! that every resource name has exactly one place and every place at most one resource name:
//!
//! | resource name | namespace | name |
//! |---|---|---|
//! | `publishers/p` | | `p` |
//! | `publishers/p/books/b` | `p` | `b` |
//! | `publishers/p/books/Moby_Dick` | `p` | `x0-4doby-5f-44ick` |
//! | `projects/p/locations/l/clusters/c` | `p--l` | `c` |
//! | `publishers/p/settings` (a singleton) | `p` | `settings` |
//! | `authors/a/books/b`, where it is the second pattern | `authors---a` | `b` |

use std::fmt::Write as _;

use crate::model::names::{is_label_1123, is_subdomain};

/// What an escaped id begins with. An id that begins with it itself is escaped too.
const ESCAPED: &str = "x0";
/// Between the parents in a namespace. An id with it is escaped.
const BETWEEN: &str = "--";
/// After the collection that tells a further pattern.
const AFTER_COLLECTION: &str = "---";
/// In AIP-159 the parent that stands for all.
pub(super) const ANY: &str = "-";

/// An id as a part of a namespace: a DNS label without `--`.
fn label(id: &str) -> String {
    if is_label_1123(id) && !id.starts_with(ESCAPED) && !id.contains(BETWEEN) {
        id.to_owned()
    } else {
        escape(id)
    }
}

/// An id as a name: a DNS subdomain.
fn subdomain(id: &str) -> String {
    if is_subdomain(id) && !id.starts_with(ESCAPED) { id.to_owned() } else { escape(id) }
}

/// Lower-case letters and digits stand for themselves, any other byte is `-` and two hexadecimal digits.
fn escape(id: &str) -> String {
    let mut out = String::with_capacity(ESCAPED.len() + 3 * id.len());
    out.push_str(ESCAPED);
    for byte in id.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "-{byte:02x}");
        }
    }
    out
}

/// The id that [`label`] or [`subdomain`] made this of; `None`: neither of them makes this.
fn unescape(text: &str, made: fn(&str) -> String) -> Option<String> {
    let id = match text.strip_prefix(ESCAPED) {
        None => text.to_owned(),
        Some(rest) => {
            let mut bytes = Vec::with_capacity(rest.len());
            let mut rest = rest.as_bytes();
            while let Some((first, tail)) = rest.split_first() {
                if *first != b'-' {
                    bytes.push(*first);
                    rest = tail;
                    continue;
                }
                let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                rest = tail.get(2..)?;
            }
            String::from_utf8(bytes).ok()?
        }
    };
    // One place for each id, and no other text is taken for it. `-` would stand for all parents.
    (made(&id) == text && !id.is_empty() && id != ANY && !id.contains('/')).then_some(id)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// What stands between the braces; of `{project}~{zone}` all of it: one id.
    Variable(String),
}

/// A pattern of resource names: `publishers/{publisher}/books/{book}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
    /// Begins the namespaces of this pattern; empty: those of the first one.
    collection: String,
}

impl Pattern {
    /// Reads a pattern; `Err`: what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let segment = |part: &str| {
            if part.is_empty() {
                Err("has an empty segment".to_owned())
            } else if part.contains('*') || part.contains("=") {
                Err("has a wildcard: what it stands for is not known".to_owned())
            } else if part.contains(['{', '}']) {
                let name = part.trim_start_matches('{').trim_end_matches('}').to_owned();
                match part.starts_with('{') && part.ends_with('}') && !name.is_empty() {
                    true => Ok(Segment::Variable(name)),
                    false => {
                        Err(format!("has the segment {part:?}, which is neither a word nor {{a_variable}}"))
                    }
                }
            } else {
                Ok(Segment::Literal(part.to_owned()))
            }
        };
        let segments = text.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        let adjacent = segments.windows(2).any(|w| matches!(w, [Segment::Variable(_), Segment::Variable(_)]));
        if adjacent {
            return Err("has two variables side by side".to_owned());
        }
        if !matches!(segments.first(), Some(Segment::Literal(_))) {
            return Err("does not begin with a collection".to_owned());
        }
        Ok(Self { segments, collection: String::new() })
    }

    /// The names of the variables, in their order.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    fn literals(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(word) => Some(word.as_str()),
            Segment::Variable(_) => None,
        })
    }

    /// There is one object for each parent: the name ends in a word.
    pub(super) fn is_singleton(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Literal(_)))
    }

    /// How many of the variables are parents'.
    pub(super) fn parents(&self) -> usize {
        let all = self.variables().count();
        if self.is_singleton() { all } else { all.saturating_sub(1) }
    }

    /// The resource name of these ids: all of them, or only as many as lead to a parent.
    fn format(&self, ids: &[String], segments: usize) -> String {
        let mut ids = ids.iter();
        let parts: Vec<&str> = self
            .segments
            .iter()
            .take(segments)
            .map(|segment| match segment {
                Segment::Literal(word) => word.as_str(),
                Segment::Variable(_) => ids.next().map_or(ANY, String::as_str),
            })
            .collect();
        parts.join("/")
    }

    /// How many segments name the parent.
    fn parent_segments(&self) -> usize {
        self.segments.len() - if self.is_singleton() { 1 } else { 2.min(self.segments.len()) }
    }

    /// The pattern of the parent; `None`: it has none.
    pub(super) fn parent_pattern(&self) -> Option<String> {
        let words: Vec<String> = self
            .segments
            .iter()
            .take(self.parent_segments())
            .map(|segment| match segment {
                Segment::Literal(word) => word.clone(),
                Segment::Variable(_) => "{}".to_owned(),
            })
            .collect();
        (!words.is_empty()).then(|| words.join("/"))
    }

    /// The pattern, with its variables' names left out: two that are equal match the same names.
    pub(super) fn shape(&self) -> String {
        let words: Vec<&str> = self
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(word) => word.as_str(),
                Segment::Variable(_) => "{}",
            })
            .collect();
        words.join("/")
    }

    fn read(&self, name: &str) -> Option<Vec<String>> {
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() != self.segments.len() {
            return None;
        }
        let mut ids = Vec::new();
        for (segment, part) in self.segments.iter().zip(parts) {
            match segment {
                Segment::Literal(word) if word == part => {}
                Segment::Variable(_) if !part.is_empty() => ids.push(part.to_owned()),
                _ => return None,
            }
        }
        Some(ids)
    }

    /// The ids of a parent's name.
    fn read_parent(&self, parent: &str) -> Option<Vec<String>> {
        let segments = self.segments.get(..self.parent_segments())?.to_vec();
        Self { segments, collection: String::new() }.read(parent)
    }

    fn singleton_name(&self) -> String {
        let last = self.literals().last().unwrap_or_default();
        subdomain(&last.to_ascii_lowercase())
    }

    fn namespace(&self, parents: &[String]) -> String {
        let joined = match parents {
            [] => ESCAPED.to_owned(),
            parents => parents.iter().map(|id| label(id)).collect::<Vec<_>>().join(BETWEEN),
        };
        match self.collection.as_str() {
            "" => joined,
            collection => format!("{collection}{AFTER_COLLECTION}{joined}"),
        }
    }

    /// The parents of a namespace that [`Self::namespace`] made, without the collection.
    fn parents_of(&self, joined: &str) -> Option<Vec<String>> {
        let ids: Vec<String> = if joined == ESCAPED {
            Vec::new()
        } else {
            joined.split(BETWEEN).map(|part| unescape(part, label)).collect::<Option<_>>()?
        };
        (ids.len() == self.parents()).then_some(ids)
    }
}

/// One object's ids under one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    /// Which pattern.
    pub(super) pattern: usize,
    /// The variables' values, in their order.
    pub(super) values: Vec<String>,
}

/// Where Kubernetes has an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Empty: cluster-scoped.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// All patterns of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patterns {
    patterns: Vec<Pattern>,
    namespaced: bool,
}

impl Patterns {
    /// The patterns of one resource. `Err`: what is wrong, and with which.
    pub(super) fn new(texts: &[String]) -> Result<Self, String> {
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            let pattern = Pattern::parse(text).map_err(|why| format!("the pattern {text:?} {why}"))?;
            if patterns.iter().any(|other: &Pattern| other.shape() == pattern.shape()) {
                return Err(format!("the pattern {text:?} is there twice"));
            }
            patterns.push(pattern);
        }
        let namespaced = patterns.iter().any(|pattern| pattern.parents() > 0);
        let collections: Vec<String> = (0..patterns.len()).map(|at| collection(&patterns, at)).collect();
        for (pattern, collection) in patterns.iter_mut().zip(collections).skip(1) {
            if namespaced {
                pattern.collection = collection;
            }
        }
        Ok(Self { patterns, namespaced })
    }

    /// Whether objects live in namespaces: some pattern has a parent.
    pub(super) fn namespaced(&self) -> bool {
        self.namespaced
    }

    pub(super) fn all(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The ids in a resource name; `None`: no pattern matches.
    pub(super) fn read(&self, name: &str) -> Option<Ids> {
        let found = |(pattern, p): (usize, &Pattern)| Some(Ids { pattern, values: p.read(name)? });
        self.patterns.iter().enumerate().find_map(found)
    }

    /// Where Kubernetes has what these ids name.
    pub(super) fn place(&self, ids: &Ids) -> Option<Place> {
        let pattern = self.patterns.get(ids.pattern)?;
        let parents = ids.values.get(..pattern.parents())?;
        let name = match pattern.is_singleton() {
            true => pattern.singleton_name(),
            false => subdomain(ids.values.last()?),
        };
        let namespace = if self.namespaced { pattern.namespace(parents) } else { String::new() };
        Some(Place { namespace, name })
    }

    /// The ids of what Kubernetes has there; `None`: no resource name leads there.
    pub(super) fn ids(&self, namespace: &str, name: &str) -> Option<Ids> {
        if !self.namespaced {
            let found = |(at, pattern): (usize, &Pattern)| {
                Some(Ids { pattern: at, values: with_name(pattern, Vec::new(), name)? })
            };
            return self.patterns.iter().enumerate().find_map(found);
        }
        let (pattern, parents) = self.parents(namespace)?;
        let values = with_name(self.patterns.get(pattern)?, parents, name)?;
        Some(Ids { pattern, values })
    }

    /// The pattern and the parents of a namespace.
    fn parents(&self, namespace: &str) -> Option<(usize, Vec<String>)> {
        let split = namespace.split_once(AFTER_COLLECTION).filter(|(collection, _)| !collection.is_empty());
        let (collection, joined) = split.unwrap_or(("", namespace));
        let at = self.patterns.iter().position(|pattern| pattern.collection == collection)?;
        Some((at, self.patterns.get(at)?.parents_of(joined)?))
    }

    /// The pattern, and the name of the parent that a namespace stands for.
    pub(super) fn parent(&self, namespace: &str) -> Option<(usize, String)> {
        let (at, ids) = self.parents(namespace)?;
        let pattern = self.patterns.get(at)?;
        Some((at, pattern.format(&ids, pattern.parent_segments())))
    }

    /// The parent that stands for all of a pattern: `publishers/-`. Empty where a pattern has none.
    pub(super) fn any_parent(&self, pattern: usize) -> String {
        self.patterns
            .get(pattern)
            .map(|pattern| pattern.format(&[], pattern.parent_segments()))
            .unwrap_or_default()
    }

    /// `publishers/p/books/b`.
    pub(super) fn full(&self, ids: &Ids) -> String {
        let Some(pattern) = self.patterns.get(ids.pattern) else { return String::new() };
        pattern.format(&ids.values, pattern.segments.len())
    }

    /// `publishers/p`.
    pub(super) fn full_parent(&self, ids: &Ids) -> String {
        let Some(pattern) = self.patterns.get(ids.pattern) else { return String::new() };
        pattern.format(&ids.values, pattern.parent_segments())
    }

    /// The singleton of a parent that is named: its ids.
    pub(super) fn singleton_of(&self, pattern: usize, parent: &str) -> Option<Ids> {
        let found = self.patterns.get(pattern)?;
        if parent.is_empty() && found.parent_segments() == 0 {
            return Some(Ids { pattern, values: Vec::new() });
        }
        Some(Ids { pattern, values: found.read_parent(parent)? })
    }

    /// The value of a variable.
    pub(super) fn variable<'a>(&self, ids: &'a Ids, name: &str) -> Option<&'a str> {
        let at = self.patterns.get(ids.pattern)?.variables().position(|variable| variable == name)?;
        ids.values.get(at).map(String::as_str)
    }
}

fn with_name(pattern: &Pattern, parents: Vec<String>, name: &str) -> Option<Vec<String>> {
    let mut values = parents;
    if pattern.is_singleton() {
        return (pattern.singleton_name() == name).then_some(values);
    }
    values.push(unescape(name, subdomain)?);
    Some(values)
}

/// What tells a pattern from the others: its first collection, or as much of the way as it takes.
fn collection(patterns: &[Pattern], at: usize) -> String {
    let words = |pattern: &Pattern, count: usize| {
        let plain = |word: &str| {
            word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
        };
        pattern.literals().take(count).map(plain).collect::<Vec<_>>().join("-")
    };
    let Some(own) = patterns.get(at) else { return String::new() };
    for count in 1..=own.segments.len() {
        let word = words(own, count);
        let alone = |(other, pattern): (usize, &Pattern)| other == at || words(pattern, count) != word;
        if !word.is_empty() && patterns.iter().enumerate().skip(1).all(alone) {
            return word;
        }
    }
    format!("{}-{at}", words(own, own.segments.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::validation;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn place(patterns: &Patterns, name: &str) -> (String, String) {
        let place = patterns.place(&patterns.read(name).unwrap()).unwrap();
        (place.namespace, place.name)
    }

    #[test]
    fn names_have_places() {
        let books = patterns(&["publishers/{publisher}/books/{book}", "authors/{author}/books/{book}"]);
        let clusters = patterns(&["projects/{project}/locations/{location}/clusters/{cluster}"]);
        let publishers = patterns(&["publishers/{publisher}"]);
        let settings = patterns(&["publishers/{publisher}/settings"]);
        let global = patterns(&["globalSettings"]);
        for (patterns, name, namespace, object) in [
            (&publishers, "publishers/p", "", "p"),
            (&books, "publishers/p/books/b", "p", "b"),
            (&books, "publishers/p/books/b.2--x", "p", "b.2--x"),
            (&books, "publishers/P.1/books/Moby_Dick", "x0-50-2e1", "x0-4doby-5f-44ick"),
            (&books, "publishers/p/books/x0", "p", "x0x0"),
            (&books, "authors/a/books/b", "authors---a", "b"),
            (&clusters, "projects/p/locations/eu-1/clusters/c", "p--eu-1", "c"),
            (&clusters, "projects/p--q/locations/l/clusters/c", "x0p-2d-2dq--l", "c"),
            (&settings, "publishers/p/settings", "p", "settings"),
            (&global, "globalSettings", "", "globalsettings"),
        ] {
            assert_eq!(place(patterns, name), (namespace.into(), object.into()), "{name}");
            let ids = patterns.ids(namespace, object).unwrap();
            assert_eq!(patterns.full(&ids), name);
        }
        assert_eq!(books.parent("authors---a"), Some((1, "authors/a".into())));
        assert_eq!(books.any_parent(0), "publishers/-");
        assert_eq!(clusters.any_parent(0), "projects/-/locations/-");
        assert_eq!(books.read("shelves/s/books/b"), None);
        for (namespace, name) in
            [("p--q", "b"), ("editors---a", "b"), ("---p", "b"), ("p", "Moby"), ("x0-4", "b"), ("x0p", "b")]
        {
            assert_eq!(books.ids(namespace, name), None, "{namespace} {name}");
        }
    }

    #[test]
    fn a_pattern_without_a_parent_has_a_namespace_where_others_have() {
        let both = patterns(&[
            "books/{book}",
            "publishers/{publisher}/books/{book}",
            "authors/{author}/books/{book}",
        ]);
        assert_eq!(place(&both, "books/b"), ("x0".into(), "b".into()));
        assert_eq!(place(&both, "publishers/p/books/b").0, "publishers---p");
        assert_eq!(both.parent("x0"), Some((0, String::new())));
        let alike = patterns(&["a/{a}", "p/{p}/l/{l}/c/{c}", "p/{p}/r/{r}/c/{c}"]);
        assert_eq!(place(&alike, "p/1/r/2/c/3"), ("p-r---1--2".into(), "3".into()));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, why) in [
            ("*", "wildcard"),
            ("a/{b=**}", "wildcard"),
            ("a//b", "empty"),
            ("{a}/b", "does not begin"),
            ("a/{b}/{c}", "side by side"),
            ("a/b}c", "neither"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Patterns::new(&["a/{b}".into(), "a/{c}".into()]).unwrap_err().contains("twice"));
    }

    proptest! {
        #[test]
        fn every_resource_name_has_one_place(
            pattern in 0_usize..3,
            ids in prop::collection::vec(
                prop_oneof!["[a-z0-9-]{1,12}", "[^/\u{0}]{1,8}", "x0[a-f0-9-]{0,6}"].prop_filter("all", |id| id != "-"),
                3
            ),
        ) {
            let all = patterns(&["p/{p}/l/{l}/c/{c}", "o/{o}/l/{l}/c/{c}", "c/{c}"]);
            let values: Vec<String> = if pattern == 2 { ids[2..].to_vec() } else { ids };
            let ids = Ids { pattern, values };
            let full = all.full(&ids);
            let read = all.read(&full).unwrap();
            prop_assert_eq!(&read, &ids);
            let place = all.place(&ids).unwrap();
            prop_assert!(validation::dns1123_subdomain(&place.name).is_empty() || place.name.len() > 253, "{}", place.name);
            prop_assert!(validation::dns1123_label(&place.namespace).is_empty() || place.namespace.len() > 63, "{}", place.namespace);
            prop_assert_eq!(all.ids(&place.namespace, &place.name), Some(ids));
        }

        #[test]
        fn a_place_has_at_most_one_resource_name(namespace in "[a-z0-9-]{0,20}", name in "[a-z0-9.-]{0,20}") {
            let all = patterns(&["p/{p}/l/{l}/c/{c}", "o/{o}/l/{l}/c/{c}", "c/{c}"]);
            if let Some(ids) = all.ids(&namespace, &name) {
                let place = all.place(&ids).unwrap();
                prop_assert_eq!((place.namespace, place.name), (namespace, name));
            }
        }
    }
}
