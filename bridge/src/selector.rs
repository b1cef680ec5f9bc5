//! Label and field selectors: parsed as Kubernetes parses them, and matched.

mod field;
mod label;
mod lexer;
#[cfg(test)]
mod tests;

pub use self::{
    field::{FieldOperator, FieldRequirement, FieldSelector},
    label::{LabelOperator, LabelRequirement, LabelSelector},
};
