//! Where a path leads in a message: told by the schema, before there is an object.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::path::{JsonPath, Step};
use crate::transcode::MessageType;

/// What a step of a path arrives at.
#[derive(Debug, Clone)]
enum Place {
    /// A JSON object with known fields.
    Message(MessageDescriptor),
    /// A list of ...
    List(Box<Place>),
    /// An object with any keys, each of them ...
    Map(Box<Place>),
    /// A value without parts, of this column type.
    Scalar(&'static str),
    /// Any JSON.
    Any,
}

impl JsonPath {
    /// Whether the path leads to a field of `message`. The error says where it ends and what could stand there.
    pub fn check(&self, message: &MessageType) -> Result<(), String> {
        self.arrive(message.descriptor()).map(drop)
    }

    /// The column type of what the path leads to: string, integer, number, boolean or date. `None`: nowhere.
    pub fn column_type(&self, message: &MessageType) -> Option<&'static str> {
        Some(match self.arrive(message.descriptor()).ok()? {
            Place::Scalar(name) => name,
            Place::Message(_) | Place::List(_) | Place::Map(_) | Place::Any => "string",
        })
    }

    fn arrive(&self, message: &MessageDescriptor) -> Result<Place, String> {
        let mut place = Place::Message(message.clone());
        for step in &self.steps {
            place = place.step(step)?;
        }
        Ok(place)
    }
}

impl Place {
    fn step(self, step: &Step) -> Result<Self, String> {
        match (self, step) {
            (Self::Any, _) => Ok(Self::Any),
            (Self::Message(message), Step::Key(key)) => field(&message, key),
            (Self::Map(inner), Step::Key(_) | Step::All) => Ok(*inner),
            (Self::List(inner), Step::Index(_) | Step::All) => Ok(*inner),
            (Self::List(inner), Step::Filter { path, .. }) => {
                let mut place = (*inner).clone();
                for key in path {
                    place = place.step(&Step::Key(key.clone()))?;
                }
                Ok(*inner)
            }
            (Self::Message(message), Step::All | Step::Index(_) | Step::Filter { .. }) => {
                Err(format!("{} is no list: name one of its fields", message.full_name()))
            }
            (Self::List(_), Step::Key(key)) => {
                Err(format!("\"{key}\" is looked for in a list: write [0], [*] or a filter before it"))
            }
            (Self::Map(_), Step::Index(_) | Step::Filter { .. }) => {
                Err("an index stands behind a map: write ['key']".into())
            }
            (Self::Scalar(name), _) => Err(format!("the path goes on behind a value of type {name}")),
        }
    }
}

fn field(message: &MessageDescriptor, key: &str) -> Result<Place, String> {
    match message.get_field_by_json_name(key) {
        Some(field) => Ok(place_of(&field)),
        None => {
            let names: Vec<String> = message.fields().map(|f| f.json_name().to_owned()).collect();
            Err(format!("{} has no field {key:?}; it has {}", message.full_name(), names.join(", ")))
        }
    }
}

fn place_of(field: &FieldDescriptor) -> Place {
    if field.is_map() {
        let value = match field.kind() {
            Kind::Message(entry) => place_of_kind(&entry.map_entry_value_field().kind()),
            _ => Place::Any,
        };
        return Place::Map(Box::new(value));
    }
    let one = place_of_kind(&field.kind());
    if field.is_list() { Place::List(Box::new(one)) } else { one }
}

fn place_of_kind(kind: &Kind) -> Place {
    match kind {
        Kind::Double | Kind::Float => Place::Scalar("number"),
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => Place::Scalar("integer"),
        Kind::Bool => Place::Scalar("boolean"),
        Kind::String | Kind::Bytes | Kind::Enum(_) => Place::Scalar("string"),
        Kind::Message(message) => match message.full_name() {
            "kubridge.v1.Time" | "kubridge.v1.MicroTime" | "google.protobuf.Timestamp" => {
                Place::Scalar("date")
            }
            "kubridge.v1.Duration"
            | "kubridge.v1.Quantity"
            | "kubridge.v1.IntOrString"
            | "google.protobuf.Duration"
            | "google.protobuf.FieldMask"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue" => Place::Scalar("string"),
            "google.protobuf.BoolValue" => Place::Scalar("boolean"),
            "google.protobuf.DoubleValue" | "google.protobuf.FloatValue" => Place::Scalar("number"),
            "google.protobuf.Int32Value"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.UInt64Value" => Place::Scalar("integer"),
            "kubridge.v1.FieldsV1"
            | "kubridge.v1.RawExtension"
            | "google.protobuf.Any"
            | "google.protobuf.Struct"
            | "google.protobuf.Value" => Place::Any,
            "google.protobuf.ListValue" => Place::List(Box::new(Place::Any)),
            _ => Place::Message(message.clone()),
        },
    }
}
