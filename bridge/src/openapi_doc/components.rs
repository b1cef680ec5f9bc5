//! Message types -> `components.schemas`, in Kubernetes' JSON profile.

use std::collections::{BTreeMap, HashMap, VecDeque};

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::fixed;
use crate::{
    model::{Action, Api, Comments, Method, Resource, Source, annotation},
    proto::{self, ListType},
    transcode::enum_value_name,
};

/// The schemas of one document, by name, and what is still to be described.
pub(super) struct Components {
    group: String,
    version: String,
    /// "com.example.inventory.v1."
    prefix: String,
    /// The package whose messages take the prefix.
    package: String,
    comments: Comments,
    /// Our own copy of the contract: it has comments, which a reflected one lacks.
    contract: DescriptorPool,
    contract_comments: Comments,
    schemas: BTreeMap<String, Value>,
    /// Messages by component name, still to be described.
    todo: VecDeque<(String, MessageDescriptor)>,
    names: HashMap<String, String>,
}

impl Components {
    /// Describes the kinds of `api` and their lists; whatever else is referred to follows.
    pub(super) fn new(api: &Api) -> Self {
        let first = api.resources.first().map(|resource| resource.message.descriptor());
        let reversed: Vec<&str> = api.group.rsplit('.').filter(|part| !part.is_empty()).collect();
        let contract = DescriptorPool::decode(proto::DESCRIPTORS).expect("the contract compiles");
        let mut components = Self {
            group: api.group.clone(),
            version: api.version.clone(),
            prefix: format!(
                "{}.{}.",
                if reversed.is_empty() { "core".to_owned() } else { reversed.join(".") },
                api.version
            ),
            package: first.map_or_else(String::new, |message| message.package_name().to_owned()),
            comments: first.map(|message| Comments::read(message.parent_pool())).unwrap_or_default(),
            contract_comments: Comments::read(&contract),
            contract,
            schemas: BTreeMap::new(),
            todo: VecDeque::new(),
            names: HashMap::new(),
        };
        // Kinds and lists take their names first: other messages give way.
        for resource in &api.resources {
            let name = components
                .free_name(&format!("{}{}", components.prefix, resource.kind), resource.message.full_name());
            components.names.insert(resource.message.full_name().to_owned(), name.clone());
            components.schemas.insert(name, Value::Null);
            components.schemas.insert(components.list_name(resource), Value::Null);
        }
        for resource in &api.resources {
            components.kind(resource);
        }
        components
    }

    /// All schemas, with everything that they refer to.
    pub(super) fn into_schemas(mut self) -> Map<String, Value> {
        while let Some((name, message)) = self.todo.pop_front() {
            let schema = self.message(&message, &|_| true);
            self.schemas.insert(name, schema);
        }
        self.schemas.into_iter().collect()
    }

    /// A reference to the kind of a resource.
    pub(super) fn kind_ref(&self, resource: &Resource) -> Value {
        reference(self.names.get(resource.message.full_name()).map_or("", String::as_str))
    }

    /// A reference to a resource's list.
    pub(super) fn list_ref(&self, resource: &Resource) -> Value {
        reference(&self.list_name(resource))
    }

    /// A reference to a schema that is the same in every document ([`fixed`]).
    pub(super) fn fixed_ref(&mut self, name: &str) -> Value {
        let full = format!("io.kubridge.v1.{name}");
        if !self.schemas.contains_key(&full) {
            let schema = match fixed::schema(name) {
                Some(schema) => schema,
                None => self.options(name),
            };
            self.schemas.insert(full.clone(), schema);
            if name == "Status" {
                self.contract_ref("ListMeta");
            }
        }
        reference(&full)
    }

    /// A reference to what an action reads: its message without what comes from the URL.
    pub(super) fn action_body(&mut self, resource: &Resource, action: &Action, method: &Method) -> Value {
        let message = method.input.descriptor().clone();
        if message == *resource.message.descriptor() {
            return self.kind_ref(resource);
        }
        let name = self.name(&message);
        let from_url: Vec<u32> = method
            .request
            .iter()
            .filter(|binding| binding.source != Source::Object)
            .filter_map(|binding| binding.field)
            .collect();
        let mut schema = self.message(&message, &|field| !from_url.contains(&field.number()));
        self.type_meta(&mut schema, &[(&action.kind, false)]);
        self.schemas.insert(name.clone(), schema);
        reference(&name)
    }

    /// What an action answers.
    pub(super) fn action_answer(&mut self, method: &Method) -> Value {
        self.value_of(method.output.descriptor())
    }

