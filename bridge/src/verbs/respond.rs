//! Objects, lists and events -> the bytes of an answer, in the shape and format that the client reads.

use std::{sync::Arc, time::SystemTime};

use http::StatusCode;

use super::{Body, Reply, exchange::Exchange};
use crate::{
    caller::Caller,
    env::Env,
    model::Resource,
    negotiate::{Endpoint, IncludeObject, MediaType, MetaVersion, Negotiated, Shape},
    object,
    proto::{ListMeta, ObjectMeta},
    status::{ApiError, Status},
    transcode::{Noticed, TypeMeta, WireError},
    watch::ClientEvent,
    wire,
};

/// The longest list that is put together in memory (for formats that are made of the whole), in bytes.
pub(super) const MAX_BUFFERED: usize = 64 * 1024 * 1024;

/// On the bookmark that ends the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What the client reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Media {
    negotiated: Negotiated,
    /// Of a Table's rows.
    include: IncludeObject,
}

impl Media {
    /// Whether the answer is made of the whole, not as it comes.
    pub(super) fn buffered(&self) -> bool {
        self.negotiated.pretty || self.negotiated.media_type == MediaType::Yaml
    }

    pub(super) fn content_type(&self) -> String {
        self.negotiated.content_type().into()
    }
}

impl<C: Caller, E: Env> Exchange<C, E> {
    /// What the client reads of an answer to this `endpoint`; 406 where we write nothing of it.
    pub(super) fn negotiate(&self, endpoint: Endpoint) -> Result<Media, ApiError> {
        let request = &self.request;
        let negotiated = Negotiated::new(&request.headers, &request.query, endpoint)?;
        let include = match negotiated.shape {
            Shape::Table(_) => IncludeObject::parse(&request.query)?,
            Shape::Object | Shape::Partial(_) | Shape::PartialList(_) => IncludeObject::default(),
        };
        Ok(Media { negotiated, include })
    }

    /// Answers with an object, in the shape that the client reads.
    pub(super) fn object_reply(
        mut self,
        status: StatusCode,
        media: &Media,
        object: &[u8],
    ) -> Result<Reply, ApiError> {
        let resource = Arc::clone(&self.resource);
        let fault = |e| self.wire_error(&e);
        let object = object::complete(&resource, object).map_err(fault)?;
        let mut json = Vec::with_capacity(object.len() * 2 + 128);
        let shape = ShapeWriter::new(&resource, media);
        let noticed = shape.document(self.env.now(), true, &object, &mut json).map_err(fault)?;
        self.schema_suspect |= noticed.unknown_fields;
        self.json_reply(status, media, json)
    }

    /// Answers a delete: 200 and a Status.
    pub(super) fn status_reply(self, media: &Media, status: &Status) -> Result<Reply, ApiError> {
        self.json_reply(StatusCode::OK, media, status.to_json())
    }

    /// Answers with a document that was written as JSON.
    pub(super) fn json_reply(
        self,
        status: StatusCode,
        media: &Media,
        json: Vec<u8>,
    ) -> Result<Reply, ApiError> {
        Ok(Reply {
            status,
            content_type: media.content_type(),
            warnings: self.warnings.take(),
            body: Body::Whole(media.negotiated.encode(json)?.into()),
            schema_suspect: self.schema_suspect,
        })
    }
}

/// Writes single objects in the shape that the client reads.
#[derive(Debug)]
struct ShapeWriter {
    resource: Arc<Resource>,
    api_version: String,
    shape: Shape,
    include: IncludeObject,
}

impl ShapeWriter {
    fn new(resource: &Arc<Resource>, media: &Media) -> Self {
        let shape = media.negotiated.shape;
        Self {
            resource: Arc::clone(resource),
            api_version: resource.api_version(),
            shape,
            include: media.include,
        }
    }

    /// Appends an object as a document of its own. `columns`: a Table tells them.
    fn document(
        &self,
        now: SystemTime,
        columns: bool,
        object: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        match self.shape {
            Shape::Table(version) => {
                let table = self.resource.table();
                let mut metadata = Vec::new();
                let resource_version = object::MetaView::of(object)?.resource_version.into();
                list_meta(&mut metadata, &ListMeta { resource_version, ..ListMeta::default() });
                table.begin(version, Some(&metadata), columns, out);
                let noticed = table.row(object, version, self.include, now, out)?;
                table.end(None, out);
                Ok(noticed)
            }
            Shape::Object => {
                let type_meta = TypeMeta { api_version: &self.api_version, kind: &self.resource.kind };
                self.resource.message.to_json(object, Some(type_meta), out)
            }
            shape => self.item(shape, now, object, out),
        }
    }

    /// Appends an object as an item of a list.
    fn item(
        &self,
        shape: Shape,
        now: SystemTime,
        object: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        match shape {
            Shape::Table(version) => self.resource.table().row(object, version, self.include, now, out),
            Shape::Partial(version) | Shape::PartialList(version) => {
                partial(&self.resource, version, object, out)
            }
            Shape::Object => self.resource.message.to_json(object, None, out),
        }
    }
}

/// Writes a list piece by piece, always as JSON.
#[derive(Debug)]
pub(super) struct ListWriter {
    shape: ShapeWriter,
    now: SystemTime,
    metadata: Option<ListMeta>,
    begun: bool,
    /// The metadata is in what was written.
    told: bool,
    empty: bool,
}

impl ListWriter {
    /// `now`: what ages in a Table are counted from.
    pub(super) fn new(resource: &Arc<Resource>, media: &Media, now: SystemTime) -> Self {
        Self {
            shape: ShapeWriter::new(resource, media),
            now,
            metadata: None,
            begun: false,
            told: false,
            empty: true,
        }
    }

