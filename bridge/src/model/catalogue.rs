//! Every fault and every piece of advice that a schema can get: what is said, when, and what to write instead.
//!
//! One entry is one kind of fault: it makes the function that reports it, the code that `kubridge lint` prints, and its line
//! in docs/errors.md. A test holds that a fixture makes each.

/// How much an entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The schema is not served.
    Fault,
    /// It is served all the same.
    Advice,
}

/// One fault or one piece of advice, as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Stands in brackets behind the message: "no_list".
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// When it is said.
    pub when: &'static str,
    /// What is said, in the syntax of `format!`.
    pub message: &'static str,
    /// What to write instead, likewise.
    pub mend: &'static str,
}

/// What is wrong, without its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) mend: String,
}

macro_rules! catalogue {
    ($( #[doc = $when:literal] $severity:ident $code:ident($($part:ident),*) $message:literal, $mend:literal; )+) => {
        impl Problem {
            $(
                #[doc = $when]
                pub(crate) fn $code($($part: impl std::fmt::Display + std::fmt::Debug),*) -> Self {
                    Self { code: stringify!($code), message: format!($message), mend: format!($mend) }
                }
            )+
        }

        /// All of them: faults first, each kind in the order in which a reader meets them.
        pub(super) const ENTRIES: &[Entry] = &[$(
            Entry {
                code: stringify!($code),
                severity: Severity::$severity,
                when: $when.trim_ascii(),
                message: $message,
                mend: $mend,
            }
        ),+];
    };
}

mod contract;
mod mapping;

/// All entries: of schemas in the contract's form, and of mappings.
pub const CATALOGUE: [&[Entry]; 2] = [contract::ENTRIES, mapping::ENTRIES];
