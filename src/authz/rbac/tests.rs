#![allow(clippy::unwrap_used)]

use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Value, json};

use super::*;

fn user(name: &str, groups: &[&str]) -> UserInfo {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    UserInfo { username: name.into(), groups, ..UserInfo::default() }
}

fn resource<'a>(verb: &'a str, group: &'a str, resource: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes { is_resource: true, verb, group, resource, subresource, ..Attributes::default() }
}

fn path<'a>(verb: &'a str, path: &'a str) -> Attributes<'a> {
    Attributes { verb, path, ..Attributes::default() }
}

fn rule(rule: Value) -> PolicyRule {
    serde_json::from_value(rule).unwrap()
}

#[test]
fn what_a_rule_allows() {
    let of = |resources: &[&str]| json!({"verbs": ["get"], "apiGroups": ["g"], "resources": resources});
    let named = json!({"verbs": ["get", "create"], "apiGroups": ["g"], "resources": ["machines"], "resourceNames": ["a", "b"]});
    let paths = |urls: &[&str]| json!({"verbs": ["get"], "nonResourceURLs": urls});
    let name = |verb, name| Attributes { name, ..resource(verb, "g", "machines") };
    for (json, what, expected) in [
        (of(&["machines"]), resource("get", "g", "machines"), true),
        (of(&["machines"]), resource("list", "g", "machines"), false),
        (of(&["machines"]), resource("GET", "g", "machines"), false),
        (of(&["machines"]), resource("get", "", "machines"), false),
        (of(&["machines"]), resource("get", "g", "racks"), false),
        (of(&["racks", "machines"]), resource("get", "g", "machines"), true),
        (of(&[]), resource("get", "g", "machines"), false),
        // Subresources are resources of their own.
        (of(&["machines"]), resource("get", "g", "machines/status"), false),
        (of(&["machines/status"]), resource("get", "g", "machines/status"), true),
        (of(&["machines/status"]), resource("get", "g", "machines"), false),
        (of(&["machines/status"]), resource("get", "g", "machines/scale"), false),
        (of(&["machines/*"]), resource("get", "g", "machines/scale"), false),
        (of(&["*"]), resource("get", "g", "machines"), true),
        (of(&["*"]), resource("get", "g", "machines/status"), true),
        (of(&["*/status"]), resource("get", "g", "machines/status"), true),
        (of(&["*/status"]), resource("get", "g", "machines/scale"), false),
        (of(&["*/status"]), resource("get", "g", "machines"), false),
        (of(&["*/"]), resource("get", "g", "machines"), false),
        (of(&["mach*"]), resource("get", "g", "machines"), false),
        // Wildcards of groups and verbs; asking for everything is covered by nothing less.
        (
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["machines"]}),
            resource("patch", "h", "machines"),
            true,
        ),
        (
            json!({"verbs": ["*"], "apiGroups": ["g"], "resources": ["machines"]}),
            resource("*", "*", "machines"),
            false,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"]}),
            resource("*", "g", "machines"),
            false,
        ),
        (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), resource("*", "*", "*"), true),
        (json!({"verbs": ["get"], "resources": ["machines"]}), resource("get", "", "machines"), false),
        // Names.
        (named.clone(), name("get", "a"), true),
        (named.clone(), name("get", "b"), true),
        (named.clone(), name("get", "c"), false),
        (named, name("create", ""), false),
        (of(&["machines"]), name("get", "whatever"), true),
        // Paths.
        (paths(&["/metrics"]), path("get", "/metrics"), true),
        (paths(&["/metrics"]), path("get", "/metrics/a"), false),
        (paths(&["/metrics"]), path("post", "/metrics"), false),
        (paths(&["/metrics/*"]), path("get", "/metrics/a/b"), true),
        (paths(&["/metrics/*"]), path("get", "/metrics"), false),
        (paths(&["/metrics*"]), path("get", "/metricsandmore"), true),
        (paths(&["/metrics**"]), path("get", "/metrics"), true),
        (paths(&["/a/*/b"]), path("get", "/a/x/b"), false),
        (paths(&["/x", "*"]), path("get", "/anything"), true),
        (paths(&["*"]), resource("get", "g", "machines"), false),
        (of(&["*"]), path("get", "/machines"), false),
    ] {
        assert_eq!(allows(&rule(json.clone()), &what), expected, "{json} {what:?}");
    }
}

