//! Plans -> the contract form: descriptors of messages with `metadata`, `spec` and `status`, and of a service with the
//! contract's requests. The fields of `spec` and `status` keep the numbers and types that they have in the service's
//! own message, so that an object is taken apart and put together without being decoded.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MethodDescriptorProto, OneofDescriptorProto,
    SourceCodeInfo,
    field_descriptor_proto::{Label, Type},
    source_code_info::Location,
};

use super::{
    annotations,
    compile::Titles,
    facts::{ColumnMapping, Home, ResourceMapping, Verb},
    plan::{ActionPlan, Plan, Role, What},
};
use crate::{
    proto::{self, EXTENSION},
    wire,
};

/// The numbers of the fields of every mapped request.
pub(super) mod request {
    pub(in crate::mapping) const NAMESPACE: u32 = 1;
    pub(in crate::mapping) const NAME: u32 = 2;
    pub(in crate::mapping) const OBJECT: u32 = 3;
    pub(in crate::mapping) const VALIDATE_ONLY: u32 = 4;
    pub(in crate::mapping) const OPTIONS: u32 = 5;
}

/// The service's messages and the contract form of `resources`, in one pool.
pub(super) fn build(
    foreign: &DescriptorPool,
    resources: &[(Titles, Plan, ResourceMapping)],
) -> Result<Built, prost_reflect::DescriptorError> {
    let mut set = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for file in foreign.files() {
        names.push(file.name().to_owned());
        // Without services (field 6): their methods must not be taken for the contract's.
        let raw = file.encode_to_vec();
        let file = wire::without(&raw, |number| number == 6).unwrap_or(raw);
        wire::put_bytes(&mut set, 1, &file);
    }
    for field in wire::fields(proto::DESCRIPTORS).flatten() {
        // Our own, which are well-formed.
        let Ok(file) = FileDescriptorProto::decode(field.value) else { continue };
        if !names.contains(&file.name().to_owned()) {
            names.push(file.name().to_owned());
            wire::put_bytes(&mut set, 1, field.value);
        }
    }
    let mut apis: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (index, (titles, ..)) in resources.iter().enumerate() {
        apis.entry((&titles.group, &titles.version)).or_default().push(index);
    }
    let mut calls = Vec::new();
    for ((group, version), members) in apis {
        let mut file = File::new(group, version);
        for index in members {
            if let Some((titles, plan, mapping)) = resources.get(index) {
                file.resource(titles, plan, mapping, index, &mut calls);
            }
        }
        let first = resources.iter().find(|(t, ..)| t.group == group && t.version == version);
        let origin =
            first.map_or_else(String::new, |(_, plan, _)| plan.message.parent_file().name().to_owned());
        wire::put_bytes(&mut set, 1, &file.encode(&format!("{origin} (as {group}/{version})"), &names));
    }
    Ok(Built { pool: DescriptorPool::decode(set.as_slice())?, calls })
}

/// What [`build`] made.
pub(super) struct Built {
    pub(super) pool: DescriptorPool,
    /// The path of each made method, what it does for which resource, and the path of what it calls.
    pub(super) calls: Vec<(String, (usize, Role), String)>,
}

/// The file of one API, on its way.
struct File {
    group: String,
    version: String,
    package: String,
    /// Encoded messages.
    messages: Vec<Vec<u8>>,
    names: Vec<String>,
    /// Encoded methods.
    methods: Vec<Vec<u8>>,
    locations: Vec<Location>,
}

