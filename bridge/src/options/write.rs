//! The options of create, update and patch: the same, but for their names.

use super::{Query, check_dry_run, checked};
use crate::{
    proto,
    status::{ApiError, StatusCause, quote},
};

/// Whose options are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the verbs")]
pub enum WriteKind {
    Create,
    Update,
    /// JSON or merge patch.
    Patch,
}

/// What becomes of fields that the schema does not have, and of keys that stand twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and a `Warning` names each. The default.
    #[default]
    Warn,
    /// They are an error.
    Strict,
}

/// The options of a write, read and checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// Check everything and write nothing.
    pub dry_run: bool,
    /// Who writes; may be empty.
    pub field_manager: String,
    /// Unknown and duplicate fields.
    pub field_validation: FieldValidation,
}

impl WriteOptions {
    /// Reads a query. Bad values are 422.
    pub fn parse(kind: WriteKind, query: &str) -> Result<Self, ApiError> {
        let query = Query::parse(query);
        let mut causes = Vec::new();
        if kind == WriteKind::Patch && query.get("force").is_some() {
            causes.push(StatusCause::forbidden("force", "may not be specified for non-apply patch"));
        }
        let field_manager = query.get("fieldManager").unwrap_or_default().to_owned();
        check_manager(&field_manager, &mut causes);
        let dry_run: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
        check_dry_run(&dry_run, &mut causes);
        let field_validation = match query.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                causes.push(StatusCause::not_supported("fieldValidation", &quote(other), &supported));
                FieldValidation::Warn
            }
        };
        let name = match kind {
            WriteKind::Create => "CreateOptions",
            WriteKind::Update => "UpdateOptions",
            WriteKind::Patch => "PatchOptions",
        };
        checked(name, causes)?;
        Ok(Self { dry_run: !dry_run.is_empty(), field_manager, field_validation })
    }

    /// As a backend gets them with a create.
    pub fn create(&self) -> proto::CreateOptions {
        proto::CreateOptions {
            dry_run: self.dry_run_list(),
            field_manager: self.field_manager.clone(),
            field_validation: self.field_validation.as_str().into(),
        }
    }

    /// As a backend gets them with an update.
    pub fn update(&self) -> proto::UpdateOptions {
        proto::UpdateOptions {
            dry_run: self.dry_run_list(),
            field_manager: self.field_manager.clone(),
            field_validation: self.field_validation.as_str().into(),
        }
    }

    /// As an action gets them whose request has a place for PatchOptions.
    pub fn patch(&self) -> proto::PatchOptions {
        proto::PatchOptions {
            dry_run: self.dry_run_list(),
            force: None,
            field_manager: self.field_manager.clone(),
            field_validation: self.field_validation.as_str().into(),
        }
    }

    /// `["All"]` or nothing.
    pub fn dry_run_list(&self) -> Vec<String> {
        if self.dry_run { vec!["All".into()] } else { Vec::new() }
    }
}

impl FieldValidation {
    /// Kubernetes' name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Warn => "Warn",
            Self::Strict => "Strict",
        }
    }
}

const MANAGER_MAX: usize = 128;

fn check_manager(manager: &str, causes: &mut Vec<StatusCause>) {
    if manager.len() > MANAGER_MAX {
        causes.push(StatusCause::too_long(
            "fieldManager",
            &format!("may not be more than {MANAGER_MAX} bytes"),
        ));
    }
    if let Some((at, c)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let text = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        causes.push(StatusCause::invalid("fieldManager", manager, &text));
    }
}