fn policy(objects: &[Value]) -> Policy {
    let mut policy = Policy::default();
    objects.iter().for_each(|object| policy.apply(object));
    policy
}

fn role(namespace: Option<&str>, name: &str, rules: &Value) -> Value {
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    json!({"kind": kind, "metadata": {"namespace": namespace, "name": name}, "rules": rules})
}

fn binding(namespace: Option<&str>, name: &str, role: (&str, &str), subjects: &Value) -> Value {
    let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
    json!({
        "kind": kind, "metadata": {"namespace": namespace, "name": name}, "subjects": subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1},
    })
}

#[test]
fn who_is_bound_and_where() {
    let read = json!([{"verbs": ["get"], "apiGroups": ["g"], "resources": ["machines"]}]);
    let look = json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]);
    let subject = |kind: &str, name: &str| json!([{"kind": kind, "name": name}]);
    let account = |namespace: Option<&str>| json!([{"kind": "ServiceAccount", "namespace": namespace, "name": "robot"}]);
    let policy = policy(&[
        role(None, "reader", &read),
        role(None, "looker", &look),
        role(Some("a"), "own", &read),
        role(Some("b"), "lost", &read),
        binding(None, "everywhere", ("ClusterRole", "reader"), &subject("User", "alice")),
        binding(None, "looks", ("ClusterRole", "looker"), &subject("Group", "system:authenticated")),
        binding(None, "of-nothing", ("ClusterRole", "missing"), &subject("User", "bob")),
        binding(None, "of-a-role", ("Role", "reader"), &subject("User", "bob")),
        binding(None, "of-no-namespace", ("ClusterRole", "reader"), &account(None)),
        binding(Some("a"), "here", ("ClusterRole", "reader"), &subject("Group", "dev")),
        binding(Some("a"), "own", ("Role", "own"), &subject("User", "carol")),
        binding(Some("a"), "looks", ("ClusterRole", "looker"), &subject("User", "nobody")),
        binding(Some("a"), "elsewhere", ("Role", "lost"), &subject("User", "bob")),
        binding(Some("a"), "robot", ("Role", "own"), &account(None)),
        binding(Some("a"), "other-robot", ("Role", "own"), &account(Some("c"))),
        binding(Some("a"), "odd", ("Role", "own"), &subject("Robot", "bob")),
        binding(Some("a"), "odder", ("Rule", "own"), &subject("User", "bob")),
    ]);
    let machine = |namespace| Attributes { namespace, ..resource("get", "g", "machines") };
    let robot = |namespace: &str| user(&format!("system:serviceaccount:{namespace}:robot"), &[]);
    let known = user("dave", &["system:authenticated"]);
    for (user, what, why) in [
        (
            user("alice", &[]),
            machine("x"),
            r#"ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "alice""#,
        ),
        (
            user("alice", &[]),
            machine(""),
            r#"ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "alice""#,
        ),
        (user("Alice", &[]), machine("x"), ""),
        (user("x", &["alice"]), machine("x"), ""),
        (
            user("x", &["ops", "dev"]),
            machine("a"),
            r#"RoleBinding "here/a" of ClusterRole "reader" to Group "dev""#,
        ),
        (user("dev", &[]), machine("a"), ""),
        (user("x", &["dev"]), machine("b"), ""),
        (user("x", &["dev"]), machine(""), ""),
        (user("carol", &[]), machine("a"), r#"RoleBinding "own/a" of Role "own" to User "carol""#),
        (user("carol", &[]), machine("b"), ""),
        (user("bob", &[]), machine("a"), ""),
        (robot("a"), machine("a"), r#"RoleBinding "robot/a" of Role "own" to ServiceAccount "robot/a""#),
        (
            robot("c"),
            machine("a"),
            r#"RoleBinding "other-robot/a" of Role "own" to ServiceAccount "robot/c""#,
        ),
        (robot("b"), machine("a"), ""),
        (robot("a"), machine("b"), ""),
        (
            known.clone(),
            path("get", "/metrics"),
            r#"ClusterRoleBinding "looks" of ClusterRole "looker" to Group "system:authenticated""#,
        ),
        (known, path("get", "/other"), ""),
        // Paths are in no namespace, whatever is said of one.
        (user("nobody", &[]), Attributes { namespace: "a", ..path("get", "/metrics") }, ""),
    ] {
        let expected = (!why.is_empty()).then(|| format!("RBAC: allowed by {why}"));
        assert_eq!(allowed_by(&policy, &user, &what).as_deref(), expected.as_deref(), "{user:?} {what:?}");
    }
}

/// The same question, answered by reading every object, each as Kubernetes' documentation describes it.
fn naive(objects: &[Value], user: &UserInfo, what: &Attributes<'_>) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| -> Vec<String> {
        value.as_array().map(|items| items.iter().map(text).collect()).unwrap_or_default()
    };
    let is_bound = |binding: &Value| {
        let own = text(&binding["metadata"]["namespace"]);
        binding["subjects"].as_array().unwrap().iter().any(|subject| {
            let (name, named) = (text(&subject["name"]), text(&subject["namespace"]));
            match subject["kind"].as_str().unwrap() {
                "User" => user.username == name,
                "Group" => user.groups.contains(&name),
                _ => {
                    let namespace = if named.is_empty() { own.clone() } else { named };
                    !namespace.is_empty()
                        && user.username == format!("system:serviceaccount:{namespace}:{name}")
                }
            }
        })
    };
    let lets_in = |rule: &Value| {
        let any = |key: &str, good: &dyn Fn(&str) -> bool| list(&rule[key]).iter().any(|one| good(one));
        if !any("verbs", &|verb| verb == "*" || verb == what.verb) {
            return false;
        }
        if !what.is_resource {
            return any("nonResourceURLs", &|url| match url.strip_suffix('*') {
                Some(root) => what.path.starts_with(root),
                None => url == what.path,
            });
        }
        let whole = match what.subresource {
            "" => what.resource.to_owned(),
            sub => format!("{}/{sub}", what.resource),
        };
        let every = format!("*/{}", what.subresource);
        any("apiGroups", &|group| group == "*" || group == what.group)
            && any("resources", &|one| {
                one == "*" || one == whole || (!what.subresource.is_empty() && one == every)
            })
            && (list(&rule["resourceNames"]).is_empty() || any("resourceNames", &|name| name == what.name))
    };
    objects.iter().any(|binding| {
        let own = text(&binding["metadata"]["namespace"]);
        let is_here = match binding["kind"].as_str().unwrap() {
            "ClusterRoleBinding" => true,
            "RoleBinding" => what.is_resource && own == what.namespace,
            _ => false,
        };
        is_here && is_bound(binding) && {
            let (kind, name) = (&binding["roleRef"]["kind"], &binding["roleRef"]["name"]);
            let namespace = if kind == "Role" { own.clone() } else { String::new() };
            objects.iter().any(|role| {
                role["kind"] == *kind
                    && role["metadata"]["name"] == *name
                    && text(&role["metadata"]["namespace"]) == namespace
                    && role["rules"].as_array().unwrap().iter().any(lets_in)
            })
        }
    })
}

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(of, 0..=of.len().min(2))
}

