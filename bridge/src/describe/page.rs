//! Facts -> a page for people.

use std::fmt::Write as _;

use super::{ApiFacts, By, Duty, FieldFacts, ResourceFacts};

/// How wide a description may be before it is cut.
const MAX_DESCRIPTION: usize = 100;

/// Lays out everything that an API serves.
pub fn page(api: &ApiFacts) -> String {
    let mut out = String::new();
    let group = if api.group.is_empty() { String::new() } else { format!("{}/", api.group) };
    let _ = writeln!(out, "{group}{}", api.version);
    for resource in &api.resources {
        out.push('\n');
        self::resource(resource, &mut out);
    }
    out
}

fn resource(facts: &ResourceFacts, out: &mut String) {
    let scope = if facts.namespaced { "namespaced" } else { "cluster-scoped" };
    let mut head = vec![format!("kind {}", facts.kind), scope.to_owned()];
    for (what, names) in [("short", &facts.short_names), ("in", &facts.categories)] {
        if !names.is_empty() {
            head.push(format!("{what} {}", names.join(", ")));
        }
    }
    let _ = writeln!(out, "{}: {}", facts.resource, head.join("; "));
    if !facts.description.is_empty() {
        let _ = writeln!(out, "  {}", brief(&facts.description));
    }
    if !facts.deprecation.is_empty() {
        let _ = writeln!(out, "  Deprecated: {}", facts.deprecation);
    }
    section(out, "Verbs", facts.verbs.iter().map(|duty| [duty.what.clone(), by(duty)]));
    let subresources = facts
        .subresources
        .iter()
        .flat_map(|sub| sub.verbs.iter().map(|duty| [format!("{} {}", sub.name, duty.what), by(duty)]));
    section(out, "Subresources", subresources);
    section(out, "Beside the verbs", facts.also.iter().map(|duty| [duty.what.clone(), by(duty)]));
    if let Some(columns) = &facts.columns {
        let rows = columns.iter().map(|column| {
            let wide = if column.wide { " (wide)" } else { "" };
            [column.name.clone(), column.path.clone(), format!("{}{wide}", column.r#type)]
        });
        section(out, "Columns, between NAME and AGE", rows);
    }
    if let Some(obstacles) = &facts.twin_obstacles {
        let said = match obstacles.as_slice() {
            [] => "objects can be relayed undecoded".to_owned(),
            some => format!("objects cannot be relayed undecoded: {}", first(some)),
        };
        let _ = writeln!(out, "\n  Kubernetes' protobuf: {said}");
    }
    section(out, "Fields", facts.fields.iter().map(field));
}

fn by(duty: &Duty) -> String {
    match &duty.by {
        By::Method(method) => method.clone(),
        By::Backend(how) => format!("by the backend: {how}"),
        By::Aggregator(how) => format!("made: {how}"),
        By::Server => "served".to_owned(),
        By::Nobody(needs) => format!("405; {needs}"),
    }
}

/// The first few, and how many more there are.
fn first(texts: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = texts.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

fn field(facts: &FieldFacts) -> [String; 4] {
    let depth = facts.path.matches('.').count();
    let name = facts.path.rsplit('.').next().unwrap_or_default();
    let rules = facts.rules.join("; ");
    [format!("{}{name}", "  ".repeat(depth)), facts.r#type.clone(), rules, brief(&facts.description)]
}

/// The first sentence, without what a terminal would act on.
fn brief(description: &str) -> String {
    let line: String =
        description.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let line = line.as_str();
    let sentence = line.split_once(". ").map_or(line, |(first, _)| first);
    let sentence = sentence.strip_suffix('.').unwrap_or(sentence);
    if sentence.chars().count() <= MAX_DESCRIPTION {
        return sentence.to_owned();
    }
    let cut: String = sentence.chars().take(MAX_DESCRIPTION).collect();
    format!("{}...", cut.trim_end())
}

/// A heading and rows below it, in columns. Without rows nothing.
fn section<const N: usize>(out: &mut String, heading: &str, rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n  {heading}");
    let widths: [usize; N] = std::array::from_fn(|at| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    });
    for row in &rows {
        let mut line = String::from("   ");
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, " {cell:<width$} ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
