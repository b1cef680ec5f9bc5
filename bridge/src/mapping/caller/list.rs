//! List: pages of the service -> chunks of one list, over one parent or over all of them.

use std::collections::VecDeque;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::{FutureExt as _, Stream, future::BoxFuture, stream};
use prost::Message as _;

use super::{
    MappedCaller,
    conditions::Known,
    errors::{malformed, status, unfit},
    fill::Values,
    read::bad_request,
};
use crate::{
    caller::{CallError, Caller, Class, Code},
    env::Env,
    mapping::{
        facts::Verb,
        identity::Subject,
        names::{Ids, Pattern},
        object,
        plan::{Answer, MethodPlan, Plan, What},
    },
    object::{ITEMS, METADATA},
    proto::{ListMeta, ListOptions, ListRequest},
    selector::FieldSelector,
    wire,
};

/// How many objects are asked for at a time; the service may give fewer.
const PAGE: i64 = 1000;
/// How many parents are gone through for a list of all namespaces.
const MAX_PARENTS: usize = 1000;

/// Where a list goes on: the `continue` of a page. Opaque to clients.
#[derive(Clone, PartialEq, prost::Message)]
struct Position {
    #[prost(uint32, tag = "1")]
    pattern: u32,
    /// The parent that is being listed; empty: that which stands for all.
    #[prost(string, tag = "2")]
    parent: String,
    /// The service's own token.
    #[prost(string, tag = "3")]
    token: String,
    /// Parents are gone through one by one.
    #[prost(bool, tag = "4")]
    each: bool,
}

/// What is left to list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// The children of one parent. `each`: the parents after it follow.
    Parent { pattern: usize, parent: String, token: String, each: bool },
    /// The children of all parents at once.
    Any { pattern: usize, token: String },
    /// The children of all parents, one after the other, from one parent on.
    Each { pattern: usize, from: String, token: String },
}

/// Pages of the service's messages.
pub(super) struct Pages<C, E> {
    caller: MappedCaller<C, E>,
    index: usize,
    targets: VecDeque<Target>,
    /// Where names have no patterns: the namespace, unescaped.
    namespace: String,
    /// A client goes on with a list that it began.
    continues: bool,
}

