//! Create, update, delete.

use bytes::Bytes;
use prost::Message as _;

use super::{
    Asked, MappedCaller,
    errors::{self, invalid, malformed, status},
    fill::Values,
    read::{bad_request, not_found},
};
use crate::{
    caller::{CallError, Caller, Class, Code},
    env::Env,
    mapping::{
        facts::{Home, Verb},
        identity::{Identity, Subject},
        names::Ids,
        object,
        plan::{Answer, MethodPlan, Plan, What},
    },
    object::Object,
    wire,
};

const IMMUTABLE: &str = "field is immutable";

impl<C: Caller, E: Env> MappedCaller<C, E> {
    /// Makes an object. The answer is the object as the service stored it.
    pub(super) async fn create(&self, index: usize, message: &Bytes) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let method = method(plan, Verb::Create)?;
        let asked = Asked::decode(message.clone()).map_err(bad_request)?;
        let object = Object::parse(&asked.object).map_err(|e| status(Code::Internal, e.to_string()))?;
        let chooses = !names_are_given(plan, method);
        if chooses && object.meta.generate_name.is_empty() {
            let why = "the backend chooses names itself: leave it out and write metadata.generateName";
            return Err(invalid(vec![("metadata.name".to_owned(), why, "FORBIDDEN")]));
        }
        let ids = self.ids_of_new(plan, &object)?;
        let in_body = !chooses && !method.fills(&What::Id);
        let new = object::from_contract(plan, &object, in_body.then_some(&ids)).map_err(malformed(plan))?;
        check_required(plan, None, &new)?;
        if asked.validate_only && !method.fills(&What::DryRun) {
            return self.unwritten(index, &ids, &object).await;
        }
        let values = Values {
            object: &new,
            dry_run: asked.validate_only,
            request_id: &object.meta.uid,
            ..Values::of(subject(plan, &ids))
        };
        let answer = self.call(plan, method, &values, Class::Write).await?;
        let ids = if chooses { None } else { Some(&ids) };
        self.written(index, method, answer, ids).await
    }

    /// A create that is only checked, of a service that cannot do that.
    async fn unwritten(&self, index: usize, ids: &Ids, object: &Object) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        match self.read(index, ids).await {
            Ok(_) => Err(status(Code::AlreadyExists, "")),
            Err(CallError::Status(found)) if found.code == Code::NotFound => {
                let whole = object::from_contract(plan, object, Some(ids)).map_err(malformed(plan))?;
                self.shown(plan, &whole).await
            }
            Err(error) => Err(error),
        }
    }

    /// The ids of an object that a client names.
    fn ids_of_new(&self, plan: &Plan, object: &Object) -> Result<Ids, CallError> {
        let (namespace, name) = (&object.meta.namespace, &object.meta.name);
        plan.identity.ids(namespace, name).ok_or_else(|| {
            let parent = plan.identity.resource_names().map(|patterns| patterns.parent(namespace).is_some());
            if plan.identity.namespaced() && parent == Some(false) {
                let why = "no parent of the backend has this namespace: see docs/aip.md for the names of namespaces";
                return invalid(vec![("metadata.namespace".to_owned(), why, "INVALID")]);
            }
            let why = "no object of the backend can have this name: see docs/aip.md for escaped names";
            invalid(vec![("metadata.name".to_owned(), why, "INVALID")])
        })
    }

    /// Replaces what clients give. What did not change is not named in the mask.
    pub(super) async fn update(&self, index: usize, message: &Bytes) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let method = method(plan, Verb::Update)?;
        let asked = Asked::decode(message.clone()).map_err(bad_request)?;
        let object = Object::parse(&asked.object).map_err(|e| status(Code::Internal, e.to_string()))?;
        let ids = plan.identity.ids(&asked.namespace, &asked.name).ok_or_else(|| not_found(plan))?;
        let stored = self.stored_at(index, &ids, &object.meta.resource_version).await?;
        let mut new = object::from_contract(plan, &object, Some(&ids)).map_err(malformed(plan))?;
        let fault = malformed(plan);
        check_immutable(plan, &stored, &new)?;
        check_required(plan, Some(&stored), &new)?;
        let hidden = |number: u32| plan.input_only.contains(&number) && plan.immutable.contains(&number);
        let given = |number: u32| plan.is_given(number) && !hidden(number);
        let mask = plan.shapes.changes(&stored, &new, true, given).map_err(&fault)?;
        if mask.is_empty() {
            return self.shown(plan, &stored).await;
        }
        let merged = object::merged(plan, &stored, &new).map_err(&fault)?;
        if asked.validate_only && !method.fills(&What::DryRun) {
            return self.shown(plan, &merged).await;
        }
        let etag = etag(plan, &stored)?;
        if let (Some(number), false) = (plan.field(Home::ResourceVersion), etag.is_empty()) {
            wire::put_bytes(&mut new, number, etag.as_bytes());
        }
        // Without a mask the service replaces all of it: what is its own and what is unknown here stays.
        let body = if method.fills(&What::UpdateMask) { &new } else { &merged };
        let values = Values {
            object: body,
            mask: &mask,
            etag: &etag,
            dry_run: asked.validate_only,
            ..Values::of(subject(plan, &ids))
        };
        let answer = match self.call(plan, method, &values, Class::Write).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.conflict(index, &ids, &etag, error).await),
        };
        self.written(index, method, answer, Some(&ids)).await
    }

    /// Removes an object.
    pub(super) async fn delete(&self, index: usize, message: &Bytes) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let method = method(plan, Verb::Delete)?;
        let asked = Asked::decode(message.clone()).map_err(bad_request)?;
        let ids = plan.identity.ids(&asked.namespace, &asked.name).ok_or_else(|| not_found(plan))?;
        let preconditions = asked.options.and_then(|options| options.preconditions).unwrap_or_default();
        let version = preconditions.resource_version.unwrap_or_default();
        let only_checked = asked.validate_only && !method.fills(&What::DryRun);
        let etag = if version.is_empty() && !only_checked {
            String::new()
        } else {
            etag(plan, &self.stored_at(index, &ids, &version).await?)?
        };
        if only_checked {
            return Ok(Bytes::new());
        }
        let values = Values { etag: &etag, dry_run: asked.validate_only, ..Values::of(subject(plan, &ids)) };
        let answer = match self.call(plan, method, &values, Class::Write).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.conflict(index, &ids, &etag, error).await),
        };
        if method.answer == Answer::Operation {
            let told = |error| errors::translated(plan, method, error);
            self.finished(plan, answer).await.map_err(told)?;
        }
        Ok(Bytes::new())
    }

    /// The service's message, which must have this version; empty: any.
    async fn stored_at(&self, index: usize, ids: &Ids, version: &str) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let stored = self.stored(index, ids).await?;
        let present = object::version(plan, &stored).map_err(malformed(plan))?;
        if version.is_empty() || object::is_of(version, &present) {
            return Ok(stored);
        }
        // What was read is older than what the caller has: it may have come another way.
        let stored = self.read(index, ids).await?;
        if object::is_of(version, &object::version(plan, &stored).map_err(malformed(plan))?) {
            return Ok(stored);
        }
        Err(status(Code::Aborted, ""))
    }

    /// A refused write whose etag is not the object's any more is a conflict, whatever the service calls it (AIP-154
    /// has changed its mind).
    async fn conflict(&self, index: usize, ids: &Ids, sent: &str, error: CallError) -> CallError {
        let refused = matches!(&error, CallError::Status(found) if found.code == Code::FailedPrecondition);
        if !refused || sent.is_empty() {
            return error;
        }
        let plan = self.plan(index);
        match self.read(index, ids).await {
            Ok(now) if etag(plan, &now).is_ok_and(|now| now != sent) => status(Code::Aborted, ""),
            _ => error,
        }
    }

    /// The object after a write. `ids`: what was written, where that is known.
    async fn written(
        &self,
        index: usize,
        method: &MethodPlan,
        answer: Bytes,
        ids: Option<&Ids>,
    ) -> Result<Bytes, CallError> {
        let plan = self.plan(index);
        let object = match &method.answer {
            Answer::Object | Answer::Within(_) => Some(self.object_in(plan, method, answer)?),
            Answer::Operation => {
                let told = |error| errors::translated(plan, method, error);
                self.finished(plan, answer).await.map_err(told)?
            }
            Answer::Nothing | Answer::List { .. } => None,
        };
        let object = match (object, ids) {
            (Some(object), _) => object,
            (None, Some(ids)) => self.read(index, ids).await?,
            (None, None) => {
                let why = format!("{} does not answer with the object, whose name it chose", method.path);
                return Err(status(Code::Internal, why));
            }
        };
        if let Some(ids) = ids {
            self.remember(index, ids, &object);
        }
        self.shown(plan, &object).await
    }
}