impl File {
    fn new(group: &str, version: &str) -> Self {
        let reversed: Vec<String> = group.rsplit('.').map(|part| part.replace('-', "_")).collect();
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            // An identifier may not begin with a digit.
            package: format!(
                "kubridge.mapped.{}.{version}",
                reversed.iter().map(|part| format!("g_{part}")).collect::<Vec<_>>().join(".")
            ),
            messages: Vec::new(),
            names: vec![SERVICE.to_owned()],
            methods: Vec::new(),
            locations: Vec::new(),
        }
    }

    fn encode(&self, name: &str, imports: &[String]) -> Vec<u8> {
        let file = FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(self.package.clone()),
            dependency: imports.to_vec(),
            source_code_info: Some(SourceCodeInfo { location: self.locations.clone() }),
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        };
        let mut out = file.encode_to_vec();
        for message in &self.messages {
            wire::put_bytes(&mut out, 4, message);
        }
        let mut service = Vec::new();
        wire::put_bytes(&mut service, 1, SERVICE.as_bytes());
        for method in &self.methods {
            wire::put_bytes(&mut service, 2, method);
        }
        wire::put_bytes(&mut out, 6, &service);
        let api = proto::Api { group: Some(self.group.clone()), version: self.version.clone() };
        wire::put_bytes(&mut out, 8, &extension(&api));
        out
    }

    fn resource(
        &mut self,
        titles: &Titles,
        plan: &Plan,
        mapping: &ResourceMapping,
        index: usize,
        calls: &mut Vec<(String, (usize, Role), String)>,
    ) {
        let kind = self.free(&titles.kind);
        let spec = self.part(plan, &format!("{kind}Spec"), Home::Spec);
        let status = plan.has_status.then(|| self.part(plan, &format!("{kind}Status"), Home::Status));
        let mut fields =
            vec![own_field("metadata", 1, ".kubridge.v1.ObjectMeta"), own_field("spec", 2, &spec)];
        fields.extend(status.map(|status| own_field("status", 3, &status)));
        let comment = leading_comment(&plan.message);
        let object =
            self.message(&kind, &fields, Vec::new(), Some(&annotation(titles, plan, mapping)), comment);
        let list = self.message(
            &format!("List{kind}Response"),
            &[own_field("metadata", 1, ".kubridge.v1.ListMeta"), list_field("items", 2, &object)],
            Vec::new(),
            None,
            String::new(),
        );
        for verb in Verb::ALL {
            let called = match (plan.methods.get(&verb), verb) {
                (Some(method), _) => method.path.to_string(),
                // Of a singleton: made of its Get.
                (None, Verb::List) => match plan.methods.get(&Verb::Get) {
                    Some(get) => get.path.to_string(),
                    None => continue,
                },
                (None, _) => continue,
            };
            let output = match verb {
                Verb::List => &list,
                Verb::Delete => ".google.protobuf.Empty",
                _ => &object,
            };
            let input = match verb {
                Verb::Get => ".kubridge.v1.GetRequest".to_owned(),
                Verb::List => ".kubridge.v1.ListRequest".to_owned(),
                verb => self.request(&kind, verb, &object),
            };
            let name = format!("{}{kind}", capitalised(verb.as_str()));
            let annotated = proto::Method {
                verb: contract_verb(verb).into(),
                kind: titles.kind.clone(),
                ..proto::Method::default()
            };
            self.method(&name, &input, output, verb == Verb::List, &annotated);
            calls.push((self.path(&name), (index, Role::Verb(verb)), called));
        }
        for (at, action) in plan.actions.iter().enumerate() {
            let input = self.action_request(action);
            let output = match action.output == plan.message {
                true => object.clone(),
                false => format!(".{}", action.output.full_name()),
            };
            let name = format!("{kind}Action{at}");
            let annotated = proto::Method {
                verb: proto::Verb::Create.into(),
                kind: titles.kind.clone(),
                subresource: action.name.clone(),
                ..proto::Method::default()
            };
            self.method(&name, &input, &output, action.streaming, &annotated);
            calls.push((self.path(&name), (index, Role::Action(at)), action.path.to_string()));
        }
    }

    fn path(&self, method: &str) -> String {
        format!("/{}.{SERVICE}/{method}", self.package)
    }

    /// A name that no other message of the file has.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        while self.names.contains(&free) {
            free.push('_');
        }
        self.names.push(free.clone());
        free
    }

    /// Adds a message; its full name, with a dot before.
    fn message(
        &mut self,
        name: &str,
        fields: &[Vec<u8>],
        oneofs: Vec<OneofDescriptorProto>,
        resource: Option<&proto::Resource>,
        comment: String,
    ) -> String {
        let name = if resource.is_some() { name.to_owned() } else { self.free(name) };
        let message =
            DescriptorProto { name: Some(name.clone()), oneof_decl: oneofs, ..DescriptorProto::default() };
        let mut out = message.encode_to_vec();
        for field in fields {
            wire::put_bytes(&mut out, 2, field);
        }
        if let Some(resource) = resource {
            wire::put_bytes(&mut out, 7, &extension(resource));
        }
        let at = i32::try_from(self.messages.len()).unwrap_or(i32::MAX);
        self.comment(vec![4, at], comment);
        self.messages.push(out);
        format!(".{}.{name}", self.package)
    }

    fn comment(&mut self, path: Vec<i32>, text: String) {
        if !text.is_empty() {
            self.locations.push(Location {
                path,
                // Required by the format, and meaningless here.
                span: vec![0, 0, 0],
                leading_comments: Some(text),
                ..Location::default()
            });
        }
    }

    /// The message of `spec` or `status`.
    fn part(&mut self, plan: &Plan, name: &str, home: Home) -> String {
        let here = |field: &FieldDescriptor| plan.homes.get(&field.number()) == Some(&home);
        let fields: Vec<FieldDescriptor> = plan.message.fields().filter(here).collect();
        let at = i32::try_from(self.messages.len()).unwrap_or(i32::MAX);
        for (index, field) in fields.iter().enumerate() {
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            self.comment(vec![4, at, 2, index], field_comment(field));
        }
        let required =
            |field: &FieldDescriptor| plan.required.iter().any(|(number, _)| *number == field.number());
        let mut oneofs = Oneofs::of(&fields);
        let encoded = fields
            .iter()
            .map(|field| {
                let said = proto::Field {
                    required: required(field),
                    // A zero that a service wrote is said: `kubectl wait` may wait for it.
                    emit_zero: home == Home::Status && is_plain_scalar(field),
                    ..proto::Field::default()
                };
                copy(field, &mut oneofs, &said)
            })
            .collect();
        let mut encoded: Vec<Vec<u8>> = encoded;
        if let (Home::Status, Some(operations)) = (home, &plan.operations) {
            let index = i32::try_from(fields.len()).unwrap_or(i32::MAX);
            self.comment(vec![4, at, 2, index], CONDITIONS.to_owned());
            let said = proto::Field {
                list_type: proto::ListType::Map.into(),
                list_map_keys: vec!["type".to_owned()],
                ..proto::Field::default()
            };
            let conditions = list_field("conditions", operations.conditions, ".kubridge.v1.Condition");
            encoded.push(annotated(conditions, &extension(&said)));
        }
        self.message(name, &encoded, oneofs.declared, None, String::new())
    }

    fn request(&mut self, kind: &str, verb: Verb, object: &str) -> String {
        let mut fields = vec![scalar("namespace", request::NAMESPACE, Type::String)];
        if verb != Verb::Create {
            fields.push(scalar("name", request::NAME, Type::String));
        }
        fields.push(scalar("validate_only", request::VALIDATE_ONLY, Type::Bool));
        fields.push(match verb {
            Verb::Delete => own_field("options", request::OPTIONS, ".kubridge.v1.DeleteOptions"),
            _ => own_field("object", request::OBJECT, object),
        });
        let name = format!("{}{kind}Request", capitalised(verb.as_str()));
        self.message(&name, &fields, Vec::new(), None, String::new())
    }

    /// The service's request, with namespace and name in place of what is filled from them.
    fn action_request(&mut self, action: &ActionPlan) -> String {
        let filled = |field: &FieldDescriptor| {
            action.fills.iter().any(|fill| fill.number == field.number() && fill.what != What::DryRun)
        };
        let fields: Vec<FieldDescriptor> = action.input.fields().filter(|field| !filled(field)).collect();
        let at = i32::try_from(self.messages.len()).unwrap_or(i32::MAX);
        for (index, field) in fields.iter().enumerate() {
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            self.comment(vec![4, at, 2, index], field_comment(field));
        }
        let mut oneofs = Oneofs::of(&fields);
        let mut encoded: Vec<Vec<u8>> = fields
            .iter()
            .map(|field| {
                // `validate_only` says of itself what it is.
                let dry_run = field.name() == "validate_only" && field.kind() == Kind::Bool;
                let bind = if dry_run { proto::Bind::Unspecified } else { proto::Bind::Body };
                let said = proto::Field {
                    bind: bind.into(),
                    required: annotations::behavior(field).required,
                    ..proto::Field::default()
                };
                copy(field, &mut oneofs, &said)
            })
            .collect();
        let taken = |name: &str| fields.iter().any(|field| field.name() == name);
        let mut from_url = |name: &str, number: u32, bind: proto::Bind| {
            let mut free = name.to_owned();
            while taken(&free) {
                free.insert_str(0, "kubridge_");
            }
            let said = proto::Field { bind: bind.into(), ..proto::Field::default() };
            encoded.push(annotated(scalar(&free, number, Type::String), &extension(&said)));
        };
        from_url("name", action.name_number, proto::Bind::Name);
        if let Some(number) = action.namespace {
            from_url("namespace", number, proto::Bind::Namespace);
        }
        self.message(action.input.name(), &encoded, oneofs.declared, None, leading_comment(&action.input))
    }

    fn method(&mut self, name: &str, input: &str, output: &str, streaming: bool, said: &proto::Method) {
        let method = MethodDescriptorProto {
            name: Some(name.to_owned()),
            input_type: Some(input.to_owned()),
            output_type: Some(output.to_owned()),
            server_streaming: Some(streaming),
            ..MethodDescriptorProto::default()
        };
        let mut out = method.encode_to_vec();
        wire::put_bytes(&mut out, 4, &extension(said));
        self.methods.push(out);
    }
}

