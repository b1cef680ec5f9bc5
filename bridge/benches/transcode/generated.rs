//! `bench.proto` as code generators write it: prost's derive for the wire, serde's for JSON.

use std::collections::HashMap;

use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! message {
    ($(#[$attribute:meta])* $name:ident { $($body:tt)* }) => {
        $(#[$attribute])*
        #[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(crate) struct $name { $($body)* }
    };
}

message!(Meta {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) uid: String,
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) resource_version: String,
    #[prost(int64, tag = "5")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) generation: i64,
    #[prost(message, optional, tag = "6")]
    #[serde(with = "timestamp", skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Timestamp>,
    #[prost(map = "string, string", tag = "7")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "8")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) annotations: HashMap<String, String>,
});

message!(Condition {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) r#type: String,
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) status: String,
    #[prost(int64, tag = "3")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) observed_generation: i64,
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) reason: String,
    #[prost(string, tag = "5")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) message: String,
});

message!(Spec {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) serial: String,
    #[prost(int32, tag = "2")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) cpus: i32,
    #[prost(int64, tag = "3")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) memory: i64,
    #[prost(enumeration = "Power", tag = "4")]
    #[serde(with = "power", skip_serializing_if = "zero")]
    pub(crate) power: i32,
    #[prost(string, repeated, tag = "5")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) disks: Vec<String>,
    #[prost(bool, tag = "6")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) locked: bool,
    #[prost(double, tag = "7")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) weight: f64,
});

message!(Status {
    #[prost(enumeration = "Power", tag = "1")]
    #[serde(with = "power", skip_serializing_if = "zero")]
    pub(crate) power: i32,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) conditions: Vec<Condition>,
    #[prost(int64, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uptime: Option<i64>,
});

message!(Machine {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spec: Option<Spec>,
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Status>,
});

message!(MachineList {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Meta>,
    #[prost(message, repeated, tag = "2")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) items: Vec<Machine>,
});

message!(Texts {
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) lines: Vec<String>,
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) body: String,
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) log: String,
});

message!(Numbers {
    #[prost(double, repeated, tag = "1")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) doubles: Vec<f64>,
    #[prost(int64, repeated, tag = "2")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) longs: Vec<i64>,
    #[prost(int32, repeated, tag = "3")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) ints: Vec<i32>,
    #[prost(uint64, repeated, tag = "4")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) counters: Vec<u64>,
    #[prost(float, repeated, tag = "5")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) floats: Vec<f32>,
    #[prost(int64, tag = "6")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) total: i64,
    #[prost(double, tag = "7")]
    #[serde(skip_serializing_if = "zero")]
    pub(crate) mean: f64,
});

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration, Serialize, Deserialize)]
#[repr(i32)]
pub(crate) enum Power {
    Unknown = 0,
    On = 1,
    Off = 2,
}

mod power {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Power;

    pub(super) fn serialize<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        match Power::try_from(*number) {
            Ok(power) => power.serialize(serializer),
            Err(_) => serializer.serialize_i32(*number),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        Power::deserialize(deserializer).map(i32::from)
    }
}

mod timestamp {
    use std::borrow::Cow;

    use prost_types::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Some).map_err(D::Error::custom)
    }
}
