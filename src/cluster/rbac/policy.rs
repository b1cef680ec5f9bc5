//! Roles and what binds them, by whom they are bound to.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::ResourceExt as _;
use kubridge_bridge::proto::UserInfo;

/// The kinds that say who may what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ClusterRoles,
    ClusterRoleBindings,
    Roles,
    RoleBindings,
}

/// An object of one of them, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    /// Empty: it is the cluster's.
    namespace: String,
    name: String,
    content: Content,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Role(Vec<PolicyRule>),
    Binding(RoleRef, Vec<Subject>),
}

/// Every Role and every binding of a cluster. A copy shares whatever is not changed in it.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    cluster: Arc<Scope>,
    namespaces: Arc<HashMap<String, Arc<Scope>>>,
}

/// The Roles and bindings of one namespace, or the cluster's own.
#[derive(Debug, Clone, Default)]
struct Scope {
    roles: HashMap<String, Arc<[PolicyRule]>>,
    /// Whom each binding names.
    bindings: HashMap<String, Vec<Who>>,
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    User(String),
    Group(String),
}

/// What a binding gives to one of those that it names.
#[derive(Debug, Clone)]
struct Grant {
    binding: Arc<str>,
    role: Arc<str>,
    is_cluster_role: bool,
    why: Arc<str>,
}

impl Kind {
    pub(super) const ALL: [Self; 4] =
        [Self::ClusterRoles, Self::ClusterRoleBindings, Self::Roles, Self::RoleBindings];

    const fn is_namespaced(self) -> bool {
        matches!(self, Self::Roles | Self::RoleBindings)
    }
}

impl Policy {
    /// The rules that are bound to `user` in the whole cluster and in `namespace` (empty: none), role by role, each with why:
    /// `RBAC: allowed by RoleBinding "b/ns" of Role "r" to User "u"`, Kubernetes' words. A Role that is not there has none.
    pub fn grants<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a [PolicyRule])> {
        let own = self.namespaces.get(namespace);
        [Some(&self.cluster), own].into_iter().flatten().flat_map(move |scope| {
            let groups = user.groups.iter().filter_map(|group| scope.groups.get(group));
            scope.users.get(&user.username).into_iter().chain(groups).flatten().filter_map(move |grant| {
                let roles = if grant.is_cluster_role { &self.cluster.roles } else { &scope.roles };
                Some((&grant.why, &**roles.get(&*grant.role)?))
            })
        })
    }

    /// These are all objects of the kind.
    pub(super) fn replace(&mut self, kind: Kind, objects: Vec<Object>) {
        let clear = |scope: &mut Arc<Scope>| Arc::make_mut(scope).clear(kind);
        if kind.is_namespaced() {
            Arc::make_mut(&mut self.namespaces).values_mut().for_each(clear);
        } else {
            clear(&mut self.cluster);
        }
        objects.into_iter().for_each(|object| self.put(object));
        Arc::make_mut(&mut self.namespaces).retain(|_, scope| !scope.is_empty());
    }

    /// It is new, or has changed.
    pub(super) fn put(&mut self, object: Object) {
        let scope = if object.namespace.is_empty() {
            &mut self.cluster
        } else {
            Arc::make_mut(&mut self.namespaces).entry(object.namespace.clone()).or_default()
        };
        Arc::make_mut(scope).put(object);
    }

    /// It is gone.
    pub(super) fn remove(&mut self, object: &Object) {
        if object.namespace.is_empty() {
            return Arc::make_mut(&mut self.cluster).remove(object);
        }
        let namespaces = Arc::make_mut(&mut self.namespaces);
        if let Some(scope) = namespaces.get_mut(&object.namespace) {
            Arc::make_mut(scope).remove(object);
            if scope.is_empty() {
                namespaces.remove(&object.namespace);
            }
        }
    }
}

impl Scope {
    fn put(&mut self, object: Object) {
        let Object { namespace, name, content, .. } = object;
        match content {
            Content::Role(rules) => drop(self.roles.insert(name, rules.into())),
            Content::Binding(role, subjects) => {
                self.unbind(&name);
                self.bind(&namespace, name, &role, &subjects);
            }
        }
    }

