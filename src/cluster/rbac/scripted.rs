//! Roles and bindings of a test, without an API server.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;
use policy::Object;

/// An object as it would be listed.
pub(super) fn object(object: &Value) -> Object {
    let value = object.clone();
    match object["kind"].as_str().unwrap() {
        "ClusterRole" => serde_json::from_value::<ClusterRole>(value).unwrap().into(),
        "ClusterRoleBinding" => serde_json::from_value::<ClusterRoleBinding>(value).unwrap().into(),
        "Role" => serde_json::from_value::<Role>(value).unwrap().into(),
        "RoleBinding" => serde_json::from_value::<RoleBinding>(value).unwrap().into(),
        kind => panic!("{kind} says nothing of who may"),
    }
}

impl Policy {
    /// One came, or changed.
    pub(crate) fn apply(&mut self, one: &Value) {
        self.put(object(one));
    }

    /// One went.
    pub(crate) fn delete(&mut self, one: &Value) {
        self.remove(&object(one));
    }
}

impl Rbac {
    /// Has all of this known, as of now.
    pub(crate) fn know(&self, policy: &Policy) {
        let now = Some(Instant::now());
        self.0.store(Arc::new(Known { policy: policy.clone(), as_of: [now; Kind::ALL.len()], changed: now }));
    }
}
