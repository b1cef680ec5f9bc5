//! The five shapes.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::Timestamp;

use crate::generated::{Condition, Machine, MachineList, Meta, Numbers, Power, Spec, Status, Texts};

/// Name, message type, wire.
pub(crate) fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let items = (0..10_000).map(small).collect();
    let metadata = Some(Meta { resource_version: "4711".into(), ..Meta::default() });
    vec![
        ("small object", "bench.v1.Machine", small(7).encode_to_vec()),
        ("1 KiB object", "bench.v1.Machine", medium().encode_to_vec()),
        ("text-heavy", "bench.v1.Texts", texts().encode_to_vec()),
        ("number-heavy", "bench.v1.Numbers", numbers().encode_to_vec()),
        ("list of 10,000", "bench.v1.MachineList", MachineList { metadata, items }.encode_to_vec()),
    ]
}

fn small(n: i32) -> Machine {
    Machine {
        metadata: Some(Meta {
            name: format!("machine-{n:05}"),
            namespace: "default".into(),
            uid: format!("f2b3a57a-5b0e-47d7-926d-0c436b1{n:05}"),
            resource_version: (100_000 + n).to_string(),
            generation: 1,
            created: Some(Timestamp { seconds: 1_795_410_307 + i64::from(n), nanos: 0 }),
            ..Meta::default()
        }),
        spec: Some(Spec { serial: format!("SN-{n}"), cpus: 8, power: Power::On.into(), ..Spec::default() }),
        status: Some(Status { power: Power::Off.into(), ..Status::default() }),
    }
}

fn medium() -> Machine {
    let pairs = |prefix: &str, value: &str, count: usize| -> HashMap<String, String> {
        (0..count).map(|n| (format!("{prefix}/key-{n}"), format!("{value}-{n}"))).collect()
    };
    let condition = |name: &str| Condition {
        r#type: name.into(),
        status: "True".into(),
        observed_generation: 3,
        reason: "AllIsWell".into(),
        message: "the machine answers on its management port".into(),
    };
    let mut machine = small(1);
    if let (Some(metadata), Some(spec), Some(status)) =
        (&mut machine.metadata, &mut machine.spec, &mut machine.status)
    {
        metadata.labels = pairs("example.com", "value", 5);
        metadata.annotations = pairs("tools.example.com", "some longer annotation", 3);
        spec.memory = 274_877_906_944;
        spec.disks = (0..4).map(|n| format!("/dev/disk/by-id/nvme-{n}")).collect();
        spec.locked = true;
        spec.weight = 17.25;
        status.conditions = vec![condition("Ready"), condition("Reachable")];
        status.uptime = Some(86_400);
    }
    machine
}

fn texts() -> Texts {
    let line = "The quick brown fox jumps over the lazy dog, and does so again and again; ";
    Texts {
        lines: (0..40).map(|n| format!("{n}: {}", line.repeat(1 + n % 3))).collect(),
        body: line.repeat(60),
        log: (0..40)
            .map(|n| format!("2026-11-23 level=info msg=\"machine {n} is up\" zone=Zürich\n"))
            .collect(),
    }
}

fn numbers() -> Numbers {
    Numbers {
        doubles: (0..300).map(|n| f64::from(n) * 1.37 + 0.1 / f64::from(n + 1)).collect(),
        longs: (0..300).map(|n| (n * 7_919_i64).pow(3) - 1_000_000_000).collect(),
        ints: (0..300).map(|n| n * 37 - 5_000).collect(),
        counters: (0..100).map(|n| n * 1_234_567_891).collect(),
        floats: (0..100).map(|n| n as f32 / 8.0).collect(),
        total: 123_456_789_012,
        mean: 0.123_456_789,
    }
}