fn one(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    select(of)
}

const NAMESPACES: &[&str] = &["", "a", "b"];
const NAMES: &[&str] = &["x", "y"];

fn any_rule() -> impl Strategy<Value = Value> {
    let resources = some(&["*", "machines", "machines/status", "*/status", "racks"]);
    (
        some(&["*", "get", "list"]),
        some(&["*", "", "g"]),
        resources,
        some(&["n", "m"]),
        some(&["*", "/m", "/m/*"]),
    )
        .prop_map(|(verbs, groups, resources, names, urls)| {
            json!({
                "verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names,
                "nonResourceURLs": urls,
            })
        })
}

fn any_subject() -> impl Strategy<Value = Value> {
    (one(&["User", "Group", "ServiceAccount"]), one(NAMESPACES), one(NAMES)).prop_map(
        |(kind, namespace, name)| match kind {
            "ServiceAccount" => json!({"kind": kind, "namespace": namespace, "name": name}),
            _ => json!({"kind": kind, "name": name}),
        },
    )
}

fn any_object() -> impl Strategy<Value = Value> {
    let namespace = || one(NAMESPACES).prop_map(|own| Some(own).filter(|own| !own.is_empty()));
    let a_role = (namespace(), one(NAMES), vec(any_rule(), 0..3))
        .prop_map(|(namespace, name, rules)| role(namespace, name, &json!(rules)));
    let a_binding =
        (namespace(), one(NAMES), one(&["ClusterRole", "Role"]), one(NAMES), vec(any_subject(), 0..3))
            .prop_map(|(namespace, name, kind, role, subjects)| {
                binding(namespace, name, (kind, role), &json!(subjects))
            });
    prop_oneof![a_role, a_binding]
}

