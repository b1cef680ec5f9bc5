//! One request and its answer: what all verbs share.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Request,
    call::{Values, request},
    list::Chunks,
};
use crate::{
    caller::{Call, CallError, Caller, Class, Code},
    env::Env,
    envelope,
    model::{Method, Resource, Source},
    negotiate,
    object::{self, MetaView},
    options,
    proto::{DeleteOptions, GetOptions, ListOptions},
    status::{ApiError, CallVerb, ErrorContext, from_call_error, means_empty_list},
    transcode::WireError,
};

/// A request on its way through a verb.
#[derive(Debug)]
pub(super) struct Exchange<C, E> {
    pub(super) resource: Arc<Resource>,
    pub(super) caller: C,
    pub(super) env: E,
    pub(super) request: Request,
    /// For the client, in the order they came up.
    pub(super) warnings: Warnings,
    /// The backend sent fields that our schema does not know.
    pub(super) schema_suspect: bool,
}

/// Warnings, shared with whoever answers when the exchange fails: they are told with errors too.
#[derive(Debug, Clone, Default)]
pub(super) struct Warnings(Arc<Mutex<Vec<String>>>);

impl FromIterator<String> for Warnings {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        Self(Arc::new(Mutex::new(texts.into_iter().collect())))
    }
}

impl Warnings {
    fn texts(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn extend(&self, texts: impl IntoIterator<Item = String>) {
        self.texts().extend(texts);
    }

    pub(super) fn len(&self) -> usize {
        self.texts().len()
    }

    /// Forgets all but the first `len`.
    pub(super) fn truncate(&self, len: usize) {
        self.texts().truncate(len);
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.texts())
    }
}

impl<C: Caller, E: Env> Exchange<C, E> {
    pub(super) fn new(resource: &Arc<Resource>, caller: &C, env: &E, request: Request) -> Self {
        Self {
            resource: Arc::clone(resource),
            caller: caller.clone(),
            env: env.clone(),
            request,
            warnings: Warnings::from_iter(resource.deprecation_warning.iter().cloned()),
            schema_suspect: false,
        }
    }

