//! Objects -> `meta.k8s.io/v1` Table: what `kubectl get` prints.
//! Columns are those of a CustomResourceDefinition: Name, the resource's own, Age.

mod age;
mod cell;
mod check;
mod path;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use self::cell::Cell;
pub use self::{age::human_duration, path::JsonPath};
use crate::{
    model::Resource,
    negotiate::{IncludeObject, MetaVersion},
    transcode::{FieldType, MessageType, Noticed, TypeMeta, WireError},
};

/// The columns of a resource, compiled once.
#[derive(Debug, Clone)]
pub struct TableColumns {
    message: MessageType,
    metadata: Option<FieldType>,
    api_version: String,
    kind: String,
    /// `columnDefinitions`.
    definitions: Vec<u8>,
    name: Option<Cell>,
    columns: Vec<Column>,
    age: Option<Cell>,
}

/// A column between Name and Age.
#[derive(Debug, Clone)]
enum Column {
    /// `None`: the path leads nowhere (the lint says so); the cell is null.
    Path(Option<Cell>),
    /// See [`crate::model::Column::compute`].
    Computed(fn(&[u8]) -> String),
}

#[derive(serde::Serialize)]
struct Definition<'a> {
    name: &'a str,
    r#type: &'a str,
    format: &'a str,
    description: &'a str,
    priority: i32,
}

const NAME: &str = "Name must be unique within a namespace.";
const AGE: &str = "The time since the object was created.";

impl TableColumns {
    /// Compiles the columns of a resource.
    pub fn compile(resource: &Resource) -> Self {
        let message = &resource.message;
        let fixed = |path: &str, kind: &str| {
            JsonPath::parse(path).ok().and_then(|p| Cell::compile(&p, kind, message))
        };
        let paths: Vec<_> = resource.columns.iter().map(|c| JsonPath::parse(&c.path).ok()).collect();
        let types: Vec<&str> = resource
            .columns
            .iter()
            .zip(&paths)
            .map(|(column, path)| match column.column_type.as_str() {
                "" => path.as_ref().and_then(|p| p.column_type(message)).unwrap_or("string"),
                given => given,
            })
            .collect();
        let mut definitions = vec![Definition {
            name: "Name",
            r#type: "string",
            format: "name",
            description: NAME,
            priority: 0,
        }];
        definitions.extend(resource.columns.iter().zip(&types).map(|(column, r#type)| Definition {
            name: &column.name,
            r#type,
            format: &column.format,
            description: &column.description,
            priority: column.priority,
        }));
        definitions.push(Definition {
            name: "Age",
            r#type: "date",
            format: "",
            description: AGE,
            priority: 0,
        });
        Self {
            message: message.clone(),
            metadata: message.field("metadata"),
            api_version: resource.api_version(),
            kind: resource.kind.clone(),
            definitions: serde_json::to_vec(&definitions).expect("columns are plain strings and numbers"),
            name: fixed(".metadata.name", "string"),
            columns: paths
                .iter()
                .zip(&types)
                .zip(&resource.columns)
                .map(|((path, kind), column)| match (column.compute, path) {
                    (Some(compute), _) => Column::Computed(compute),
                    (None, path) => {
                        Column::Path(path.as_ref().and_then(|path| Cell::compile(path, kind, message)))
                    }
                })
                .collect(),
            age: fixed(".metadata.creationTimestamp", "date"),
        }
    }

    /// Appends everything up to the first row. `metadata` is the ListMeta's JSON (of one object: its
    /// resourceVersion alone); `None`: it comes with [`Self::end`], as of a list whose metadata comes last.
    /// `columns`: false in all events of a watch but the first.
    pub fn begin(&self, version: MetaVersion, metadata: Option<&[u8]>, columns: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"");
        out.extend_from_slice(version.as_str().as_bytes());
        out.push(b'"');
        put_metadata(metadata, out);
        out.extend_from_slice(b",\"columnDefinitions\":");
        out.extend_from_slice(if columns { &self.definitions } else { b"null" });
        out.extend_from_slice(b",\"rows\":[");
    }

    /// Appends the row of one object (without a comma). On an error `out` is as it was.
    pub fn row(
        &self,
        wire: &[u8],
        version: MetaVersion,
        include: IncludeObject,
        now: SystemTime,
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        let start = out.len();
        let done = self.put_row(wire, version, include, now, out);
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    /// Appends what follows the last row.
    pub fn end(&self, metadata: Option<&[u8]>, out: &mut Vec<u8>) {
        out.push(b']');
        put_metadata(metadata, out);
        out.push(b'}');
    }

    /// Appends the object as PartialObjectMetadata. On an error `out` is as it was.
    pub fn partial_object(
        &self,
        wire: &[u8],
        version: MetaVersion,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let start = out.len();
        out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
        out.extend_from_slice(version.as_str().as_bytes());
        out.extend_from_slice(b"\",\"metadata\":");
        let written = match &self.metadata {
            Some(metadata) => metadata.write_json(wire, out),
            None => Ok(false),
        };
        match written {
            Ok(true) => {}
            Ok(false) => out.extend_from_slice(b"{}"),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn put_row(
        &self,
        wire: &[u8],
        version: MetaVersion,
        include: IncludeObject,
        now: SystemTime,
        out: &mut Vec<u8>,
    ) -> Result<Noticed, WireError> {
        out.extend_from_slice(b"{\"cells\":[");
        put_cell(self.name.as_ref(), wire, now, b"\"\"", out)?;
        for column in &self.columns {
            out.push(b',');
            match column {
                Column::Path(cell) => put_cell(cell.as_ref(), wire, now, b"null", out)?,
                Column::Computed(compute) => {
                    let text = serde_json::to_vec(&compute(wire)).expect("a string always serialises");
                    out.extend_from_slice(&text);
                }
            }
        }
        out.push(b',');
        put_cell(self.age.as_ref(), wire, now, b"\"<unknown>\"", out)?;
        out.extend_from_slice(b"],\"object\":");
        let mut noticed = Noticed::default();
        match include {
            IncludeObject::None => out.extend_from_slice(b"null"),
            IncludeObject::Metadata => self.partial_object(wire, version, out)?,
            IncludeObject::Object => {
                let type_meta = TypeMeta { api_version: &self.api_version, kind: &self.kind };
                noticed = self.message.to_json(wire, Some(type_meta), out)?;
            }
        }
        out.push(b'}');
        Ok(noticed)
    }
}

fn put_metadata(metadata: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(metadata) = metadata {
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(metadata);
    }
}

fn put_cell(
    cell: Option<&Cell>,
    wire: &[u8],
    now: SystemTime,
    absent: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let written = match cell {
        Some(cell) => cell.write(wire, now, out)?,
        None => false,
    };
    if !written {
        out.extend_from_slice(absent);
    }
    Ok(())
}
