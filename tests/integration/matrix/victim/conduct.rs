//! How a server behaves, and what its answers are when it behaves well.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use inventory::{
    contract::{GetRequest, ObjectMeta},
    v1::{CreateMachineRequest, Machine, MachineSpec},
};
use prost::Message as _;
use serde_json::{Value, json};

/// The group that victims serve. As long as the inventory's, so that its descriptors can be made theirs.
pub const GROUP: &str = "hazardous.example.com";

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Well,
    /// Accepts connections and says nothing.
    Silent,
    /// Shows a certificate of another CA.
    Disguised,
    /// Answers requests for machines after this long.
    Slow(Duration),
    /// Breaks the connection in the middle of each answer.
    Dies,
    /// Answers one request on a connection, then says goodbye to it.
    SaysGoodbye,
    /// Says goodbye instead of an answer: the request is none of those that were taken up.
    TurnsAway,
    /// Does what is asked and resets the stream instead of an answer; in HTTP/1.1 the connection.
    Resets,
    /// Resets each stream with REFUSED_STREAM, and does nothing.
    Refuses,
    /// Says nothing that could be HTTP.
    Babbles,
    /// Answers with a message that is none.
    Scrambles,
}

/// The conduct of the moment, which may change.
#[derive(Debug, Clone)]
pub struct Mood(Arc<Mutex<Conduct>>);

impl Mood {
    pub fn new(conduct: Conduct) -> Self {
        Self(Arc::new(Mutex::new(conduct)))
    }

    pub fn get(&self) -> Conduct {
        *self.0.lock().unwrap()
    }

    pub fn set(&self, conduct: Conduct) {
        *self.0.lock().unwrap() = conduct;
    }
}

/// What a victim is seen to do.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'a> {
    /// A write, by the name of its object.
    Write(&'a str),
    /// It was asked for something that no client asks for: its schema, its documents, its health.
    Question,
}

/// Told of each.
pub type Record = Arc<dyn Fn(Deed<'_>) + Send + Sync>;

/// An answer in Kubernetes' JSON: status and body.
pub fn rest(method: &str, path: &str, body: &[u8], record: &Record) -> (u16, Vec<u8>) {
    let version = format!("/apis/{GROUP}/v1");
    let machines = format!("{version}/namespaces/default/machines");
    if !path.starts_with(&machines) {
        record(Deed::Question);
    }
    let (status, object) = if path == version {
        let verbs = ["create", "get"];
        let machines = json!({"name": "machines", "singularName": "machine", "namespaced": true, "kind": "Machine", "verbs": verbs});
        let group_version = format!("{GROUP}/v1");
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": [machines]});
        (200, list)
    } else if method == "POST" && path == machines {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        record(Deed::Write(name));
        (201, object(name))
    } else if let Some(name) = path.strip_prefix(&machines).and_then(|rest| rest.strip_prefix('/')) {
        (200, object(name))
    } else {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "not here", "code": 404});
        (404, status)
    };
    (status, object.to_string().into_bytes())
}

fn object(name: &str) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Machine", "metadata": {"name": name, "namespace": "default"}})
}

/// The answer to a gRPC call: one message. `None`: there is no such method.
pub fn grpc(path: &str, message: &[u8], record: &Record) -> Option<Vec<u8>> {
    if !path.starts_with("/inventory.v1.") {
        record(Deed::Question);
    }
    let machine = match path {
        "/kubridge.v1.Schema/Get" => {
            let schema = kubridge_bridge::proto::GetSchemaResponse {
                file_descriptor_set: crate::support::Hostile::renamed(["inventory.example.com"], [GROUP]),
                etag: "1".to_owned(),
                not_modified: false,
            };
            return Some(schema.encode_to_vec());
        }
        // SERVING
        "/grpc.health.v1.Health/Check" | "/grpc.health.v1.Health/Watch" => return Some(vec![0x08, 1]),
        "/inventory.v1.Machines/GetMachine" => machine(&GetRequest::decode(message).ok()?.name),
        "/inventory.v1.Machines/CreateMachine" => {
            let machine = CreateMachineRequest::decode(message).ok()?.machine?;
            record(Deed::Write(&machine.metadata.as_ref()?.decode_fields().ok()?.name));
            machine
        }
        _ => return None,
    };
    Some(machine.encode_to_vec())
}

fn machine(name: &str) -> Machine {
    let metadata =
        ObjectMeta { name: name.to_owned(), namespace: "default".to_owned(), ..ObjectMeta::default() };
    let spec = MachineSpec { serial: format!("S-{name}"), ..MachineSpec::default() };
    Machine { metadata: Some(metadata.into()), spec: Some(spec), ..Machine::default() }
}