fn any_user() -> impl Strategy<Value = UserInfo> {
    let name = one(&["x", "y", "system:serviceaccount:a:x", "system:serviceaccount:b:y"]);
    (name, some(NAMES)).prop_map(|(name, groups)| user(name, &groups))
}

fn any_question() -> impl Strategy<Value = Attributes<'static>> {
    let (verb, group, sub) =
        (one(&["get", "list", "*"]), one(&["", "g", "*"]), one(&["", "status", "scale"]));
    let a_resource = (verb, group, one(&["machines", "racks", "*"]), sub, one(NAMESPACES), one(&["", "n"]))
        .prop_map(|(verb, group, resource, subresource, namespace, name)| Attributes {
            is_resource: true,
            verb,
            group,
            resource,
            subresource,
            namespace,
            name,
            ..Attributes::default()
        });
    let a_path = (one(&["get", "list"]), one(&["/m", "/m/n", "/n"])).prop_map(|(verb, at)| path(verb, at));
    prop_oneof![4 => a_resource, 1 => a_path]
}

fn is_same(one: &Value, other: &Value) -> bool {
    one["kind"] == other["kind"] && one["metadata"] == other["metadata"]
}

proptest! {
    #[test]
    fn the_index_says_what_all_objects_say(
        changes in vec((any_object(), any::<bool>()), 0..40),
        users in vec(any_user(), 1..4),
        questions in vec(any_question(), 1..12),
    ) {
        let (mut policy, mut objects) = (Policy::default(), Vec::<Value>::new());
        for (object, is_there) in changes {
            // What was published stays as it was.
            let before = policy.clone();
            let first = (&users[0], &questions[0]);
            let said = naive(&objects, first.0, first.1);
            objects.retain(|other| !is_same(&object, other));
            if is_there {
                policy.apply(&object);
                objects.push(object);
            } else {
                policy.delete(&object);
            }
            prop_assert_eq!(allowed_by(&before, first.0, first.1).is_some(), said);
        }
        for user in &users {
            for what in &questions {
                let expected = naive(&objects, user, what);
                prop_assert_eq!(allowed_by(&policy, user, what).is_some(), expected, "{:?} {:?}", user, what);
            }
        }
    }
}