    /// The same request about one object of its collection.
    pub(super) fn about(&self, name: &str, namespace: &str) -> Self {
        let mut info = self.request.info.clone();
        info.name = name.into();
        info.namespace = namespace.into();
        let request = Request {
            info,
            method: self.request.method.clone(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
            user: Arc::clone(&self.request.user),
        };
        Self::new(&self.resource, &self.caller, &self.env, request)
    }

    /// The name in the URL.
    pub(super) fn name(&self) -> &str {
        &self.request.info.name
    }

    /// The namespace in the URL; empty for cluster-scoped resources, and for all namespaces.
    pub(super) fn namespace(&self) -> &str {
        if self.resource.namespaced { &self.request.info.namespace } else { "" }
    }

    /// Whether the whole call fits into the read-modify-write of a managed resource.
    pub(super) fn managed(&self) -> bool {
        self.resource.managed
    }

    pub(super) fn call(&self, method: &Method, values: &Values<'_>, class: Class) -> Call {
        Call { path: Arc::clone(&method.path), message: request(method, values), class }
    }

    /// Calls a method that gives one message.
    pub(super) async fn unary(
        &self,
        method: &Method,
        values: &Values<'_>,
        class: Class,
    ) -> Result<Bytes, CallError> {
        self.caller.unary(self.call(method, values, class)).await
    }

    /// The options of a delete, from query and body.
    pub(super) fn delete_options(&self) -> Result<DeleteOptions, ApiError> {
        let (query, group) = (&self.request.query, &self.resource.group);
        // Without a body nobody asks what it is in: many clients name a type all the same.
        let options = if self.request.body.is_empty() {
            options::DeleteOptions::parse(query, b"", group)?
        } else if negotiate::content_type(&self.request.headers).as_deref() == Some(envelope::MEDIA_TYPE) {
            options::DeleteOptions::parse_protobuf(query, &self.request.body, group)?
        } else {
            options::DeleteOptions::parse(query, &super::input::json(self)?, group)?
        };
        Ok(options.wire)
    }

    /// What the client is told of a failed call.
    pub(super) fn call_error(
        &self,
        error: &CallError,
        verb: CallVerb,
        name: &str,
        method: &Method,
    ) -> ApiError {
        call_error(&self.resource, error, verb, name, Some(method))
    }

    /// The backend sent what is not of the schema: 500, and the schema should be read again.
    pub(super) fn wire_error(&self, error: &WireError) -> ApiError {
        wire_error(&self.resource, error)
    }

    /// Reads the object that the URL names.
    pub(super) async fn fetch(&self, options: &GetOptions) -> Result<Bytes, ApiError> {
        match (&self.resource.methods.get, &self.resource.methods.list) {
            (Some(method), list) => {
                let values = Values {
                    namespace: self.namespace(),
                    name: self.name(),
                    get: Some(options),
                    ..Values::default()
                };
                match self.unary(method, &values, Class::Read).await {
                    Ok(object) => self.is_asked_for(object),
                    Err(error) => match list {
                        // Declared and not written yet: made as where it is not declared.
                        Some(list) if is_unimplemented(&error) => self.find(&Arc::clone(list), options).await,
                        _ => Err(self.call_error(&error, get_verb(options), self.name(), method)),
                    },
                }
            }
            (None, Some(method)) => self.find(&Arc::clone(method), options).await,
            (None, None) => Err(ApiError::method_not_allowed()),
        }
    }

    /// The object, if it has the name that was asked for: whatever else it is, it is not the answer.
    fn is_asked_for(&self, object: Bytes) -> Result<Bytes, ApiError> {
        let meta = MetaView::of(&object).map_err(|error| self.wire_error(&error))?;
        if meta.name == self.name() {
            return Ok(object);
        }
        let log = format!("the backend was asked for {:?} and answered with {:?}", self.name(), meta.name);
        Err(ApiError::internal(log).with_schema_suspect())
    }

    /// A Get made from List, narrowed to the name.
    async fn find(&self, method: &Arc<Method>, options: &GetOptions) -> Result<Bytes, ApiError> {
        let narrowed = ListOptions {
            field_selector: format!("metadata.name={}", self.name()),
            resource_version: options.resource_version.clone(),
            ..ListOptions::default()
        };
        let values = Values {
            namespace: self.namespace(),
            name: self.name(),
            list: Some(&narrowed),
            ..Values::default()
        };
        let failed = |error: CallError| {
            if means_empty_list(&error) {
                self.not_found()
            } else {
                self.call_error(&error, get_verb(options), self.name(), method)
            }
        };
        let mut chunks =
            Chunks::open(&self.caller, self.call(method, &values, Class::Read), method.streaming)
                .await
                .map_err(failed)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = object::Chunk::parse(&chunk.map_err(failed)?).map_err(|e| self.wire_error(&e))?;
            for item in chunk.items {
                let meta = MetaView::of(&item).map_err(|e| self.wire_error(&e))?;
                if meta.name == self.name()
                    && (!self.resource.namespaced || meta.namespace == self.namespace())
                {
                    return Ok(item);
                }
            }
        }
        Err(self.not_found())
    }

    pub(super) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.group, &self.resource.plural, self.name())
    }

    /// The object as clients see it.
    pub(super) fn complete<'a>(&self, object: &'a [u8]) -> Result<Cow<'a, [u8]>, ApiError> {
        object::complete(&self.resource, object).map_err(|e| self.wire_error(&e))
    }
}

fn get_verb(options: &GetOptions) -> CallVerb {
    CallVerb::Get { from_version: !matches!(options.resource_version.as_str(), "" | "0") }
}

/// See [`Exchange::call_error`].
pub(super) fn call_error(
    resource: &Resource,
    error: &CallError,
    verb: CallVerb,
    name: &str,
    method: Option<&Method>,
) -> ApiError {
    let body = method.and_then(|method| {
        let binding = method.request.iter().find(|binding| binding.source == Source::Object)?;
        method.input.descriptor().get_field(binding.field?)
    });
    let context = ErrorContext {
        group: &resource.group,
        resource: &resource.plural,
        kind: &resource.kind,
        name,
        verb,
        message: Some(resource.message.descriptor()),
        wrapper: body.as_ref().map_or("", |field| field.name()),
    };
    from_call_error(error, &context)
}

/// See [`Exchange::wire_error`].
pub(super) fn wire_error(resource: &Resource, error: &WireError) -> ApiError {
    let log = format!("{}: the backend's message: {error}", resource.message.full_name());
    ApiError::internal(log).with_schema_suspect()
}

fn is_unimplemented(error: &CallError) -> bool {
    matches!(error, CallError::Status(status) if status.code == Code::Unimplemented)
}
