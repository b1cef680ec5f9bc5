//! A backend with objects, the ledger before it, and its poller.

use std::collections::BTreeMap;

use bytes::Bytes;
use kubridge_bridge::{
    ledger::{Ledger, Limits, Listing, Numbering, Poll, PollFault, Scope, Sight},
    model::{Rules, Schema},
    object,
    proto::{ObjectMeta, Time},
    transcode::MessageType,
    wire,
};
use prost::Message as _;

use crate::compile::compile;

/// What the backend writes as resourceVersion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// One rising sequence: the contract.
    Numbers,
    /// Etags.
    Opaque,
    /// Nothing.
    None,
    /// A sequence of its own for each object, and none for lists: not the contract.
    PerObject,
}

#[derive(Debug, Clone)]
pub struct Object {
    pub state: u64,
    pub label: String,
    uid: String,
    revision: u64,
}

pub type Key = (String, String);

pub struct World {
    pub ledger: Ledger,
    pub objects: BTreeMap<Key, Object>,
    tokens: Tokens,
    version: u64,
    /// A poll of which half is read, and what is left of it.
    half: Option<(Poll, Vec<Bytes>, String)>,
}

const PROTO: &str = r#"
    syntax = "proto3";
    package t.v1;
    import "kubridge/v1/api.proto";
    import "kubridge/v1/meta.proto";
    import "kubridge/v1/requests.proto";
    option (kubridge.v1.api) = { group: "t.example.com" version: "v1" };
    message Thing {
      option (kubridge.v1.resource) = { plural: "things" };
      kubridge.v1.ObjectMeta metadata = 1;
    }
    message ListThingsResponse {
      kubridge.v1.ListMeta metadata = 1;
      repeated Thing items = 2;
    }
    service Things { rpc ListThings(kubridge.v1.ListRequest) returns (ListThingsResponse); }
"#;

thread_local! {
    static MESSAGE: MessageType =
        Schema::from_descriptor_set(&compile("t/v1/t.proto", PROTO), Rules::default()).unwrap().apis[0].resources[0]
            .message
            .clone();
}

pub fn message() -> MessageType {
    MESSAGE.with(Clone::clone)
}

pub const START: u64 = 1_795_410_297 << 24;

impl World {
    /// `small`: the ledger has hardly any room.
    pub fn new(tokens: Tokens, small: bool) -> Self {
        let limits = if small { Limits { objects: 50, changes: 2, bytes: 300 } } else { Limits::default() };
        let numbering = match tokens {
            // It is not said of the last one: the ledger finds out.
            Tokens::Numbers | Tokens::PerObject => Numbering::Backend,
            Tokens::Opaque => Numbering::Ledger { opaque: true },
            Tokens::None => Numbering::Ledger { opaque: false },
        };
        let ledger = Ledger::new(message(), numbering, limits, START);
        Self { ledger, objects: BTreeMap::new(), tokens, version: 7, half: None }
    }

    pub fn key(name: u8) -> Key {
        (format!("n{}", name % 2), format!("o{name}"))
    }

    /// As the backend sends it.
    pub fn wire(&self, key: &Key) -> Option<Bytes> {
        let object = self.objects.get(key)?;
        let token = match self.tokens {
            Tokens::Numbers => object.state.to_string(),
            Tokens::Opaque => format!("etag-{:x}", object.state.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            Tokens::None => String::new(),
            Tokens::PerObject => object.revision.to_string(),
        };
        let meta = ObjectMeta {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: object.uid.clone(),
            creation_timestamp: Some(Time { seconds: 5, nanos: 0 }),
            resource_version: token,
            labels: [("t".to_owned(), object.label.clone()), ("state".to_owned(), object.state.to_string())]
                .into(),
            ..ObjectMeta::default()
        };
        let mut out = Vec::new();
        wire::put_bytes(&mut out, object::METADATA, &meta.encode_to_vec());
        Some(out.into())
    }

    fn list_version(&self) -> String {
        match self.tokens {
            Tokens::Numbers => self.version.to_string(),
            Tokens::Opaque | Tokens::None | Tokens::PerObject => String::new(),
        }
    }

    pub fn all(&self, namespace: &str) -> (Vec<Bytes>, String) {
        let in_it = |key: &&Key| namespace.is_empty() || key.0 == namespace;
        let items = self.objects.keys().filter(in_it).map(|key| self.wire(key).unwrap()).collect();
        (items, self.list_version())
    }

    pub fn write(&mut self, name: u8, label: u8, ours: bool) {
        let since = self.ledger.stamp();
        self.version += 1;
        let version = self.version;
        let key = Self::key(name);
        let object = self.objects.entry(key.clone()).or_insert_with(|| Object {
            state: 0,
            label: String::new(),
            uid: format!("u{version}"),
            revision: 0,
        });
        object.state = version;
        object.revision += 1;
        object.label = label.to_string();
        if ours {
            let wire = self.wire(&key).unwrap();
            self.ledger.observe(since, &Sight::of(&wire).unwrap());
        }
    }

    pub fn delete(&mut self, name: u8) {
        if self.objects.remove(&Self::key(name)).is_some() {
            self.version += 1;
        }
    }

    pub fn get(&mut self, name: u8) {
        let since = self.ledger.stamp();
        if let Some(wire) = self.wire(&Self::key(name)) {
            self.ledger.observe(since, &Sight::of(&wire).unwrap());
        }
    }

    pub fn poll(&mut self) {
        if let Some((mut poll, rest, version)) = self.half.take() {
            let done = self.ledger.poll_reads(&mut poll, &rest);
            let _fault = done.and_then(|()| self.ledger.poll_ends(&poll, &version).map(drop));
        }
        let mut tries = 0;
        loop {
            let (items, version) = self.all("");
            let mut poll = self.ledger.poll_begins();
            let done = self.ledger.poll_reads(&mut poll, &items);
            match done.and_then(|()| self.ledger.poll_ends(&poll, &version)) {
                Ok(_) => return,
                Err(PollFault::Again) if tries < 3 => tries += 1,
                Err(fault) => panic!("{fault}"),
            }
        }
    }

    pub fn poll_half(&mut self) {
        if self.half.is_some() {
            return self.poll();
        }
        let (items, version) = self.all("");
        let mut poll = self.ledger.poll_begins();
        let (first, rest) = items.split_at(items.len() / 2);
        if self.ledger.poll_reads(&mut poll, first).is_ok() {
            self.half = Some((poll, rest.to_vec(), version));
        }
    }

    /// Tells items of a list to a client: as it gets them.
    pub fn tell(&mut self, listing: &mut Listing, items: &[Bytes]) -> Vec<Bytes> {
        let sights: Vec<_> = items.iter().map(|item| Sight::of(item).unwrap()).collect();
        match self.ledger.list_tells(listing, &sights) {
            None => items.to_vec(),
            Some(versions) => items
                .iter()
                .zip(versions)
                .map(|(item, version)| object::with_version(item, &version.to_string()).unwrap().into())
                .collect(),
        }
    }

    pub fn begin_list(&self, namespace: &str) -> Listing {
        self.ledger.list_begins(Scope::new(namespace, "", ""), None)
    }
}
