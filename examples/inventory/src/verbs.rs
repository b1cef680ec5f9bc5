//! The verbs, the same for every kind: the services only unpack requests and pack answers.

use std::{sync::Arc, time::Duration};

use prost_types::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, metadata::MetadataMap};

use crate::{
    contract::{ListMeta, ListOptions, ObjectMeta, Preconditions},
    fault::{Fault, Violation},
    kind::{Kind, Part},
    selector::Selector,
    store::{Key, Row, Store},
    who,
};

/// Objects in one chunk of a list.
const CHUNK: usize = 500;
/// How long a read of a version that is not there yet waits for it (as etcd's readers do).
const PATIENCE: Duration = Duration::from_secs(3);

/// A stream of answers.
pub(crate) type Answers<M> = ReceiverStream<Result<M, Status>>;

/// What the services work with.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) store: Arc<Store>,
    /// True when the server stops: streams end.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) bookmark_every: Duration,
}

/// A chunk of a list.
#[derive(Debug)]
pub(crate) struct Chunk<T> {
    pub(crate) metadata: Option<ListMeta>,
    pub(crate) items: Vec<T>,
}

impl Backend {
    pub(crate) async fn get<T: Kind>(
        &self,
        namespace: String,
        name: String,
        version: &str,
    ) -> Result<T, Fault> {
        self.wait_for(version_of("resourceVersion", version)?).await?;
        let key = Key { resource: T::PLURAL, namespace, name };
        self.store.read(move |view| view.get(&key)?.ok_or_else(|| not_found(&key))).await
    }