/// What `kubectl explain` says of the conditions.
const CONDITIONS: &str =
    " What the backend's long-running operations say: Ready, and while it is so Reconciling or Stalled.";

/// The name of the made service.
const SERVICE: &str = "Mapped";

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

fn contract_verb(verb: Verb) -> proto::Verb {
    match verb {
        Verb::Get => proto::Verb::Get,
        Verb::List => proto::Verb::List,
        Verb::Create => proto::Verb::Create,
        Verb::Update => proto::Verb::Update,
        Verb::Delete => proto::Verb::Delete,
    }
}

/// Options with one of our annotations.
fn extension(value: &impl prost::Message) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_bytes(&mut out, EXTENSION, &value.encode_to_vec());
    out
}

/// A field with options.
fn annotated(mut field: Vec<u8>, options: &[u8]) -> Vec<u8> {
    wire::put_bytes(&mut field, 8, options);
    field
}

fn annotation(titles: &Titles, plan: &Plan, mapping: &ResourceMapping) -> proto::Resource {
    let list = |fact: &Option<super::facts::Fact<Vec<String>>>| {
        fact.as_ref().map(|fact| fact.value.clone()).unwrap_or_default()
    };
    let column = |column: &ColumnMapping| proto::Column {
        name: column.name.clone(),
        path: column.path.clone(),
        priority: column.priority,
        ..proto::Column::default()
    };
    let columns = mapping.columns.as_ref().map(|columns| columns.value.iter().map(column).collect());
    let scope = if plan.identity.namespaced() { proto::Scope::Namespaced } else { proto::Scope::Cluster };
    proto::Resource {
        kind: titles.kind.clone(),
        plural: titles.plural.clone(),
        singular: titles.singular.clone(),
        short_names: list(&mapping.short_names),
        categories: list(&mapping.categories),
        scope: scope.into(),
        columns: columns.unwrap_or_default(),
        selectable_fields: list(&mapping.selectable_fields),
        ..proto::Resource::default()
    }
}