    /// Takes the list's metadata, from whichever chunk has it.
    ///
    /// # Errors
    /// It comes twice and differs, when the first was sent already.
    pub(super) fn metadata(&mut self, metadata: ListMeta) -> Result<(), String> {
        if metadata == ListMeta::default() || self.metadata.as_ref() == Some(&metadata) {
            return Ok(());
        }
        if self.told {
            return Err("a list with two different metadata".into());
        }
        self.metadata = Some(metadata);
        Ok(())
    }

    /// Writes what comes before the items, once.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let metadata = self.metadata.as_ref().map(|metadata| {
            let mut json = Vec::new();
            list_meta(&mut json, metadata);
            json
        });
        self.told = metadata.is_some();
        let shape = &self.shape;
        let (kind, api_version) = match shape.shape {
            Shape::Table(version) => {
                return shape.resource.table().begin(version, metadata.as_deref(), true, out);
            }
            Shape::Partial(version) | Shape::PartialList(version) => {
                ("PartialObjectMetadataList", version.as_str())
            }
            Shape::Object => (shape.resource.list_kind.as_str(), shape.api_version.as_str()),
        };
        out.extend_from_slice(b"{\"kind\":");
        string(out, kind);
        out.extend_from_slice(b",\"apiVersion\":");
        string(out, api_version);
        if let Some(metadata) = metadata {
            out.extend_from_slice(b",\"metadata\":");
            out.extend_from_slice(&metadata);
        }
        out.extend_from_slice(b",\"items\":[");
    }

    /// Writes one item.
    ///
    /// # Errors
    /// The item is not what the schema says.
    pub(super) fn item(&mut self, object: &[u8], out: &mut Vec<u8>) -> Result<Noticed, WireError> {
        if !std::mem::replace(&mut self.empty, false) {
            out.push(b',');
        }
        self.shape.item(self.shape.shape, self.now, object, out)
    }

    /// Writes what comes after the items.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        out.push(b']');
        if !std::mem::replace(&mut self.told, true) {
            out.extend_from_slice(b",\"metadata\":");
            list_meta(out, &self.metadata.clone().unwrap_or_default());
        }
        out.push(b'}');
    }
}

/// Writes the events of a watch, a line each.
#[derive(Debug)]
pub(super) struct EventWriter {
    shape: ShapeWriter,
    /// The columns of a table were told.
    told: bool,
}

impl EventWriter {
    pub(super) fn new(resource: &Arc<Resource>, media: &Media) -> Self {
        Self { shape: ShapeWriter::new(resource, media), told: false }
    }

    /// Appends an event. On an error `out` is as it was.
    pub(super) fn event(
        &mut self,
        event: &ClientEvent,
        now: SystemTime,
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        let (kind, object) = match event {
            ClientEvent::Added(object) => ("ADDED", object),
            ClientEvent::Modified(object) => ("MODIFIED", object),
            ClientEvent::Deleted(object) => ("DELETED", object),
            ClientEvent::Bookmark { version, initial_events_end } => {
                return self.bookmark(*version, *initial_events_end, now, out);
            }
        };
        let resource = Arc::clone(&self.shape.resource);
        let object = object::complete(&resource, object)?;
        self.line(kind, &object, now, out)
    }

    /// Appends a bookmark: an object of nothing but its version.
    pub(super) fn bookmark(
        &mut self,
        version: u64,
        end: bool,
        now: SystemTime,
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        let mut meta = ObjectMeta { resource_version: version.to_string(), ..ObjectMeta::default() };
        if end {
            meta.annotations.insert(INITIAL_EVENTS_END.into(), "true".into());
        }
        let mut object = Vec::new();
        wire::put_bytes(&mut object, object::METADATA, &prost::Message::encode_to_vec(&meta));
        self.line("BOOKMARK", &object, now, out)
    }

    /// Appends an ERROR event.
    pub(super) fn error(&self, status: &Status, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"ERROR\",\"object\":");
        out.extend_from_slice(&status.to_json());
        out.extend_from_slice(b"}\n");
    }

    fn line(
        &mut self,
        kind: &str,
        object: &[u8],
        now: SystemTime,
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        let start = out.len();
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        let columns = !std::mem::replace(&mut self.told, true);
        match self.shape.document(now, columns, object, out) {
            Ok(noticed) => {
                out.extend_from_slice(b"}\n");
                Ok(noticed)
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }
}

/// Appends the object's metadata as PartialObjectMetadata.
fn partial(
    resource: &Resource,
    version: MetaVersion,
    object: &[u8],
    out: &mut Vec<u8>,
) -> Result<Noticed, WireError> {
    let start = out.len();
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":");
    string(out, version.as_str());
    out.extend_from_slice(b",\"metadata\":");
    let metadata = resource.message.field("metadata");
    let written = match metadata.map(|field| field.write_json(object, out)).transpose() {
        Ok(written) => written,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    if written != Some(true) {
        out.extend_from_slice(b"{}");
    }
    out.push(b'}');
    Ok(Noticed::default())
}

fn list_meta(out: &mut Vec<u8>, meta: &ListMeta) {
    out.push(b'{');
    let mut comma = false;
    let mut key = |out: &mut Vec<u8>, name: &str| {
        if std::mem::replace(&mut comma, true) {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
    };
    if !meta.resource_version.is_empty() {
        key(out, "resourceVersion");
        string(out, &meta.resource_version);
    }
    if !meta.r#continue.is_empty() {
        key(out, "continue");
        string(out, &meta.r#continue);
    }
    if let Some(count) = meta.remaining_item_count.filter(|count| *count != 0) {
        key(out, "remainingItemCount");
        out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    }
    out.push(b'}');
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes every byte");
}