    /// Answers when the first chunk is there, so that a fault is the call's own.
    pub(crate) async fn list<T: Kind, M: From<Chunk<T>> + Send + 'static>(
        &self,
        namespace: String,
        options: ListOptions,
    ) -> Result<Answers<M>, Fault> {
        let (at, mut after) = self.start(&options).await?;
        let selector = Selector::new(&options.label_selector, &options.field_selector);
        let mut left = usize::try_from(options.limit).unwrap_or(0);
        let limited = left > 0;
        let (answers, stream) = mpsc::channel(2);
        let mut metadata = Some(ListMeta { resource_version: at.to_string(), ..Default::default() });
        let mut rows = self.page::<T>(&namespace, at, &after).await?;
        let backend = self.clone();
        tokio::spawn(async move {
            loop {
                let end = rows.is_empty();
                let mut items = Vec::with_capacity(rows.len());
                let mut full = false;
                for row in rows {
                    let item = match T::decode(row.object.as_slice()) {
                        Ok(item) => item,
                        Err(error) => return drop(answers.send(Err(Fault::from(error).into())).await),
                    };
                    if !selector.matches(&item) {
                        after = (row.namespace, row.name);
                        continue;
                    }
                    if limited && left == 0 {
                        full = true;
                        break;
                    }
                    left = left.saturating_sub(1);
                    after = (row.namespace, row.name);
                    items.push(item);
                }
                if full && let Some(metadata) = &mut metadata {
                    metadata.r#continue = format!("{at}/{}/{}", after.0, after.1);
                }
                let last = end || full;
                let metadata = if limited && !last { None } else { metadata.take() };
                if metadata.is_some() || !items.is_empty() {
                    let chunk = Ok(M::from(Chunk { metadata, items }));
                    if answers.send(chunk).await.is_err() {
                        return;
                    }
                }
                if last {
                    return;
                }
                rows = match backend.page::<T>(&namespace, at, &after).await {
                    Ok(rows) => rows,
                    Err(fault) => return drop(answers.send(Err(fault.into())).await),
                };
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    pub(crate) async fn create<T: Kind>(
        &self,
        caller: &MetadataMap,
        object: Option<T>,
        dry_run: bool,
    ) -> Result<T, Fault> {
        let (mut object, fields, key) = checked(object)?;
        if !fields.resource_version.is_empty() {
            return Err(Fault::BadRequest(
                "resourceVersion should not be set on objects to be created".to_owned(),
            ));
        }
        object.prepare_create(fields.generation, now());
        let taken = |key: &Key| Fault::AlreadyExists { resource: key.resource, name: key.name.clone() };
        let logged = key.clone();
        let result = if dry_run {
            self.store
                .read(move |view| match view.get::<T>(&key)? {
                    Some(_) => Err(taken(&key)),
                    None => Ok(object),
                })
                .await
        } else {
            self.store
                .write(move |tx| {
                    if tx.get::<T>(&key)?.is_some() {
                        return Err(taken(&key));
                    }
                    tx.put(&key, &mut object, None)?;
                    Ok(object)
                })
                .await
        };
        log(caller, "create", &logged, dry_run, &result);
        result
    }

    pub(crate) async fn update<T: Kind>(
        &self,
        caller: &MetadataMap,
        object: Option<T>,
        part: Part,
        dry_run: bool,
    ) -> Result<T, Fault> {
        let (mut object, fields, key) = checked(object)?;
        let verb = if part == Part::Status { "update status" } else { "update" };
        self.change(caller, verb, key, dry_run, move |stored: &T, key| {
            let conditions = Preconditions {
                uid: Some(fields.uid.clone()).filter(|uid| !uid.is_empty()),
                resource_version: Some(fields.resource_version.clone()).filter(|version| !version.is_empty()),
            };
            check(stored, key, &conditions)?;
            object.prepare_update(stored, part, fields.generation, now());
            Ok((object, ()))
        })
        .await
        .map(|(object, ())| object)
    }

    /// Replaces a stored object by what `make` makes of it. What changes nothing writes nothing.
    pub(crate) async fn change<T: Kind, R: Send + 'static>(
        &self,
        caller: &MetadataMap,
        verb: &'static str,
        key: Key,
        dry_run: bool,
        make: impl FnOnce(&T, &Key) -> Result<(T, R), Fault> + Send + 'static,
    ) -> Result<(T, R), Fault> {
        let logged = key.clone();
        let result = if dry_run {
            self.store
                .read(move |view| {
                    let stored: T = view.get(&key)?.ok_or_else(|| not_found(&key))?;
                    let (mut object, extra) = make(&stored, &key)?;
                    object.meta_mut().set_resource_version(&fields_of(&stored)?.resource_version);
                    Ok((object, extra))
                })
                .await
        } else {
            self.store
                .write(move |tx| {
                    let stored: T = tx.get(&key)?.ok_or_else(|| not_found(&key))?;
                    let (mut object, extra) = make(&stored, &key)?;
                    if unchanged(&object, &stored) {
                        return Ok((stored, extra));
                    }
                    tx.put(&key, &mut object, Some(&stored))?;
                    Ok((object, extra))
                })
                .await
        };
        log(caller, verb, &logged, dry_run, &result);
        result
    }

    pub(crate) async fn delete<T: Kind>(
        &self,
        caller: &MetadataMap,
        namespace: String,
        name: String,
        conditions: Preconditions,
        dry_run: bool,
    ) -> Result<T, Fault> {
        let key = Key { resource: T::PLURAL, namespace, name };
        let logged = key.clone();
        let result = if dry_run {
            self.store
                .read(move |view| {
                    let stored: T = view.get(&key)?.ok_or_else(|| not_found(&key))?;
                    check(&stored, &key, &conditions).map(|()| stored)
                })
                .await
        } else {
            self.store
                .write(move |tx| {
                    let stored: T = tx.get(&key)?.ok_or_else(|| not_found(&key))?;
                    check(&stored, &key, &conditions)?;
                    tx.delete(&key, &stored)
                })
                .await
        };
        log(caller, "delete", &logged, dry_run, &result);
        result
    }

    /// The next objects of a list at version `at`.
    pub(crate) async fn page<T: Kind>(
        &self,
        namespace: &str,
        at: i64,
        after: &(String, String),
    ) -> Result<Vec<Row>, Fault> {
        let (namespace, after) = (namespace.to_owned(), after.clone());
        self.store.read(move |view| view.page(T::PLURAL, &namespace, at, (&after.0, &after.1), CHUNK)).await
    }

    /// Which version a list is of, and behind which object it starts.
    async fn start(&self, options: &ListOptions) -> Result<(i64, (String, String)), Fault> {
        let head = self.store.read(|view| view.head()).await?;
        if !options.r#continue.is_empty() {
            let bad = || Fault::BadRequest("continue: not a token that this server gave out".to_owned());
            let mut parts = options.r#continue.splitn(3, '/');
            let mut next = || parts.next().ok_or_else(bad);
            let (at, namespace, name) =
                (next()?.parse().map_err(|_| bad())?, next()?.to_owned(), next()?.to_owned());
            // A later one is of another database.
            return if at > head {
                Err(Fault::TooOld { asked: at, oldest: head })
            } else {
                Ok((at, (namespace, name)))
            };
        }
        let asked = version_of("resourceVersion", &options.resource_version)?;
        self.wait_for(asked).await?;
        let at = if options.resource_version_match == "Exact" {
            asked
        } else {
            asked.max(self.store.read(|view| view.head()).await?)
        };
        Ok((at, Default::default()))
    }

    async fn wait_for(&self, asked: i64) -> Result<(), Fault> {
        let mut head = self.store.head();
        let reached = timeout(PATIENCE, head.wait_for(|head| *head >= asked)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Fault::TooNew { asked, head: *self.store.head().borrow() }),
        }
    }
}

