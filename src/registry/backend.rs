//! Backends that are objects: what a Backend of `kubridge.io/v1alpha1` says, read and checked.

/// A Backend object that a claim names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its uid: another one is another Backend of the same name.
    pub uid: String,
    /// What clients get while it cannot be reached.
    pub brown_out: BrownOut,
}

/// What clients get while a backend cannot be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BrownOut {
    /// 503, as from any server that is away.
    #[default]
    Fail,
    /// Reads are answered from what was last listed, with a `Warning`.
    Snapshot,
    /// Like [`Self::Fail`], but a namespace that is being deleted is taken to have none of its objects.
    AssumeEmpty,
}