fn subject<'a>(plan: &'a Plan, ids: &'a Ids) -> Subject<'a> {
    Subject { identity: &plan.identity, ids: Some(ids), parent: "", namespace: "" }
}

fn method(plan: &Plan, verb: Verb) -> Result<&MethodPlan, CallError> {
    plan.methods.get(&verb).ok_or_else(|| status(Code::Unimplemented, verb.as_str()))
}

/// Whether a client says what a new object is called.
fn names_are_given(plan: &Plan, method: &MethodPlan) -> bool {
    matches!(plan.identity, Identity::Fields { .. })
        || method
            .fills
            .iter()
            .any(|fill| matches!(fill.what, What::Id | What::ResourceName | What::Variable(_)))
}

fn etag(plan: &Plan, message: &[u8]) -> Result<String, CallError> {
    let Some(number) = plan.field(Home::ResourceVersion) else { return Ok(String::new()) };
    let etag = wire::message_field(message, number).map_err(malformed(plan))?;
    Ok(String::from_utf8_lossy(&etag).into_owned())
}

/// 422 with each REQUIRED field that is not given. `stored`: what an update replaces; what was missing there already is
/// for the service to say.
fn check_required(plan: &Plan, stored: Option<&[u8]>, new: &[u8]) -> Result<(), CallError> {
    let known = stored.map(|stored| missing(plan, stored)).transpose()?.unwrap_or_default();
    let given = |path: &String| {
        let first = path.split(['.', '[']).next().unwrap_or_default();
        let number = plan.message.get_field_by_name(first).map(|field| field.number());
        // What is taken and never shown a client cannot send back.
        let asked_for = |number| stored.is_none() || !plan.input_only.contains(&number);
        number.is_some_and(|number| plan.is_given(number) && asked_for(number)) && !known.contains(path)
    };
    let violations: Vec<_> = missing(plan, new)?
        .into_iter()
        .filter(given)
        .map(|path| (errors::of_object(plan, &path).unwrap_or(path), "", "REQUIRED"))
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(invalid(violations)) }
}