fn scalar(name: &str, number: u32, kind: Type) -> Vec<u8> {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: i32::try_from(number).ok(),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        json_name: Some(json_name(name)),
        ..FieldDescriptorProto::default()
    }
    .encode_to_vec()
}

fn own_field(name: &str, number: u32, type_name: &str) -> Vec<u8> {
    message_field(name, number, type_name, Label::Optional)
}

fn list_field(name: &str, number: u32, type_name: &str) -> Vec<u8> {
    message_field(name, number, type_name, Label::Repeated)
}

fn message_field(name: &str, number: u32, type_name: &str, label: Label) -> Vec<u8> {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: i32::try_from(number).ok(),
        label: Some(label.into()),
        r#type: Some(Type::Message.into()),
        type_name: Some(type_name.to_owned()),
        json_name: Some(json_name(name)),
        ..FieldDescriptorProto::default()
    }
    .encode_to_vec()
}

fn json_name(name: &str) -> String {
    crate::model::set::camel_case(name)
}

/// The oneofs of a made message: those of the service's own, and one for each field with a presence of its own.
struct Oneofs {
    declared: Vec<OneofDescriptorProto>,
    known: Vec<String>,
}

impl Oneofs {
    fn of(fields: &[FieldDescriptor]) -> Self {
        let mut known: Vec<String> = Vec::new();
        for field in fields {
            if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic())
                && !known.contains(&oneof.name().to_owned())
            {
                known.push(oneof.name().to_owned());
            }
        }
        let declared = known.iter().map(|name| Self::named(name)).collect();
        Self { declared, known }
    }

    fn named(name: &str) -> OneofDescriptorProto {
        OneofDescriptorProto { name: Some(name.to_owned()), options: None }
    }

    /// The index of the field's oneof, and whether it is there for presence alone.
    fn index(&mut self, field: &FieldDescriptor) -> (Option<i32>, bool) {
        if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            let at = self.known.iter().position(|name| name == oneof.name());
            return (at.and_then(|at| i32::try_from(at).ok()), false);
        }
        let message = matches!(field.kind(), Kind::Message(_));
        if message || field.is_list() || !field.supports_presence() {
            return (None, false);
        }
        self.declared.push(Self::named(&format!("_{}", field.name())));
        (i32::try_from(self.declared.len() - 1).ok(), true)
    }
}

