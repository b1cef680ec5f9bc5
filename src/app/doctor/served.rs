//! What comes of requests through kube-apiserver: discovery, and a list.

use std::time::Duration;

use serde::Deserialize;

use super::{
    ask::{Answer, Got},
    explain::meaning,
    verdict::Verdict,
};

/// kube-apiserver gives up on discovery after this.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// A resource, as discovery names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) kind: String,
    /// Empty: of the list's group and version, like `version`.
    #[serde(default)]
    pub(super) group: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) verbs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceList {
    kind: String,
    group_version: String,
    resources: Vec<Resource>,
}

impl Resource {
    fn is_sub(&self) -> bool {
        self.name.contains('/')
    }
}

/// What `GET /apis/GROUP/VERSION` came to, and the resources that there are.
pub(super) fn judge_discovery(got: &Got, group_version: &str) -> (Verdict, Vec<Resource>) {
    let answer = match answered(got, &format!("/apis/{group_version}")) {
        Ok(answer) => answer,
        Err(verdict) => return (verdict, Vec::new()),
    };
    let log = "see the log of Kubridge for this group and version, and kubridge lint --backend";
    let list: ResourceList = match serde_json::from_slice(&answer.body) {
        Ok(list) => list,
        Err(error) => {
            return (Verdict::broken(format!("the answer is no APIResourceList: {error}"), log), Vec::new());
        }
    };
    let took = answer.took;
    let verdict = if list.kind != "APIResourceList" || list.group_version != group_version {
        let what = format!("the answer is a {} of {}", list.kind, list.group_version);
        Verdict::broken(what, "see that the Service leads to Kubridge, and not to another server")
    } else if list.resources.is_empty() {
        Verdict::broken("the list of resources is empty: Kubridge has no schema for them yet", log)
    } else if took > LIMIT {
        let what = format!("the answer took {:.1}s: kube-apiserver gives up after 5s", took.as_secs_f64());
        Verdict::broken(what, "see what keeps Kubridge busy, and the way to it")
    } else {
        let names: Vec<&str> =
            list.resources.iter().filter(|one| !one.is_sub()).map(|one| one.name.as_str()).collect();
        Verdict::ok(format!("{} in {:.2}s", names.join(", "), took.as_secs_f64()))
    };
    (verdict, list.resources)
}

/// The path of a list of one object, of the first resource that has lists.
pub(super) fn listed(group_version: &str, resources: &[Resource]) -> Option<String> {
    let lists = |one: &&Resource| !one.is_sub() && one.verbs.iter().any(|verb| verb == "list");
    resources.iter().find(lists).map(|one| format!("/apis/{group_version}/{}?limit=1", one.name))
}

/// What a list came to: whether the backend behind Kubridge answers.
pub(super) fn judge_list(got: &Got, path: &str, backend: &str) -> Verdict {
    match got {
        Got::Answer(answer) if answer.status == 200 => {
            Verdict::ok(format!("{path} answers in {:.2}s", answer.took.as_secs_f64()))
        }
        Got::Answer(answer) if answer.status == 403 => {
            let why = answer.message();
            Verdict::not_tried(format!("whether {path} answers: you may not list it ({why})"))
                .with_mend("bind a Role that may list it to yourself, or ask as somebody who may")
        }
        Got::Answer(answer) if answer.is_status() && matches!(answer.status, 500..=504) => Verdict::broken(
            format!("{path} answers {}: Kubridge gets nothing from {backend}", answer.status),
            "see that the backend runs and listens there (its pods, its log), and for grpcs:// the CA of the annotation \
             kubridge.io/backend-ca",
        )
        .detail(answer.message()),
        got => match answered(got, path) {
            Err(verdict) => verdict,
            Ok(answer) => {
                let what = format!("{path} answers {}", answer.status);
                Verdict::broken(what, "see the log of the backend and of Kubridge").detail(answer.message())
            }
        },
    }
}

