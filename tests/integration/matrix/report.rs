//! The matrix as a table in Markdown.

use std::{collections::BTreeMap, time::Duration};

use super::{
    load::{Asks, Sample},
    row::{Answer, Expected, Row},
    runner::{Seen, times},
    victim::Kind,
};

/// What stands above the rows.
pub const HEAD: &str = "| what is wrong | backend | discovery | GET | POST | other backends | `Available` | good again after |\n\
                        |---|---|---|---|---|---|---|---|";

/// One row.
pub fn line(row: &Row, kind: Kind, seen: &Seen) -> String {
    let unconcerned = |discovery: bool| {
        let asked = Asks::UNCONCERNED.into_iter().filter(|asks| asks.is_discovery() == discovery);
        let touched = asked.clone().flat_map(|asks| seen.harmed(asks)).any(|s| s.answer != Answer::Good);
        let longest = asked.filter_map(|asks| times(seen.harmed(asks))).map(|[_, longest]| longest).max();
        let what = if touched { "**touched**" } else { "as before" };
        format!("{what}, {}", shown(longest.unwrap_or_default()))
    };
    let [status, reason, _] = seen.available();
    let available = match seen.available_since() {
        None => format!("{status} {reason}"),
        Some(at) => {
            format!("{status} {reason} after {}", shown(at.saturating_duration_since(seen.harmed_at)))
        }
    };
    let again =
        |at: Option<std::time::Instant>| at.map_or("never".to_owned(), |at| shown(at - seen.mended_at));
    let settled = seen.settled_at().filter(|at| *at > seen.mended_at);
    let settled = settled.map_or(String::new(), |at| format!(", True after {}", again(Some(at))));
    format!(
        "| {} | {} | {} | {} | {} | {} | {available} | {}{settled} |",
        row.name,
        kind.name(),
        unconcerned(true),
        answers(seen, Asks::Get, row.get),
        answers(seen, Asks::Post, row.post),
        unconcerned(false),
        again(seen.good_at[0]),
    )
}

/// Each answer, how long it took, and how long at most.
fn answers(seen: &Seen, asks: Asks, expected: Expected) -> String {
    let mut by_answer: BTreeMap<Answer, Vec<_>> = BTreeMap::new();
    let counts = |sample: &&Sample| expected.then.contains(&sample.answer) || !seen.outlasted(sample);
    for sample in seen.harmed(asks).filter(counts) {
        by_answer.entry(sample.answer).or_default().push(sample);
    }
    let each = by_answer.into_iter().filter_map(|(answer, samples)| {
        let [median, longest] = times(samples.iter().copied())?;
        let most = match shown(longest) == shown(median) {
            true => String::new(),
            false => format!(" to {}", shown(longest)),
        };
        Some(format!("{} × {} in {}{most}", samples.len(), answer.name(), shown(median)))
    });
    each.collect::<Vec<_>>().join("; ")
}

fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 0.1 => format!("{seconds:.2} s"),
        seconds => format!("{:.0} ms", seconds * 1000.0),
    }
}
