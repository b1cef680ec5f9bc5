//! What kube-apiserver publishes of a group and version: OpenAPI v3 and v2.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    ask::Got,
    served::{Resource, answered},
    verdict::Verdict,
};

/// kube-apiserver asks Kubridge for its documents once a minute: so many seconds after it called it available, they must
/// be there.
const SETTLED: i64 = 90;
/// Where a kind is named in OpenAPI v2.
const KINDS: &str = "x-kubernetes-group-version-kind";

/// Where the document of a group and version is, as the index of OpenAPI v3 says. `available_for`: seconds.
pub(super) fn judge_index(
    got: &Got,
    group_version: &str,
    available_for: Option<i64>,
) -> Result<String, Verdict> {
    let index: Value = json(got, "/openapi/v3")?;
    let key = format!("apis/{group_version}");
    if let Some(url) = index["paths"][&key]["serverRelativeURL"].as_str() {
        return Ok(url.to_owned());
    }
    let what = format!("/openapi/v3 does not list {key}");
    Err(match available_for {
        None => Verdict::broken(what, "see the hop Available: kube-apiserver lists what it calls available"),
        Some(seconds) if seconds < SETTLED => Verdict::warning(
            what,
            "look again in a minute: kube-apiserver asks for documents so often, and calls it available only since now",
        ),
        Some(_) => Verdict::broken(
            what,
            "let system:aggregator read /openapi/v3 (bind the ClusterRole system:discovery to system:authenticated), and \
             see the log of kube-apiserver",
        ),
    })
}

/// The document of the group and version in OpenAPI v3.
pub(super) fn judge_document(got: &Got, group_version: &str) -> Verdict {
    let document = match json(got, "its document of OpenAPI v3") {
        Ok(document) => document,
        Err(verdict) => return verdict,
    };
    let log = "see the log of Kubridge for this group and version";
    let Some(version) = document["openapi"].as_str().filter(|version| version.starts_with("3.")) else {
        return Verdict::broken("its document of OpenAPI v3 is none", log);
    };
    let prefix = format!("/apis/{group_version}/");
    let paths = document["paths"].as_object().into_iter().flatten();
    let (ours, others): (Vec<_>, Vec<_>) =
        paths.map(|(path, _)| path.as_str()).partition(|path| format!("{path}/").starts_with(&prefix));
    if ours.is_empty() {
        return Verdict::broken("its document of OpenAPI v3 has no path of the group and version", log);
    }
    match others.first() {
        Some(path) => Verdict::warning(format!("its document of OpenAPI v3 has {path}, too"), log),
        None => Verdict::ok(format!("OpenAPI {version} with {} paths", ours.len())),
    }
}

/// Whether OpenAPI v2 has the kinds that discovery names.
pub(super) fn judge_v2(got: &Got, group_version: &str, resources: &[Resource]) -> Verdict {
    if resources.is_empty() {
        return Verdict::not_tried("OpenAPI v2: discovery names no kinds");
    }
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let document = match json(got, "/openapi/v2") {
        Ok(document) => document,
        // Its own answer, of all groups: whatever is wrong with it, kubectl asks for v3 first.
        Err(verdict) => {
            let mend = verdict.mend.unwrap_or_default();
            return verdict.details.iter().fold(Verdict::warning(verdict.summary, mend), Verdict::detail);
        }
    };
    let definitions = document["definitions"].as_object().into_iter().flatten();
    let named = definitions.flat_map(|(_, definition)| definition[KINDS].as_array().into_iter().flatten());
    let known: BTreeSet<&str> = named
        .filter(|kind| kind["group"] == group && kind["version"] == version)
        .filter_map(|kind| kind["kind"].as_str())
        .collect();
    let own = resources.iter().filter(|one| {
        (one.group.is_empty() || one.group == group) && (one.version.is_empty() || one.version == version)
    });
    let missing: BTreeSet<&str> =
        own.map(|one| one.kind.as_str()).filter(|kind| !known.contains(kind)).collect();
    if missing.is_empty() {
        return Verdict::ok("OpenAPI v2 has every kind");
    }
    let missing: Vec<&str> = missing.into_iter().collect();
    Verdict::warning(
        format!("OpenAPI v2 lacks {}", missing.join(", ")),
        "look again in a minute: kube-apiserver asks for documents so often, and after failures less",
    )
}

fn json(got: &Got, what: &str) -> Result<Value, Verdict> {
    let answer = answered(got, what)?;
    serde_json::from_slice(&answer.body).map_err(|error| {
        Verdict::broken(format!("{what}: the answer is no JSON: {error}"), "see the log of kube-apiserver")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::app::doctor::{ask::Answer, verdict::State};

    const GROUP_VERSION: &str = "inventory.example.com/v1";

    fn got(document: &Value) -> Got {
        Got::Answer(Answer { status: 200, body: document.to_string().into(), took: Duration::ZERO })
    }

    #[test]
    fn the_index_names_the_document() {
        let url = "/openapi/v3/apis/inventory.example.com/v1?hash=A";
        let index = json!({"paths": {"apis/inventory.example.com/v1": {"serverRelativeURL": url}}});
        assert_eq!(judge_index(&got(&index), GROUP_VERSION, None), Ok(url.to_owned()));
        let state = |available_for| {
            let judged = judge_index(&got(&json!({"paths": {}})), GROUP_VERSION, available_for);
            judged.map_err(|verdict| verdict.state)
        };
        assert_eq!(state(Some(5)), Err(State::Warning));
        assert_eq!(state(Some(500)), Err(State::Broken));
        assert_eq!(state(None), Err(State::Broken));
    }

    #[test]
    fn a_document_is_of_its_group_and_version() {
        let document = |paths: &[&str]| {
            let paths: Value = paths.iter().map(|path| ((*path).to_owned(), json!({}))).collect();
            judge_document(&got(&json!({"openapi": "3.0.0", "paths": paths})), GROUP_VERSION)
        };
        let own = "/apis/inventory.example.com/v1/machines";
        assert_eq!(document(&["/apis/inventory.example.com/v1/", own]).state, State::Ok);
        assert_eq!(document(&[own, "/apis/apps/v1/deployments"]).state, State::Warning);
        assert_eq!(document(&["/apis/apps/v1/deployments"]).state, State::Broken);
        assert_eq!(judge_document(&got(&json!({})), GROUP_VERSION).state, State::Broken);
    }

    #[test]
    fn version_2_may_lag() {
        let kinds = json!([{"group": "inventory.example.com", "version": "v1", "kind": "Machine"}]);
        let document = json!({"definitions": {"a": {KINDS: kinds}, "b": {}}});
        let resource = |kind: &str, group: &str| Resource {
            name: kind.to_lowercase(),
            kind: kind.to_owned(),
            group: group.to_owned(),
            version: String::new(),
            verbs: Vec::new(),
        };
        let judged = |resources: &[Resource]| judge_v2(&got(&document), GROUP_VERSION, resources);
        assert_eq!(judged(&[resource("Machine", ""), resource("Scale", "autoscaling")]).state, State::Ok);
        let lacking = judged(&[resource("Machine", ""), resource("Probe", "")]);
        assert_eq!((lacking.state, lacking.summary.as_str()), (State::Warning, "OpenAPI v2 lacks Probe"));
        let away =
            judge_v2(&Got::Silence(Duration::from_secs(10)), GROUP_VERSION, &[resource("Machine", "")]);
        assert_eq!(away.state, State::Warning);
        assert_eq!(judged(&[]).state, State::NotTried);
    }
}