/// The paths of REQUIRED fields that a message lacks, sorted.
fn missing(plan: &Plan, message: &[u8]) -> Result<Vec<String>, CallError> {
    let mut missing = plan.shapes.missing(message).map_err(malformed(plan))?;
    for (number, name) in &plan.required {
        if is_told(plan, *number) && !wire::has_field(message, *number).map_err(malformed(plan))? {
            missing.push(name.clone());
        }
    }
    missing.sort();
    missing.dedup();
    Ok(missing)
}

/// Whether the field's absence can be told from a zero.
fn is_told(plan: &Plan, number: u32) -> bool {
    use prost_reflect::Kind;
    plan.message.get_field(number).is_some_and(|field| {
        field.supports_presence()
            || field.is_list()
            || field.is_map()
            || matches!(field.kind(), Kind::String | Kind::Bytes | Kind::Enum(_))
    })
}

/// 422 with each IMMUTABLE field that an update changes.
fn check_immutable(plan: &Plan, stored: &[u8], new: &[u8]) -> Result<(), CallError> {
    let mut violations = Vec::new();
    for number in &plan.immutable {
        if !plan.is_given(*number) || plan.input_only.contains(number) {
            continue;
        }
        let fault = malformed(plan);
        let old = plan.shapes.canonical_field(stored, *number).map_err(&fault)?;
        if old != plan.shapes.canonical_field(new, *number).map_err(&fault)?
            && let Some(field) = plan.message.get_field(*number)
        {
            let path = errors::of_object(plan, field.name()).unwrap_or_default();
            violations.push((path, IMMUTABLE, "INVALID"));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(invalid(violations)) }
}