/// The field, as proto3 has it: number, type and JSON name are the same.
fn copy(field: &FieldDescriptor, oneofs: &mut Oneofs, said: &proto::Field) -> Vec<u8> {
    let (kind, type_name) = match field.kind() {
        Kind::Message(message) => (Type::Message, Some(message.full_name().to_owned())),
        Kind::Enum(values) => (Type::Enum, Some(values.full_name().to_owned())),
        Kind::Double => (Type::Double, None),
        Kind::Float => (Type::Float, None),
        Kind::Int32 => (Type::Int32, None),
        Kind::Int64 => (Type::Int64, None),
        Kind::Uint32 => (Type::Uint32, None),
        Kind::Uint64 => (Type::Uint64, None),
        Kind::Sint32 => (Type::Sint32, None),
        Kind::Sint64 => (Type::Sint64, None),
        Kind::Fixed32 => (Type::Fixed32, None),
        Kind::Fixed64 => (Type::Fixed64, None),
        Kind::Sfixed32 => (Type::Sfixed32, None),
        Kind::Sfixed64 => (Type::Sfixed64, None),
        Kind::Bool => (Type::Bool, None),
        Kind::String => (Type::String, None),
        Kind::Bytes => (Type::Bytes, None),
    };
    let repeated = field.cardinality() == Cardinality::Repeated;
    let (oneof_index, presence) = oneofs.index(field);
    let made = FieldDescriptorProto {
        name: Some(field.name().to_owned()),
        number: i32::try_from(field.number()).ok(),
        label: Some(if repeated { Label::Repeated } else { Label::Optional }.into()),
        r#type: Some(kind.into()),
        type_name: type_name.map(|name| format!(".{name}")),
        json_name: Some(field.json_name().to_owned()),
        oneof_index,
        proto3_optional: presence.then_some(true),
        ..FieldDescriptorProto::default()
    };
    let mut options = if *said == proto::Field::default() { Vec::new() } else { extension(said) };
    if field.field_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated()) {
        wire::put_varint(&mut options, 3, 1);
    }
    match options.is_empty() {
        true => made.encode_to_vec(),
        false => annotated(made.encode_to_vec(), &options),
    }
}

/// A number or bool whose zero is not told from absence.
fn is_plain_scalar(field: &FieldDescriptor) -> bool {
    let scalar = !matches!(field.kind(), Kind::Message(_) | Kind::Enum(_) | Kind::String | Kind::Bytes);
    scalar && !field.is_list() && !field.supports_presence()
}

fn leading_comment(message: &MessageDescriptor) -> String {
    raw_comment(&message.parent_file(), message.path())
}

fn field_comment(field: &FieldDescriptor) -> String {
    raw_comment(&field.parent_file(), field.path())
}

/// As the proto has it: it is cleaned where it is read.
fn raw_comment(file: &prost_reflect::FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let Some(location) = location else { return String::new() };
    let leading = location.leading_comments();
    if leading.trim().is_empty() { location.trailing_comments().to_owned() } else { leading.to_owned() }
}
