//! Kubernetes' controllers whose deeds cannot be undone: a namespace's end, an object's collection.
//!
//! Where controllers have no accounts of their own (`--use-service-account-credentials=false`), all of them are
//! `system:kube-controller-manager`.

use super::Asked;

const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// Whether a request is what the namespace controller empties a namespace with: it deletes the collection, then lists it.
pub(super) fn sweeps(asked: Asked<'_>) -> bool {
    matches!(asked.user, NAMESPACE_CONTROLLER | CONTROLLER_MANAGER)
        && matches!(asked.verb, "list" | "deletecollection")
        && !asked.namespace.is_empty()
}

/// Whether something would be deleted for good by what is answered: the namespace, when its list is empty; what an
/// object owns, when that is read and is another one, or not there.
pub(super) fn decides(asked: Asked<'_>) -> bool {
    sweeps(asked) || (matches!(asked.user, GARBAGE_COLLECTOR | CONTROLLER_MANAGER) && asked.verb == "get")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(user: &'a str, verb: &'a str, namespace: &'a str) -> Asked<'a> {
        Asked { user, verb, namespace, name: "", query: "" }
    }

    #[test]
    fn the_sweep_is_the_namespace_controllers_and_nobody_elses() {
        for user in [NAMESPACE_CONTROLLER, CONTROLLER_MANAGER] {
            assert!(sweeps(asked(user, "list", "n")) && sweeps(asked(user, "deletecollection", "n")));
            assert!(!sweeps(asked(user, "list", "")), "all namespaces: an informer");
            assert!(!["get", "watch", "delete", "create"].iter().any(|verb| sweeps(asked(user, verb, "n"))));
        }
        for user in ["system:admin", GARBAGE_COLLECTOR, "system:serviceaccount:x:namespace-controller", ""] {
            assert!(!sweeps(asked(user, "list", "n")), "{user}");
        }
    }

    #[test]
    fn the_garbage_collector_reads_what_it_deletes_by_and_may_list() {
        for user in [GARBAGE_COLLECTOR, CONTROLLER_MANAGER] {
            assert!(decides(asked(user, "get", "n")));
            assert!(!decides(asked(user, "list", "")));
        }
        assert!(decides(asked(NAMESPACE_CONTROLLER, "list", "n")));
        assert!(!decides(asked("alice", "get", "n")));
    }
}