    fn remove(&mut self, object: &Object) {
        match object.content {
            Content::Role(_) => drop(self.roles.remove(&object.name)),
            Content::Binding(..) => self.unbind(&object.name),
        }
    }

    fn bind(&mut self, namespace: &str, name: String, role: &RoleRef, subjects: &[Subject]) {
        let is_cluster_role = match (&*role.kind, namespace) {
            ("ClusterRole", _) => true,
            ("Role", namespace) if !namespace.is_empty() => false,
            // A ClusterRoleBinding has no Role to bind.
            _ => return,
        };
        let binding = match namespace {
            "" => format!("ClusterRoleBinding {name:?}"),
            _ => format!("RoleBinding \"{name}/{namespace}\""),
        };
        let allowed = format!("RBAC: allowed by {binding} of {} {:?}", role.kind, role.name);
        let (binding, role): (Arc<str>, Arc<str>) = (name.as_str().into(), role.name.as_str().into());
        let mut named = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let Some((who, said)) = who(subject, namespace) else { continue };
            if named.contains(&who) {
                continue;
            }
            let grant = Grant {
                binding: Arc::clone(&binding),
                role: Arc::clone(&role),
                is_cluster_role,
                why: format!("{allowed} to {said}").into(),
            };
            let (of, key) = self.of(&who);
            of.entry(key.to_owned()).or_default().push(grant);
            named.push(who);
        }
        self.bindings.insert(name, named);
    }

    fn unbind(&mut self, name: &str) {
        for who in self.bindings.remove(name).unwrap_or_default() {
            let (of, key) = self.of(&who);
            if let Some(grants) = of.get_mut(key) {
                grants.retain(|grant| &*grant.binding != name);
                if grants.is_empty() {
                    of.remove(key);
                }
            }
        }
    }

    fn of<'w>(&mut self, who: &'w Who) -> (&mut HashMap<String, Vec<Grant>>, &'w str) {
        match who {
            Who::User(name) => (&mut self.users, name),
            Who::Group(name) => (&mut self.groups, name),
        }
    }

    fn clear(&mut self, kind: Kind) {
        if matches!(kind, Kind::ClusterRoles | Kind::Roles) {
            self.roles.clear();
        } else {
            self.bindings.clear();
            self.users.clear();
            self.groups.clear();
        }
    }

    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.bindings.is_empty()
    }
}

/// Whom a subject means, in the namespace of the binding, and how Kubernetes calls them.
fn who(subject: &Subject, namespace: &str) -> Option<(Who, String)> {
    let Subject { kind, name, .. } = subject;
    match &**kind {
        "User" => Some((Who::User(name.clone()), format!("{kind} {name:?}"))),
        "Group" => Some((Who::Group(name.clone()), format!("{kind} {name:?}"))),
        "ServiceAccount" => {
            let named = subject.namespace.as_deref().filter(|named| !named.is_empty());
            let of = named.or(Some(namespace).filter(|own| !own.is_empty()))?;
            let who = Who::User(format!("system:serviceaccount:{of}:{name}"));
            Some((who, format!("{kind} \"{name}/{of}\"")))
        }
        _ => None,
    }
}

impl From<ClusterRole> for Object {
    fn from(role: ClusterRole) -> Self {
        let name = role.name_any();
        let content = Content::Role(role.rules.unwrap_or_default());
        Self { namespace: String::new(), name, content }
    }
}

impl From<Role> for Object {
    fn from(role: Role) -> Self {
        let (namespace, name) = (role.namespace().unwrap_or_default(), role.name_any());
        let content = Content::Role(role.rules.unwrap_or_default());
        Self { namespace, name, content }
    }
}

impl From<ClusterRoleBinding> for Object {
    fn from(binding: ClusterRoleBinding) -> Self {
        let name = binding.name_any();
        let content = Content::Binding(binding.role_ref, binding.subjects.unwrap_or_default());
        Self { namespace: String::new(), name, content }
    }
}

impl From<RoleBinding> for Object {
    fn from(binding: RoleBinding) -> Self {
        let (namespace, name) = (binding.namespace().unwrap_or_default(), binding.name_any());
        let content = Content::Binding(binding.role_ref, binding.subjects.unwrap_or_default());
        Self { namespace, name, content }
    }
}