/// An answer that is one; else what stands in its way.
pub(super) fn answered<'a>(got: &'a Got, what: &str) -> Result<&'a Answer, Verdict> {
    let answer = match got {
        Got::Answer(answer) => answer,
        Got::Silence(patience) => {
            let silent = format!("{what}: no answer within {}s", patience.as_secs());
            return Err(Verdict::broken(
                silent,
                "see what keeps Kubridge busy, and whether the control plane reaches its pods (NetworkPolicy, firewall)",
            ));
        }
        Got::Away(why) => {
            return Err(Verdict::broken(
                format!("{what}: kube-apiserver itself cannot be asked: {why}"),
                "see that it runs, and what --kubeconfig names",
            ));
        }
    };
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let said = answer.message();
    let verdict = match (answer.status, meaning(&said)) {
        (401, _) => Verdict::broken(
            "401: Kubridge does not believe kube-apiserver's front-proxy certificate",
            "compare --proxy-client-cert-file of kube-apiserver with requestheader-client-ca-file and \
             requestheader-allowed-names of the hop front proxy",
        ),
        (403, _) => Verdict::broken(
            "403: you may not read it",
            "bind the ClusterRole system:discovery to the group system:authenticated",
        ),
        (404, _) => Verdict::broken(
            "404: nobody serves it",
            "see that the APIService names this Kubridge's Service (serve --service), and wait a moment after a change",
        ),
        (502, _) => Verdict::broken(
            "502: what answers there redirects, which kube-apiserver does not follow",
            "see that the Service leads to Kubridge, and not to another server",
        ),
        (503, None) if answer.is_status() => Verdict::broken(
            "503: Kubridge has nothing to serve for it",
            "do what its message says; where the backend was never reached, see the hop backend",
        ),
        (code @ (500 | 503 | 504), Some(known)) => {
            Verdict::broken(format!("{code}: {}", known.what), known.mend)
        }
        (504, None) => Verdict::broken(
            "504: no answer within kube-apiserver's time",
            "see what keeps Kubridge busy, and whether the control plane reaches its pods",
        ),
        (code, _) => Verdict::broken(format!("{code}"), "see the log of Kubridge"),
    };
    let verdict = Verdict { summary: format!("{what}: {}", verdict.summary), ..verdict };
    Err(if said.is_empty() { verdict } else { verdict.detail(said) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::app::doctor::verdict::State;

    const GROUP_VERSION: &str = "inventory.example.com/v1";

    fn got(status: u16, body: &str) -> Got {
        Got::Answer(Answer { status, body: body.into(), took: Duration::from_millis(20) })
    }

    fn list() -> Value {
        json!({"kind": "APIResourceList", "groupVersion": GROUP_VERSION, "resources": [
            {"name": "machines/status", "kind": "Machine", "verbs": ["get"]},
            {"name": "probes", "kind": "Probe", "verbs": ["create"]},
            {"name": "machines", "kind": "Machine", "verbs": ["get", "list"]},
        ]})
    }

    #[test]
    fn discovery_is_a_list_of_the_group_and_version_in_time() {
        let (verdict, resources) = judge_discovery(&got(200, &list().to_string()), GROUP_VERSION);
        assert_eq!((verdict.state, verdict.summary.as_str()), (State::Ok, "probes, machines in 0.02s"));
        let path = listed(GROUP_VERSION, &resources);
        assert_eq!(path.as_deref(), Some("/apis/inventory.example.com/v1/machines?limit=1"));
        let late = Got::Answer(Answer {
            status: 200,
            body: list().to_string().into(),
            took: Duration::from_secs(6),
        });
        let mut empty = list();
        empty["resources"] = json!([]);
        for (got, says) in [
            (late, "took 6.0s"),
            (got(200, &empty.to_string()), "is empty"),
            (got(200, r#"{"kind": "APIResourceList", "groupVersion": "a/v1", "resources": []}"#), "of a/v1"),
            (got(200, "hello"), "no APIResourceList"),
            (Got::Silence(Duration::from_secs(10)), "no answer within 10s"),
            (Got::Away("refused".to_owned()), "kube-apiserver itself cannot be asked: refused"),
        ] {
            let (verdict, _) = judge_discovery(&got, GROUP_VERSION);
            assert_eq!(verdict.state, State::Broken);
            assert!(verdict.summary.contains(says), "{}", verdict.summary);
        }
    }

    #[test]
    fn failures_are_explained() {
        let status = |code: u16, message: &str| {
            json!({"kind": "Status", "status": "Failure", "code": code, "message": message}).to_string()
        };
        for (code, body, says, mend) in [
            (401, status(401, "Unauthorized"), "front-proxy certificate", "requestheader-client-ca-file"),
            (403, status(403, "forbidden"), "you may not", "system:discovery"),
            (404, "404 page not found".to_owned(), "nobody serves", "serve --service"),
            (502, "the backend attempted to redirect".to_owned(), "redirects", "not to another server"),
            (503, "service unavailable\n".to_owned(), "calls the APIService unavailable", "hop Available"),
            (
                503,
                "error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused".to_owned(),
                "nobody serves where",
                "see that Kubridge runs",
            ),
            (503, status(503, "has no schema"), "Kubridge has nothing to serve", "what its message says"),
            (504, String::new(), "no answer within", "keeps Kubridge busy"),
            (418, String::new(), "418", "log of Kubridge"),
        ] {
            let (verdict, _) = judge_discovery(&got(code, &body), GROUP_VERSION);
            assert_eq!(verdict.state, State::Broken);
            assert!(verdict.summary.contains(says), "{code}: {}", verdict.summary);
            let said = verdict.mend.unwrap_or_default();
            assert!(said.contains(mend), "{code}: {said}");
        }
    }

    #[test]
    fn a_list_tells_whether_the_backend_answers() {
        let judged = |got: &Got| judge_list(got, "/apis/a/v1/b", "grpc://a:1");
        assert_eq!(judged(&got(200, "{}")).state, State::Ok);
        assert_eq!(judged(&got(403, r#"{"kind": "Status", "message": "no"}"#)).state, State::NotTried);
        let dead = judged(&got(503, r#"{"kind": "Status", "message": "it is away"}"#));
        assert_eq!((dead.state, dead.details), (State::Broken, vec!["it is away".to_owned()]));
        assert!(dead.summary.contains("Kubridge gets nothing from grpc://a:1"), "{}", dead.summary);
        let front = judged(&got(503, "error trying to reach service: x: connection refused"));
        assert!(front.summary.contains("nobody serves"), "{}", front.summary);
    }
}
