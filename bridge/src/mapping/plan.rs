//! A mapping, compiled against the descriptors: what is called, and what goes where.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use prost_reflect::MessageDescriptor;

use super::{
    facts::{Home, Verb},
    identity::Identity,
    shape::Shapes,
};

/// How the calls to a mapped schema are made.
#[derive(Debug, Default)]
pub struct Mapped {
    pub(super) plans: Vec<Plan>,
    /// By the paths that the schema's methods have.
    pub(super) calls: HashMap<Arc<str>, (usize, Role)>,
    /// What was derived, for people.
    pub(super) mapping: super::facts::Mapping,
}

impl Mapped {
    /// The mapping that this was compiled of, with the origin of every fact.
    pub fn mapping(&self) -> &super::facts::Mapping {
        &self.mapping
    }
}

/// What a method of the mapped schema does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Verb(Verb),
    /// Which of the plan's actions.
    Action(usize),
}

/// One resource.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: String,
    pub(super) message: MessageDescriptor,
    pub(super) identity: Identity,
    /// Where each field of the message goes, by its number.
    pub(super) homes: HashMap<u32, Home>,
    /// The number of the field that goes to a part of the metadata.
    pub(super) metadata: HashMap<Home, u32>,
    pub(super) shapes: Shapes,
    /// Top-level fields that a mapping file makes required, by proto name, beside those of the annotations.
    pub(super) required: Vec<(u32, String)>,
    pub(super) immutable: Vec<u32>,
    pub(super) input_only: Vec<u32>,
    pub(super) methods: BTreeMap<Verb, MethodPlan>,
    pub(super) actions: Vec<ActionPlan>,
    /// The contract form has a status.
    pub(super) has_status: bool,
    /// What operations say of an object, where they can be found again.
    pub(super) operations: Option<OperationsPlan>,
    /// By pattern: the plan that lists the parents.
    pub(super) parents: Vec<Option<usize>>,
    /// Whether the service lists the children of all parents at once, by the parent `-` (AIP-159).
    pub(super) any_parent: Learnt,
}

impl Plan {
    /// The number of the field that goes to a part of the metadata.
    pub(super) fn field(&self, home: Home) -> Option<u32> {
        self.metadata.get(&home).copied()
    }

    /// Whether clients give the field.
    pub(super) fn is_given(&self, number: u32) -> bool {
        matches!(self.homes.get(&number), Some(Home::Spec | Home::Labels | Home::Annotations))
    }
}

/// How operations become conditions.
#[derive(Debug)]
pub(super) struct OperationsPlan {
    /// The number of `conditions` in the status.
    pub(super) conditions: u32,
    /// By the full name of their metadata: where it says which object they are about.
    pub(super) about: HashMap<String, About>,
    /// Whether the service has ListOperations.
    pub(super) listed: Learnt,
}

/// What the metadata of an operation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// The field with the resource's name.
    pub(super) resource: u32,
    /// The field with the time at which it began.
    pub(super) begun: Option<u32>,
}

/// Something of a service that is found out by asking.
#[derive(Debug, Default)]
pub(super) struct Learnt(AtomicU8);

impl Learnt {
    /// `Some(true)`: it is so; `Some(false)`: it is not.
    pub(super) fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            known => Some(known == 1),
        }
    }

    pub(super) fn set(&self, works: bool) {
        self.0.store(if works { 1 } else { 2 }, Ordering::Relaxed);
    }
}

/// One method of the service.
#[derive(Debug)]
pub(super) struct MethodPlan {
    /// `/library.v1.LibraryService/GetBook`.
    pub(super) path: Arc<str>,
    pub(super) fills: Vec<Fill>,
    pub(super) answer: Answer,
    /// The request's field with the object, by its name: the service names it in violations.
    pub(super) body: String,
}

impl MethodPlan {
    pub(super) fn fills(&self, what: &What) -> bool {
        self.fills.iter().any(|fill| fill.what == *what)
    }
}

/// A custom method.
#[derive(Debug)]
pub(super) struct ActionPlan {
    /// "archive".
    pub(super) name: String,
    pub(super) path: Arc<str>,
    pub(super) streaming: bool,
    /// The request's fields that come from the URL.
    pub(super) fills: Vec<Fill>,
    /// The numbers of `namespace` and `name` in the mapped request.
    pub(super) namespace: Option<u32>,
    pub(super) name_number: u32,
    pub(super) answer: Answer,
    pub(super) input: MessageDescriptor,
    /// What the answer is: the foreign message, or that which its operation ends in.
    pub(super) output: MessageDescriptor,
}

/// One field of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fill {
    pub(super) number: u32,
    pub(super) what: What,
    /// The field is a number.
    pub(super) integer: bool,
}

/// What a field of a request is filled with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    ResourceName,
    Parent,
    Id,
    Variable(String),
    Namespace,
    Object,
    /// The field of the message with this number.
    Field(u32),
    UpdateMask,
    Etag,
    DryRun,
    RequestId,
    PageSize,
    PageToken,
    /// The whole field, on the wire.
    Constant(Vec<u8>),
}

/// Where the answer has what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is it.
    Object,
    /// In this field.
    Within(u32),
    /// Nowhere: the object is read again.
    Nothing,
    /// It is a `google.longrunning.Operation`.
    Operation,
    List {
        items: u32,
        next_page_token: Option<u32>,
        /// The field that names what could not be reached (AIP-217).
        unreachable: Option<u32>,
    },
}