    fn kind(&mut self, resource: &Resource) {
        let message = resource.message.descriptor().clone();
        let mut schema = self.message(&message, &|_| true);
        if let Some(metadata) = schema.pointer_mut("/properties/metadata")
            && metadata.get("description").is_none()
        {
            describe(metadata, "Standard object's metadata.");
        }
        self.type_meta(&mut schema, &[(&resource.kind, true)]);
        let name = self.name(&message);
        let item = reference(&name);
        self.schemas.insert(name, schema);

        let mut metadata = self.contract_ref("ListMeta");
        metadata = described_ref(&metadata, "Standard list metadata.");
        let mut list = json!({
            "description": format!("{} is a list of {}.", resource.list_kind, resource.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "metadata": metadata,
                "items": {
                    "description": format!("The objects, each a {}.", resource.kind),
                    "type": "array",
                    "items": described_ref(&item, ""),
                },
            },
        });
        self.type_meta(&mut list, &[(&resource.list_kind, true)]);
        let name = self.list_name(resource);
        self.schemas.insert(name, list);
    }

    /// A `kubridge.v1.*Options` message: a kind of every group-version.
    fn options(&mut self, name: &str) -> Value {
        let Some(message) = self.contract.get_message_by_name(&format!("kubridge.v1.{name}")) else {
            return json!({ "type": "object" });
        };
        let mut schema = self.message(&message, &|_| true);
        self.type_meta(&mut schema, &[(name, true)]);
        if let Some(kinds) = schema.get_mut("x-kubernetes-group-version-kind").and_then(Value::as_array_mut) {
            kinds.insert(0, json!({ "group": "", "version": "v1", "kind": name }));
        }
        schema
    }

    /// Adds `apiVersion`, `kind` and the group-version-kinds.
    fn type_meta(&self, schema: &mut Value, kinds: &[(&str, bool)]) {
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("apiVersion".to_owned(), string(
                "The group and version of the kind, such as \"inventory.example.com/v1\". Others are refused.",
            ));
            properties.insert("kind".to_owned(), string(
                "What the object is, in CamelCase. The server knows it from the address and never changes it.",
            ));
        }
        let list: Vec<Value> = kinds
            .iter()
            .map(|(kind, _)| json!({ "group": self.group, "version": self.version, "kind": kind }))
            .collect();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("x-kubernetes-group-version-kind".to_owned(), list.into());
        }
    }

    fn list_name(&self, resource: &Resource) -> String {
        format!("{}{}", self.prefix, resource.list_kind)
    }

    /// The component name of a message; whoever asks first makes it known.
    fn name(&mut self, message: &MessageDescriptor) -> String {
        let full = message.full_name();
        if let Some(name) = self.names.get(full) {
            return name.clone();
        }
        let wanted = if let Some(name) = full.strip_prefix("kubridge.v1.") {
            format!("io.kubridge.v1.{name}")
        } else if message.package_name() == self.package {
            let relative = full.strip_prefix(self.package.as_str()).unwrap_or(full).trim_start_matches('.');
            format!("{}{relative}", self.prefix)
        } else {
            full.to_owned()
        };
        let name = self.free_name(&wanted, full);
        self.names.insert(full.to_owned(), name.clone());
        name
    }

    /// `wanted`, or the message's own full name where that is taken.
    fn free_name(&self, wanted: &str, full: &str) -> String {
        let taken =
            |name: &str| self.schemas.contains_key(name) || self.names.values().any(|used| used == name);
        let mut name = wanted.to_owned();
        while taken(&name) {
            name = if name == wanted { format!("proto.{full}") } else { format!("{name}_") };
        }
        name
    }

    fn contract_ref(&mut self, name: &str) -> Value {
        match self.contract.get_message_by_name(&format!("kubridge.v1.{name}")) {
            Some(message) => self.reference_to(&message),
            None => json!({ "type": "object" }),
        }
    }

    /// A reference to a message, which will be described.
    fn reference_to(&mut self, message: &MessageDescriptor) -> Value {
        let ours = self.contract.get_message_by_name(message.full_name());
        let message = ours
            .filter(|_| message.full_name().starts_with("kubridge.v1."))
            .unwrap_or_else(|| message.clone());
        let name = self.name(&message);
        if !self.schemas.contains_key(&name) {
            self.schemas.insert(name.clone(), Value::Null); // recursion ends here
            self.todo.push_back((name.clone(), message));
        }
        reference(&name)
    }

    fn message(&mut self, message: &MessageDescriptor, keep: &dyn Fn(&FieldDescriptor) -> bool) -> Value {
        let mut properties = Map::new();
        let mut required: Vec<String> = fixed::required(message.full_name()).map(str::to_owned).collect();
        for field in message.fields().filter(|field| keep(field)) {
            properties.insert(field.json_name().to_owned(), self.field(&field));
            if annotation::field(&field).required {
                required.push(field.json_name().to_owned());
            }
        }
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            required.sort();
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("required".to_owned(), required.into());
            }
        }
        describe(&mut schema, self.comments_of(message).message(message));
        schema
    }

    fn comments_of(&self, message: &MessageDescriptor) -> &Comments {
        let ours = *message.parent_pool() == self.contract;
        if ours { &self.contract_comments } else { &self.comments }
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let mut description = self.comments_of(field.parent_message()).field(field).to_owned();
        let mut schema = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return json!({ "type": "object" }) };
            json!({ "type": "object", "additionalProperties": self.value(&entry.map_entry_value_field()) })
        } else if field.is_list() {
            let mut list = json!({ "type": "array", "items": self.value(field) });
            list_type(field, &mut list);
            list
        } else {
            self.value(field)
        };
        if let Kind::Enum(of) = field.kind() {
            let values = self.enum_text(field, &of);
            if !description.is_empty() && !values.is_empty() {
                description.push_str("\n\n");
            }
            description.push_str(&values);
        }
        if schema.get("$ref").is_some() {
            schema = described_ref(&schema, &description);
        } else {
            describe(&mut schema, &description);
        }
        schema
    }

    /// The values that have comments, one a line.
    fn enum_text(&self, field: &FieldDescriptor, of: &EnumDescriptor) -> String {
        let comments = self.comments_of(field.parent_message());
        let lines: Vec<String> = of
            .values()
            .filter(|value| !comments.value(value).is_empty())
            .map(|value| format!(" - `{:?}`: {}", enum_value_name(&value), comments.value(&value)))
            .collect();
        if lines.is_empty() { String::new() } else { format!("Possible values:\n{}", lines.join("\n")) }
    }

    /// One value of a field: the element of a list.
    fn value(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(message) => self.value_of(&message),
            Kind::Enum(of) => enumeration(&of),
            kind => scalar(&kind),
        }
    }

    fn value_of(&mut self, message: &MessageDescriptor) -> Value {
        match fixed::json_form(message.full_name()) {
            Some(schema) => schema,
            None => self.reference_to(message),
        }
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A reference takes no siblings in OpenAPI 3.0: a description stands beside `allOf`.
fn described_ref(reference: &Value, description: &str) -> Value {
    if description.is_empty() {
        return reference.clone();
    }
    json!({ "description": description, "allOf": [reference] })
}

fn describe(schema: &mut Value, description: &str) {
    if description.is_empty() {
        return;
    }
    if schema.get("$ref").is_some() {
        *schema = described_ref(schema, description);
    } else if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), description.into());
    }
}

