//! What `kubridge lint` does: reads a schema, and says what would be served or every fault.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use kubridge_bridge::{
    mapping,
    model::{Api, Fault, Resource, Rules, Schema},
};

mod derivation;

use super::{backend_ca, mappings};
use crate::{
    config::{BackendUrl, OwnCertificate},
    pki::ClientCertificate,
    upstream::{self, Backend, Endpoint, FetchedSchema, Options, TlsOptions},
};

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintSource {
    /// Where the schema is.
    pub place: LintPlace,
    /// Mapping files, for a schema that is not annotated.
    pub mappings: Vec<PathBuf>,
}

/// Where a schema is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LintPlace {
    /// A file with a `google.protobuf.FileDescriptorSet`.
    DescriptorSet(PathBuf),
    /// A backend: its Schema service, else its reflection.
    Backend(BackendUrl, LintTls),
}

/// What a `grpcs://` backend is verified against and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LintTls {
    /// The CAs that may have signed the backend's certificate, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, if the backend asks for one.
    pub client: Option<OwnCertificate>,
}

/// What the lint found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LintReport {
    /// For people: what would be served and what should be better, or every fault with its place and its mend.
    pub text: String,
    /// Whether the schema would be served.
    pub passed: bool,
}

/// Reads the schema and judges it. An error: it could not be read at all.
pub async fn lint(source: LintSource) -> anyhow::Result<LintReport> {
    Ok(match read(source).await? {
        Ok((fetched, schema)) => LintReport { text: served(&schema, &fetched), passed: true },
        Err(refused) => refused,
    })
}

/// Reads a schema, and what would be served of it. The outer error: it could not be read at all. The inner one: the
/// report on one with faults.
pub(super) async fn read(source: LintSource) -> anyhow::Result<Result<(FetchedSchema, Schema), LintReport>> {
    let fetched = match source.place {
        LintPlace::DescriptorSet(file) => upstream::read_file(&file).await?,
        LintPlace::Backend(url, tls) => {
            let endpoint = Endpoint::parse(&url.to_string())?;
            let mut options = TlsOptions { ca: backend_ca(tls.ca_file.as_deref())?, ..TlsOptions::default() };
            if let Some(own) = &tls.client {
                options.identity = Some(Arc::new(ClientCertificate::given(own)?));
            }
            let backend = Backend::new(endpoint, &options, Options::default())?;
            fetch(&backend).await.with_context(|| format!("no schema from {url}"))?
        }
    };
    judge(fetched, &source.mappings)
}

/// The schema that a backend gives.
pub(super) async fn fetch(backend: &Backend) -> anyhow::Result<FetchedSchema> {
    upstream::fetch(backend, None, "").await?.context("the backend gives no schema")
}

/// What would be served of a schema; the outer error: a mapping file cannot be read.
pub(super) fn judge(
    fetched: FetchedSchema,
    mapping_files: &[PathBuf],
) -> anyhow::Result<Result<(FetchedSchema, Schema), LintReport>> {
    let mappings = mappings::read(mapping_files)?;
    Ok(match mapping::read_schema(&fetched.bytes, Rules::default(), &mappings) {
        Ok(schema) => Ok((fetched, schema)),
        Err(faults) => Err(LintReport { text: refused(&faults), passed: false }),
    })
}

fn served(schema: &Schema, fetched: &FetchedSchema) -> String {
    let mut text = format!("The schema (read from {}) would be served:\n", fetched.source);
    for api in &schema.apis {
        describe(api, &mut text);
    }
    if let Some(mapped) = &schema.mapped {
        text.push_str(
            "\nThe service does not keep Kubridge's contract itself. What is known of it, and why:\n",
        );
        derivation::describe(mapped.mapping(), &mut text);
    }
    if !schema.advice.is_empty() {
        text.push_str("\nIt could be better:\n");
        list(&schema.advice, &mut text);
    }
    if let Some(twins) = twins(schema) {
        let _ = write!(text, "\n{twins}");
    }
    text
}

fn describe(api: &Api, text: &mut String) {
    for resource in &api.resources {
        let scope = if resource.namespaced { "namespaced" } else { "cluster-scoped" };
        let _ = write!(
            text,
            "\n{} {} (kind {}, {scope})\n  verbs: {}\n",
            resource.api_version(),
            resource.plural,
            resource.kind,
            resource.verbs().join(" "),
        );
        bound(resource, text);
        if resource.status_subresource {
            text.push_str("  subresource status\n");
        }
        for action in &resource.actions {
            let _ = writeln!(text, "  subresource {}", action.name);
        }
    }
}

/// Whose objects are, on the wire, what a Kubernetes client reads as protobuf.
fn twins(schema: &Schema) -> Option<String> {
    let resources = schema.apis.iter().flat_map(|api| &api.resources);
    let twins: Vec<&str> = resources
        .filter(|resource| resource.twin_obstacles().is_empty())
        .map(|resource| resource.kind.as_str())
        .collect();
    (!twins.is_empty()).then(|| {
        format!(
            "Wire twins, whose objects can be relayed as Kubernetes' protobuf undecoded: {}.\n",
            twins.join(", ")
        )
    })
}

/// Which method does what.
fn bound(resource: &Resource, text: &mut String) {
    let methods = &resource.methods;
    let all = [
        ("get", &methods.get),
        ("list", &methods.list),
        ("watch", &methods.watch),
        ("create", &methods.create),
        ("update", &methods.update),
        ("update status", &methods.update_status),
        ("delete", &methods.delete),
        ("deletecollection", &methods.delete_collection),
    ];
    for (verb, method) in all.into_iter().filter_map(|(verb, method)| Some((verb, method.as_ref()?))) {
        let _ = writeln!(text, "    {verb:<17} {}", method.called());
    }
    if let Some(made) = resource.made_watch() {
        let _ = writeln!(text, "    {:<17} made: {made}", "watch");
    }
}

fn refused(faults: &[Fault]) -> String {
    let count = faults.len();
    let mut text = format!("The schema has {count} fault{}:\n", if count == 1 { "" } else { "s" });
    list(faults, &mut text);
    text
}

fn list(faults: &[Fault], text: &mut String) {
    for fault in faults {
        let code = if fault.code.is_empty() { String::new() } else { format!(" [{}]", fault.code) };
        let _ = writeln!(text, "- {fault}{code}");
    }
}