/// A version; none is 0.
pub(crate) fn version_of(field: &str, text: &str) -> Result<i64, Fault> {
    if text.is_empty() {
        return Ok(0);
    }
    match text.parse::<u64>() {
        Ok(version) => Ok(i64::try_from(version).unwrap_or(i64::MAX)),
        Err(_) => Err(Fault::BadRequest(format!("{field}: {text:?} is not a decimal number"))),
    }
}

/// Whether a request's `dry_run` says so.
pub(crate) fn is_dry_run(values: &[String]) -> Result<bool, Fault> {
    match values.iter().find(|value| *value != "All") {
        Some(other) => {
            Err(Fault::BadRequest(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"")))
        }
        None => Ok(!values.is_empty()),
    }
}

pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// The contract's view of an object's metadata.
pub(crate) fn fields_of<T: Kind>(object: &T) -> Result<ObjectMeta, Fault> {
    Ok(object.meta().map(|meta| meta.decode_fields()).transpose()?.unwrap_or_default())
}

fn checked<T: Kind>(object: Option<T>) -> Result<(T, ObjectMeta, Key), Fault> {
    let object =
        object.ok_or_else(|| Fault::BadRequest(format!("the request has no object of {}", T::PLURAL)))?;
    let bad = |_| Fault::BadRequest("metadata is not a kubridge.v1.ObjectMeta".to_owned());
    let fields = object.meta().map(|meta| meta.decode_fields().map_err(bad)).transpose()?.unwrap_or_default();
    let mut violations = object.violations();
    if fields.name.is_empty() {
        violations.push(Violation::new("metadata.name", "Required value"));
    }
    if T::NAMESPACED && fields.namespace.is_empty() {
        violations.push(Violation::new("metadata.namespace", "Required value"));
    }
    if !T::NAMESPACED && !fields.namespace.is_empty() {
        violations
            .push(Violation::new("metadata.namespace", "must be empty: the resource is cluster-scoped"));
    }
    if !violations.is_empty() {
        return Err(Fault::Invalid(violations));
    }
    let key = Key { resource: T::PLURAL, namespace: fields.namespace.clone(), name: fields.name.clone() };
    Ok((object, fields, key))
}

fn check<T: Kind>(stored: &T, key: &Key, wanted: &Preconditions) -> Result<(), Fault> {
    let fields = fields_of(stored)?;
    let (resource, name) = (key.resource, key.name.clone());
    // The object that the inventory made itself has no uid; Kubridge derives one and checks it.
    if let Some(uid) = &wanted.uid
        && !fields.uid.is_empty()
        && *uid != fields.uid
    {
        return Err(Fault::Uid { resource, name, expected: uid.clone(), actual: fields.uid });
    }
    match &wanted.resource_version {
        Some(version) if *version != fields.resource_version => Err(Fault::Conflict {
            resource,
            name,
            expected: version.clone(),
            actual: fields.resource_version,
        }),
        _ => Ok(()),
    }
}

fn unchanged<T: Kind>(object: &T, stored: &T) -> bool {
    let (Some(meta), Some(old)) = (object.meta(), stored.meta()) else { return false };
    if !meta.same_but_version(old) {
        return false;
    }
    let mut object = object.clone();
    *object.meta_mut() = old.clone();
    object == *stored
}

fn not_found(key: &Key) -> Fault {
    Fault::NotFound { resource: key.resource, name: key.name.clone() }
}

/// One line for each write. Texts of the caller's are quoted: they cannot forge a line.
fn log<R>(caller: &MetadataMap, verb: &str, key: &Key, dry_run: bool, result: &Result<R, Fault>) {
    let user = who::user(caller);
    let Key { resource, namespace, name } = key;
    match result {
        Ok(_) => tracing::info!(?user, verb, resource, ?namespace, ?name, dry_run, "done"),
        Err(fault) => tracing::info!(?user, verb, resource, ?namespace, ?name, dry_run, %fault, "refused"),
    }
}