fn string(description: &str) -> Value {
    json!({ "description": description, "type": "string" })
}

/// A field without annotation is atomic, as Kubernetes has it.
fn list_type(field: &FieldDescriptor, list: &mut Value) {
    let annotated = annotation::field(field);
    let keys: Vec<String>;
    let (list_type, keys) = match fixed::list_type(field.full_name()) {
        Some((list_type, key)) => (list_type, key.map(|key| vec![key.to_owned()]).unwrap_or_default()),
        None => {
            keys = annotated.list_map_keys.clone();
            match annotated.list_type() {
                ListType::Unspecified | ListType::Atomic => ("atomic", Vec::new()),
                ListType::Set => ("set", Vec::new()),
                ListType::Map => ("map", keys),
            }
        }
    };
    if let Some(list) = list.as_object_mut() {
        list.insert("x-kubernetes-list-type".to_owned(), list_type.into());
        if !keys.is_empty() {
            list.insert("x-kubernetes-list-map-keys".to_owned(), keys.into());
        }
    }
}

fn enumeration(of: &EnumDescriptor) -> Value {
    if of.full_name() == "google.protobuf.NullValue" {
        return json!({ "x-kubernetes-preserve-unknown-fields": true });
    }
    let mut names: Vec<String> = of.values().map(|value| enum_value_name(&value)).collect();
    names.dedup();
    json!({ "type": "string", "enum": names })
}

/// Formats as Kubernetes has them: it knows no unsigned numbers.
fn scalar(kind: &Kind) -> Value {
    match kind {
        Kind::Double => json!({ "type": "number", "format": "double" }),
        Kind::Float => json!({ "type": "number", "format": "float" }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "format": "byte" }),
        _ => json!({ "type": "integer", "format": "int64" }),
    }
}
