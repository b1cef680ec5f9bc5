//! Descriptor-set bytes -> descriptors. What every compiler and reflection server leaves out
//! or sends twice is mended here.

use std::collections::{HashMap, HashSet};

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::{DescriptorProto, FileDescriptorProto};

use super::fault::{Faults, Place};
use crate::{proto, wire};

/// The number of `file` in `google.protobuf.FileDescriptorSet`.
const FILE: u32 = 1;

/// Reads a `google.protobuf.FileDescriptorSet`. Files that stand there twice count once; missing files
/// of google.protobuf, google.rpc and kubridge.v1 are added.
pub(crate) fn read(bytes: &[u8]) -> Result<DescriptorPool, Faults> {
    let mut faults = Faults::default();
    let unreadable = "send the bytes that the compiler wrote: `protoc --include_imports --include_source_info \
                      --descriptor_set_out=FILE`, or `buf build -o FILE`";
    let mut files: Vec<(FileDescriptorProto, Vec<u8>)> = Vec::new();
    let mut seen = HashSet::new();
    for field in wire::fields(bytes) {
        // prost's own types lose custom options: they only tell names and imports, the raw bytes are kept.
        let read = field.map_err(|error| error.to_string()).and_then(|field| match field.number {
            FILE => FileDescriptorProto::decode(field.value)
                .map(|file| Some((file, field.value.to_vec())))
                .map_err(|error| error.to_string()),
            _ => Ok(None),
        });
        match read {
            Ok(Some((file, raw))) => {
                if seen.insert(file.name().to_owned()) {
                    files.push((file, raw));
                }
            }
            Ok(None) => {}
            Err(error) => {
                faults.add_set(format!("not a google.protobuf.FileDescriptorSet: {error}"), unreadable);
                return Err(faults);
            }
        }
    }
    if files.is_empty() {
        faults.add_set("the descriptor set is empty", unreadable);
        return Err(faults);
    }
    add_known(&mut files, &mut seen);
    for (file, _) in &files {
        for import in file.dependency.iter().filter(|import| !seen.contains(*import)) {
            faults.add_field(
                Place::file(file.name()),
                "",
                format!("imports {import}, which is not in the descriptor set"),
                "include all imports: `protoc --include_imports`, or `buf build`",
            );
        }
    }
    for (file, _) in &files {
        for message in &file.message_type {
            json_names(file.name(), file.package(), message, &mut faults);
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut set = Vec::with_capacity(bytes.len());
    for (_, raw) in &files {
        wire::put_bytes(&mut set, FILE, raw);
    }
    DescriptorPool::decode(set.as_slice()).map_err(|error| {
        faults.add_set(
            format!("the descriptors contradict themselves: {error}"),
            "compile the files together with protoc or buf, which names the place",
        );
        faults
    })
}

/// Two fields with one name in JSON. Here, because a pool of such descriptors cannot be built.
fn json_names(file: &str, scope: &str, message: &DescriptorProto, faults: &mut Faults) {
    let element =
        if scope.is_empty() { message.name().to_owned() } else { format!("{scope}.{}", message.name()) };
    let mut names: HashMap<String, &str> = HashMap::new();
    for field in &message.field {
        let name = field.json_name.clone().unwrap_or_else(|| camel_case(field.name()));
        if let Some(other) = names.insert(name.clone(), field.name()) {
            faults.add_field(
                Place::element(file, &element),
                field.name(),
                format!("{} and {other} are both {name:?} in JSON", field.name()),
                "rename one, or give it a `json_name`",
            );
        }
    }
    for nested in &message.nested_type {
        json_names(file, &element, nested, faults);
    }
}

/// The JSON name that a compiler gives a field: `pod_cidr` -> `podCidr`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut upper = false;
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    out
}

/// Adds the files that everybody knows, where an import leads to them and they are missing.
fn add_known(files: &mut Vec<(FileDescriptorProto, Vec<u8>)>, seen: &mut HashSet<String>) {
    let missing = |file: &FileDescriptorProto, seen: &HashSet<String>| {
        file.dependency.iter().any(|import| !seen.contains(import))
    };
    if !files.iter().any(|(file, _)| missing(file, seen)) {
        return;
    }
    let known = known();
    let mut at = 0;
    while let Some((file, _)) = files.get(at) {
        for import in file.dependency.clone() {
            if let Some((file, raw)) = known.get(&import)
                && seen.insert(import)
            {
                files.push((file.clone(), raw.clone()));
            }
        }
        at += 1;
    }
}

fn known() -> HashMap<String, (FileDescriptorProto, Vec<u8>)> {
    let global = DescriptorPool::global();
    let mut known: HashMap<_, _> = global
        .files()
        .map(|file| (file.name().to_owned(), (file.file_descriptor_proto().clone(), file.encode_to_vec())))
        .collect();
    for field in wire::fields(proto::DESCRIPTORS).flatten() {
        if let Ok(file) = FileDescriptorProto::decode(field.value) {
            known.entry(file.name().to_owned()).or_insert_with(|| (file, field.value.to_vec()));
        }
    }
    known
}