impl<C: Caller, E: Env> MappedCaller<C, E> {
    /// A list in the contract form: chunks, the last of which has the metadata.
    pub(super) async fn list(
        &self,
        index: usize,
        message: &Bytes,
    ) -> Result<impl Stream<Item = Result<Bytes, CallError>> + Send + use<C, E>, CallError> {
        let asked = ListRequest::decode(message.clone()).map_err(bad_request)?;
        let options = asked.options.unwrap_or_default();
        let pages = match self.narrowed(index, &asked.namespace, &options) {
            Some(ids) => Chunks::One(match self.read(index, &ids).await {
                Ok(found) => vec![found],
                Err(CallError::Status(error)) if error.code == Code::NotFound => Vec::new(),
                Err(error) => return Err(error),
            }),
            None => Chunks::Pages(Box::new(self.pages(index, &asked.namespace, &options.r#continue)?)),
        };
        let listing = Listing {
            caller: self.clone(),
            index,
            chunks: pages,
            left: options.limit.max(0),
            limited: options.limit > 0,
            known: None,
        };
        Ok(stream::unfold(Some(listing), |listing| async move {
            let mut listing = listing?;
            match listing.next().await {
                Ok((chunk, true)) => Some((Ok(chunk), Some(listing))),
                Ok((chunk, false)) => Some((Ok(chunk), None)),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// The one object that a field selector names, where a Get will do.
    fn narrowed(&self, index: usize, namespace: &str, options: &ListOptions) -> Option<Ids> {
        let plan = self.plan(index);
        if !plan.methods.contains_key(&Verb::Get) || !options.r#continue.is_empty() {
            return None;
        }
        let selector = FieldSelector::parse(&options.field_selector).ok()?;
        let name = selector.requires_exact_match("metadata.name")?;
        if plan.identity.namespaced() && namespace.is_empty() {
            return None;
        }
        plan.identity.ids(namespace, name)
    }

    /// Everything in a namespace, or in all; from the `continue` of an earlier page on.
    fn pages(&self, index: usize, namespace: &str, from: &str) -> Result<Pages<C, E>, CallError> {
        let plan = self.plan(index);
        let mut targets = targets(plan, namespace);
        if !from.is_empty() {
            resume(&mut targets, from).ok_or_else(|| {
                status(Code::InvalidArgument, "continue key is not valid: it is of another list")
            })?;
        }
        let unescaped = match plan.identity.resource_names() {
            Some(_) => String::new(),
            // Any name will do: only the namespace is looked at.
            None => plan
                .identity
                .ids(namespace, "0")
                .filter(|ids| ids.values.len() > 1)
                .map(|ids| ids.values[0].clone())
                .unwrap_or_default(),
        };
        Ok(Pages { caller: self.clone(), index, targets, namespace: unescaped, continues: !from.is_empty() })
    }

    /// All that stands beside an object.
    pub(super) fn pages_of_parent(&self, index: usize, ids: &Ids) -> Pages<C, E> {
        let plan = self.plan(index);
        let subject = Subject { identity: &plan.identity, ids: Some(ids), parent: "", namespace: "" };
        let target = Target::Parent {
            pattern: ids.pattern,
            parent: subject.parent().into_owned(),
            token: String::new(),
            each: false,
        };
        let namespace = subject.namespace().to_owned();
        Pages { caller: self.clone(), index, targets: [target].into(), namespace, continues: false }
    }

    /// The names of all parents that a pattern of this plan has, in order.
    fn parents(&self, index: usize, pattern: usize) -> BoxFuture<'_, Result<Vec<String>, CallError>> {
        async move {
            let plan = self.plan(index);
            let Some(parent) = plan.parents.get(pattern).copied().flatten() else {
                let why =
                    format!("the backend lists {} of one parent at a time: name a namespace", plan.kind);
                return Err(status(Code::InvalidArgument, why));
            };
            let parent_plan = self.plan(parent);
            let mut pages = self.pages(parent, "", "")?;
            let mut names = Vec::new();
            while let Some(page) = pages.next_page(0).await? {
                for item in page {
                    match parent_plan.identity.of(&item).map_err(malformed(parent_plan))? {
                        Ok((ids, _)) => names.push(parent_plan.identity.full(&ids)),
                        Err(name) => return Err(unfit(parent_plan)(object::Unfit::Name(name))),
                    }
                }
                if names.len() > MAX_PARENTS {
                    let why = format!(
                        "there are more than {MAX_PARENTS} {} to list the {} of: name a namespace",
                        parent_plan.kind, plan.kind
                    );
                    return Err(status(Code::InvalidArgument, why));
                }
            }
            names.sort();
            names.dedup();
            Ok(names)
        }
        .boxed()
    }
}

/// What a list in a namespace, or in all, goes through.
fn targets(plan: &Plan, namespace: &str) -> VecDeque<Target> {
    let one = |pattern, parent| Target::Parent { pattern, parent, token: String::new(), each: false };
    let by_parent = plan.methods.get(&Verb::List).is_none_or(|method| method.fills(&What::Parent));
    let Some(patterns) = plan.identity.resource_names().filter(|_| by_parent) else {
        return [one(0, String::new())].into();
    };
    if !namespace.is_empty() {
        // A namespace that no parent has is empty.
        return patterns
            .parent(namespace)
            .map(|(pattern, parent)| one(pattern, parent))
            .into_iter()
            .collect();
    }
    let all = |(pattern, found): (usize, &Pattern)| match found.parents() {
        0 => one(pattern, patterns.any_parent(pattern)),
        _ => Target::Any { pattern, token: String::new() },
    };
    patterns.all().iter().enumerate().map(all).collect()
}

/// Drops what was listed before. `None`: the token is of another list.
fn resume(targets: &mut VecDeque<Target>, from: &str) -> Option<()> {
    let position = Position::decode(URL_SAFE_NO_PAD.decode(from).ok()?.as_slice()).ok()?;
    let at = usize::try_from(position.pattern).ok()?;
    let of = |target: &Target| match target {
        Target::Parent { pattern, .. } | Target::Any { pattern, .. } | Target::Each { pattern, .. } => {
            *pattern
        }
    };
    let first = targets.iter().position(|target| of(target) == at)?;
    targets.drain(..first);
    let target = targets.front_mut()?;
    let token = position.token;
    match target {
        Target::Parent { parent, token: place, .. } if *parent == position.parent => *place = token,
        Target::Any { pattern, .. } if position.each => {
            *target = Target::Each { pattern: *pattern, from: position.parent, token };
        }
        Target::Any { token: place, .. } if position.parent.is_empty() => *place = token,
        _ => return None,
    }
    Some(())
}

impl<C: Caller, E: Env> Pages<C, E> {
    /// The next objects, at most `limit` of them as far as the service keeps to it (0: as many as it likes); `None`:
    /// that was all. Deleted ones are not among them.
    pub(super) async fn next_page(&mut self, limit: i64) -> Result<Option<Vec<Bytes>>, CallError> {
        while let Some(target) = self.targets.front().cloned() {
            let found = match &target {
                Target::Parent { pattern, parent, token, .. } => {
                    self.of_parent(*pattern, parent, token, limit).await?
                }
                Target::Any { pattern, token } => match self.of_any(*pattern, token, limit).await? {
                    Some(found) => found,
                    None => {
                        let each =
                            Target::Each { pattern: *pattern, from: String::new(), token: String::new() };
                        self.replace(each);
                        continue;
                    }
                },
                Target::Each { pattern, from, token } => {
                    self.spread(*pattern, from, token).await?;
                    continue;
                }
            };
            self.advance(&target, found.1)?;
            if !found.0.is_empty() {
                return Ok(Some(found.0));
            }
        }
        Ok(None)
    }

    fn replace(&mut self, target: Target) {
        if let Some(front) = self.targets.front_mut() {
            *front = target;
        }
    }

    /// One parent after the other, in the place of all at once.
    async fn spread(&mut self, pattern: usize, from: &str, token: &str) -> Result<(), CallError> {
        let parents = self.caller.parents(self.index, pattern).await?;
        self.targets.pop_front();
        for parent in parents.into_iter().rev().filter(|parent| parent.as_str() >= from) {
            // The parent that the token is of may be gone: its children are, too.
            let token = if parent == from { token.to_owned() } else { String::new() };
            self.targets.push_front(Target::Parent { pattern, parent, token, each: true });
        }
        Ok(())
    }

    /// Puts the target to where its next page is.
    fn advance(&mut self, target: &Target, next: String) -> Result<(), CallError> {
        if next.is_empty() {
            self.targets.pop_front();
            return Ok(());
        }
        let mut target = target.clone();
        let token = match &mut target {
            Target::Parent { token, .. } | Target::Any { token, .. } | Target::Each { token, .. } => token,
        };
        if *token == next {
            return Err(status(Code::Internal, "the backend gives the same page token again and again"));
        }
        *token = next;
        self.replace(target);
        Ok(())
    }

    /// A page of the children of one parent; one that is not there has none.
    async fn of_parent(
        &self,
        pattern: usize,
        parent: &str,
        token: &str,
        limit: i64,
    ) -> Result<(Vec<Bytes>, String), CallError> {
        let plan = self.caller.plan(self.index);
        let Some(method) = plan.methods.get(&Verb::List) else {
            return self.singleton(pattern, parent).await;
        };
        match self.ask(method, parent, token, limit).await {
            Err(CallError::Status(error)) if error.code == Code::NotFound => Ok((Vec::new(), String::new())),
            outcome => outcome,
        }
    }

    /// The singleton of a parent.
    async fn singleton(&self, pattern: usize, parent: &str) -> Result<(Vec<Bytes>, String), CallError> {
        let plan = self.caller.plan(self.index);
        let ids = plan.identity.resource_names().and_then(|patterns| patterns.singleton_of(pattern, parent));
        let Some(ids) = ids else { return Ok((Vec::new(), String::new())) };
        match self.caller.read(self.index, &ids).await {
            Ok(found) => Ok((vec![found], String::new())),
            Err(CallError::Status(error)) if error.code == Code::NotFound => Ok((Vec::new(), String::new())),
            Err(error) => Err(error),
        }
    }

    /// A page of the children of all parents; `None`: the service does not list them so.
    async fn of_any(
        &self,
        pattern: usize,
        token: &str,
        limit: i64,
    ) -> Result<Option<(Vec<Bytes>, String)>, CallError> {
        let plan = self.caller.plan(self.index);
        let known = plan.any_parent.get();
        let Some(method) = plan.methods.get(&Verb::List).filter(|_| known != Some(false)) else {
            return Ok(None);
        };
        let parent = plan.identity.resource_names().map(|patterns| patterns.any_parent(pattern));
        let parents_are_known = plan.parents.get(pattern).copied().flatten().is_some();
        match self.ask(method, &parent.unwrap_or_default(), token, limit).await {
            Ok((items, next)) => {
                if !items.is_empty() {
                    plan.any_parent.set(true);
                } else if known.is_none() && token.is_empty() && next.is_empty() && parents_are_known {
                    // Nothing at all, or nothing of a parent called `-`: that cannot be told apart.
                    return Ok(None);
                }
                Ok(Some((items, next)))
            }
            Err(CallError::Status(error)) if token.is_empty() && rejects(error.code) => {
                plan.any_parent.set(false);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for a page. Its token; empty: it was the last.
    async fn ask(
        &self,
        method: &MethodPlan,
        parent: &str,
        token: &str,
        limit: i64,
    ) -> Result<(Vec<Bytes>, String), CallError> {
        let plan = self.caller.plan(self.index);
        let subject = Subject { identity: &plan.identity, ids: None, parent, namespace: &self.namespace };
        let page_size = if limit > 0 { limit.min(PAGE) } else { PAGE };
        let values = Values { page_size, page_token: token, ..Values::of(subject) };
        let answer = match self.caller.call(plan, method, &values, Class::Read).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.expired(token, error)),
        };
        let Answer::List { items, next_page_token, unreachable } = method.answer else {
            return Err(status(Code::Internal, format!("{} is no list", method.path)));
        };
        let (mut found, mut next) = (Vec::new(), String::new());
        for field in wire::fields(&answer) {
            let field = field.map_err(malformed(plan))?;
            if field.number == items {
                let item = answer.slice_ref(field.value);
                if !object::is_deleted(plan, &item).map_err(malformed(plan))? {
                    found.push(item);
                }
            } else if Some(field.number) == next_page_token {
                next = String::from_utf8_lossy(field.value).into_owned();
            } else if Some(field.number) == unreachable {
                // A list never looks whole when it is not.
                let what = String::from_utf8_lossy(field.value);
                let why = format!("the backend could not reach {what}, and its list is not whole");
                return Err(status(Code::Unavailable, why));
            }
        }
        Ok((found, next))
    }

    /// A page token that the service does not take (AIP-158: INVALID_ARGUMENT) was good when it gave it.
    fn expired(&self, token: &str, error: CallError) -> CallError {
        let CallError::Status(found) = &error else { return error };
        let refused =
            matches!(found.code, Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange);
        if token.is_empty() || !refused {
            return error;
        }
        if self.continues {
            return status(Code::OutOfRange, "The provided continue parameter is too old: list again");
        }
        status(Code::Unavailable, format!("a page token expired between two pages: {}", found.message))
    }
}

/// How services say that they do not know the parent `-`.
fn rejects(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::NotFound | Code::Unimplemented | Code::FailedPrecondition)
}

/// What is left of a list for a client.
struct Listing<C, E> {
    caller: MappedCaller<C, E>,
    index: usize,
    chunks: Chunks<C, E>,
    left: i64,
    limited: bool,
    /// What operations say of its objects.
    known: Option<Known>,
}

enum Chunks<C, E> {
    /// These objects, and no more.
    One(Vec<Bytes>),
    Pages(Box<Pages<C, E>>),
}

impl<C: Caller, E: Env> Listing<C, E> {
    /// The next chunk, and whether more follow.
    async fn next(&mut self) -> Result<(Bytes, bool), CallError> {
        let page = match &mut self.chunks {
            Chunks::One(items) => Some(std::mem::take(items)).filter(|items| !items.is_empty()),
            Chunks::Pages(_) if self.limited && self.left <= 0 => None,
            Chunks::Pages(pages) => pages.next_page(self.left).await?,
        };
        let mut out = Vec::new();
        let Some(items) = page else {
            wire::put_bytes(&mut out, METADATA, &self.metadata().encode_to_vec());
            return Ok((out.into(), false));
        };
        self.left = self.left.saturating_sub(i64::try_from(items.len()).unwrap_or(i64::MAX));
        let plan = self.caller.plan(self.index);
        // Once for all of the list.
        let known = match &self.known {
            Some(known) => known,
            None => self.known.insert(self.caller.operations(plan).await),
        };
        for item in items {
            wire::put_bytes(&mut out, ITEMS, &self.caller.shown_with(plan, &item, known)?);
        }
        Ok((out.into(), true))
    }

    fn metadata(&self) -> ListMeta {
        let next = match &self.chunks {
            Chunks::One(_) => None,
            Chunks::Pages(pages) => pages.targets.front().map(|target| {
                let (pattern, parent, token, each) = match target {
                    Target::Parent { pattern, parent, token, each } => {
                        (*pattern, parent.as_str(), token, *each)
                    }
                    Target::Any { pattern, token } => (*pattern, "", token, false),
                    Target::Each { pattern, from, token } => (*pattern, from.as_str(), token, true),
                };
                Position {
                    pattern: u32::try_from(pattern).unwrap_or(u32::MAX),
                    parent: parent.to_owned(),
                    token: token.clone(),
                    each,
                }
            }),
        };
        let next = next.map(|position| URL_SAFE_NO_PAD.encode(position.encode_to_vec()));
        ListMeta { r#continue: next.unwrap_or_default(), ..ListMeta::default() }
    }
}
