//! `lifecycle: MANAGED`: what the aggregator fills in and enforces of metadata on writes, as Kubernetes does it
//! (k8s.io/apiserver, registry/rest: BeforeCreate, BeforeUpdate, BeforeDelete).

use super::exchange::Exchange;
use crate::{
    caller::Caller,
    env::Env,
    mapping,
    object::{self, Object},
    proto::ObjectMeta,
    status::{ApiError, StatusCause},
    validation,
};

/// What generated names end in: no vowels and no digits that read as such, so that no words come out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// The longest generated name: a DNS label.
const LONGEST: usize = 63;

/// 400 unless the body's namespace, where it has one, is the URL's; then it is the URL's.
pub(super) fn namespace<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    object: &mut Object,
) -> Result<(), ApiError> {
    let namespace = exchange.namespace();
    if exchange.resource.namespaced && !object.meta.namespace.is_empty() && object.meta.namespace != namespace
    {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object.meta.namespace = namespace.into();
    Ok(())
}

/// 400 unless the body's name, where it has one, is the URL's; then it is the URL's.
pub(super) fn name<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    object: &mut Object,
) -> Result<(), ApiError> {
    let name = exchange.name();
    if !object.meta.name.is_empty() && object.meta.name != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            object.meta.name
        )));
    }
    object.meta.name = name.into();
    Ok(())
}

/// Fills in a new object. True: its name is generated.
pub(super) fn create<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    object: &mut Object,
) -> Result<bool, ApiError> {
    let resource = &exchange.resource;
    if !object.meta.resource_version.is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let kept = keep(exchange, &mut object.meta, &ObjectMeta::default());
    let apart = resource.status_subresource || !resource.keeps.status;
    if let (true, Some(status)) = (apart, resource.status_field) {
        object.take_field(status, &Object::default()).map_err(|e| exchange.wire_error(&e))?;
    }
    let meta = &mut object.meta;
    let generated = meta.name.is_empty() && !meta.generate_name.is_empty();
    if generated {
        meta.name = generate_name(&meta.generate_name, exchange.env.random());
    }
    meta.self_link.clear();
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.managed_fields.clear();
    meta.generation = 1;
    meta.creation_timestamp = Some(object::time(exchange.env.now()));
    meta.uid = uuid::Builder::from_random_bytes(exchange.env.random().to_be_bytes()).into_uuid().to_string();
    validate(exchange, object, kept)?;
    Ok(generated)
}

/// What `kubectl apply` writes into every object, for itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What a client writes and the backend has no place for is refused: nothing is lost that somebody relies on. Only what
/// kubectl writes for itself is dropped, with a warning.
fn keep<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    meta: &mut ObjectMeta,
    stored: &ObjectMeta,
) -> Vec<StatusCause> {
    let keeps = exchange.resource.keeps;
    let mut causes = Vec::new();
    let mut refuse = |field: &str, what: &str| {
        causes.push(StatusCause::forbidden(field, &format!("the backend has no place for {what}")));
    };
    if !keeps.annotations {
        if meta.annotations.remove(LAST_APPLIED).is_some() {
            exchange.warnings.extend([format!(
                "metadata.annotations: {LAST_APPLIED} is not kept: the backend has no place for annotations"
            )]);
        }
        if meta.annotations.keys().any(|key| !is_ours(key) && !stored.annotations.contains_key(key)) {
            refuse("metadata.annotations", "annotations");
        }
        meta.annotations.clone_from(&stored.annotations);
    }
    if !keeps.labels {
        if meta.labels.keys().any(|key| !stored.labels.contains_key(key)) {
            refuse("metadata.labels", "labels");
        }
        meta.labels.clone_from(&stored.labels);
    }
    if !keeps.dependencies {
        if !meta.finalizers.is_empty() {
            refuse("metadata.finalizers", "finalizers");
        }
        if !meta.owner_references.is_empty() {
            refuse("metadata.ownerReferences", "owner references");
        }
    }
    causes
}

/// Made of what the backend says: no client writes it.
fn is_ours(key: &str) -> bool {
    key == mapping::UPDATE_TIME
}

/// "web-" and 128 random bits -> "web-x7k2b".
pub(super) fn generate_name(base: &str, random: u128) -> String {
    let mut end = base.len().min(LONGEST - SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base.get(..end).unwrap_or_default().to_owned();
    let mut random = random;
    let letters = ALPHABET.len() as u128;
    for _ in 0..SUFFIX {
        let letter = usize::try_from(random % letters).unwrap_or_default();
        name.push(char::from(ALPHABET.get(letter).copied().unwrap_or(b'x')));
        random /= letters;
    }
    name
}

/// Keeps what a client may not change of the stored object's metadata, and refuses what it may not ask for.
/// `new.meta.resource_version` is the version that the client builds on.
pub(super) fn update<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    stored: &Object,
    new: &mut Object,
) -> Result<(), ApiError> {
    let resource = &exchange.resource;
    let conflict =
        |message: &str| ApiError::conflict(&resource.group, &resource.plural, &stored.meta.name, message);
    let (old, meta) = (&stored.meta, &mut new.meta);
    if !meta.uid.is_empty() && meta.uid != old.uid {
        return Err(conflict(&format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            meta.uid, old.uid
        )));
    }
    if meta.resource_version.is_empty() {
        let text = "Invalid value: 0: must be specified for an update";
        let cause = StatusCause::new("FieldValueInvalid", "metadata.resourceVersion", text.into());
        return Err(ApiError::invalid(&resource.group, &resource.plural, &old.name, vec![cause]));
    }
    if meta.resource_version != old.resource_version {
        return Err(ApiError::modified(&resource.group, &resource.plural, &old.name));
    }
    meta.uid.clone_from(&old.uid);
    meta.generate_name.clone_from(&old.generate_name);
    meta.self_link.clone_from(&old.self_link);
    meta.generation = old.generation;
    meta.creation_timestamp = old.creation_timestamp;
    meta.deletion_timestamp = old.deletion_timestamp;
    meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    meta.managed_fields.clone_from(&old.managed_fields);
    let mut causes = keep(exchange, meta, old);
    if old.deletion_timestamp.is_some() {
        let added: Vec<&String> =
            meta.finalizers.iter().filter(|finalizer| !old.finalizers.contains(finalizer)).collect();
        if !added.is_empty() {
            causes.push(StatusCause::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
                ),
            ));
        }
    }
    validate(exchange, new, causes)
}

/// 422 with every fault of the metadata.
fn validate<C: Caller, E: Env>(
    exchange: &Exchange<C, E>,
    object: &Object,
    causes: Vec<StatusCause>,
) -> Result<(), ApiError> {
    let resource = &exchange.resource;
    let mut causes = causes;
    causes.extend(validation::validate_object_meta(&object.meta, resource.namespaced, resource.names));
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&resource.group, &resource.kind, &object.meta.name, causes))
}

/// Marks an object as terminating.
pub(super) fn terminate<C: Caller, E: Env>(exchange: &Exchange<C, E>, object: &mut Object) {
    let meta = &mut object.meta;
    meta.deletion_timestamp = Some(object::time(exchange.env.now()));
    meta.deletion_grace_period_seconds = Some(0);
    meta.generation = meta.generation.max(1) + 1;
}
