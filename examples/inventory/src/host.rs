//! The machine that this runs on, as the system describes itself under /proc, /sys and /etc.
//! What is not there (another system, a container) is left out.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    contract::{ObjectMeta, Quantity, Time},
    kind::{is_serial, set_power},
    v1::{Disk, Machine, MachineSpec, MachineStatus, PowerState, Rack, RackSpec, RackStatus},
    verbs::now,
};

/// The rack that the host stands in.
pub(crate) const RACK: &str = "local";

/// The host. It has no uid and no generation: whoever makes objects outside Kubridge need not know of them.
pub(crate) fn machine(root: &Path) -> Machine {
    let text = |path: &str| read(root, path);
    let hostname = text("proc/sys/kernel/hostname").or_else(|| text("etc/hostname")).unwrap_or_default();
    let os_release = text("etc/os-release").unwrap_or_default();
    let cpuinfo = text("proc/cpuinfo").unwrap_or_default();
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let cpus = if cpus > 0 { cpus } else { std::thread::available_parallelism().map_or(0, usize::from) };
    let memory = text("proc/meminfo").and_then(|info| {
        let kib = after(&info, "MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()?;
        Some(Quantity { string: format!("{kib}Ki") })
    });
    let serial = ["sys/class/dmi/id/product_serial", "etc/machine-id"].into_iter().filter_map(text);
    let serial = serial.chain([hostname.clone(), "unknown".to_owned()]).find(|serial| is_serial(serial));
    let attributes = [
        ("kernel", "proc/sys/kernel/osrelease"),
        ("vendor", "sys/class/dmi/id/sys_vendor"),
        ("product", "sys/class/dmi/id/product_name"),
        ("bios", "sys/class/dmi/id/bios_version"),
    ];
    let attributes: BTreeMap<_, _> =
        attributes.into_iter().filter_map(|(name, path)| Some((name.to_owned(), text(path)?))).collect();
    let now = now();
    let labels = [("kubernetes.io/arch", std::env::consts::ARCH), ("inventory.example.com/host", "true")];
    let metadata = ObjectMeta {
        name: object_name(&hostname),
        namespace: "default".to_owned(),
        creation_timestamp: Some(Time { seconds: now.seconds, nanos: 0 }),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ..Default::default()
    };
    let boot = text("proc/stat").and_then(|stat| after(&stat, "btime")?.trim().parse().ok());
    let mut status =
        MachineStatus { boot_time: boot.map(|seconds| Time { seconds, nanos: 0 }), ..Default::default() };
    set_power(&mut status, PowerState::On, 0, now);
    let spec = MachineSpec {
        serial: serial.unwrap_or_default(),
        rack: RACK.to_owned(),
        power: PowerState::On.into(),
        cpus: i64::try_from(cpus).unwrap_or(0),
        cpu_model: cpuinfo.lines().find_map(|line| value(line, "model name", ':')).unwrap_or_default(),
        memory,
        disks: disks(root),
        os: os_release.lines().find_map(|line| value(line, "PRETTY_NAME", '=')).unwrap_or_default(),
        attributes,
        power_off_grace: None,
    };
    Machine { metadata: Some(metadata.into()), spec: Some(spec), status: Some(status) }
}

/// The rack that the host stands in.
pub(crate) fn rack() -> Rack {
    let created = Some(Time { seconds: now().seconds, nanos: 0 });
    let metadata = ObjectMeta { name: RACK.to_owned(), creation_timestamp: created, ..Default::default() };
    Rack {
        metadata: Some(metadata.into()),
        spec: Some(RackSpec { location: "here".to_owned(), units: 42, battery_time: None }),
        status: Some(RackStatus { free_units: 41, powered: true, conditions: Vec::new() }),
    }
}

fn disks(root: &Path) -> Vec<Disk> {
    let Ok(entries) = fs::read_dir(root.join("sys/block")) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names
        .retain(|name| !["loop", "ram", "zram", "dm-", "sr", "fd"].iter().any(|made| name.starts_with(made)));
    names.sort();
    let disk = |name: String| {
        let text = |path: &str| read(root, &format!("sys/block/{name}/{path}"));
        // In sectors of 512 bytes, whatever the disk's own are.
        let sectors: u64 = text("size")?.parse().ok().filter(|sectors| *sectors > 0)?;
        let size = Some(Quantity { string: format!("{}Ki", sectors / 2) });
        let rotational = text("queue/rotational").is_some_and(|flag| flag == "1");
        Some(Disk { size, model: text("device/model").unwrap_or_default(), rotational, name })
    };
    names.into_iter().filter_map(disk).collect()
}

/// What a file says, without the white space around it; `None` where it says nothing.
fn read(root: &Path, path: &str) -> Option<String> {
    let text = fs::read(root.join(path)).ok()?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(word))
}

fn value(line: &str, key: &str, separator: char) -> Option<String> {
    let (name, value) = line.split_once(separator)?;
    (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
}

/// A name that Kubernetes takes (RFC 1123 label) from one that the system has.
fn object_name(hostname: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = hostname.chars().map(letter).take(63).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kind::Kind as _;

    #[test]
    fn reads_a_system() {
        let root = std::env::temp_dir().join(format!("inventory-host-{}", std::process::id()));
        for (path, text) in [
            ("proc/sys/kernel/hostname", "My_Box.example\n"),
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: Fast 9000\nprocessor\t: 1\nmodel name\t: Fast 9000\n",
            ),
            ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            ("proc/stat", "cpu 1\nbtime 1700000000\n"),
            ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 1\"\n"),
            ("etc/machine-id", "0123456789abcdef\n"),
            ("sys/class/dmi/id/product_serial", "Not Specified\n"),
            ("sys/block/sda/size", "2048\n"),
            ("sys/block/sda/queue/rotational", "1\n"),
            ("sys/block/loop0/size", "8\n"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = machine(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(machine.violations(), []);
        let meta = machine.metadata.as_ref().unwrap().decode_fields().unwrap();
        assert_eq!((meta.name.as_str(), meta.uid.as_str(), meta.generation), ("my-box-example", "", 0));
        let spec = machine.spec.unwrap();
        assert_eq!((spec.cpus, spec.cpu_model.as_str(), spec.os.as_str()), (2, "Fast 9000", "Some Linux 1"));
        assert_eq!(
            (spec.serial.as_str(), spec.memory.unwrap().string.as_str()),
            ("0123456789abcdef", "16384Ki")
        );
        let size = Some(Quantity { string: "1024Ki".into() });
        assert_eq!(spec.disks, [Disk { name: "sda".into(), size, model: String::new(), rotational: true }]);
        assert_eq!(machine.status.unwrap().boot_time.unwrap().seconds, 1_700_000_000);
    }

    #[test]
    fn nothing_to_read_is_no_fault() {
        let machine = machine(Path::new("/nonexistent"));
        assert_eq!(machine.violations(), []);
        assert_eq!(machine.metadata.unwrap().decode_fields().unwrap().name, "localhost");
    }
}
