//! What a row of the matrix says: what is done to a backend, and what is expected of everybody.

use std::time::Duration;

use super::victim::Kind;

/// What is done to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is gone: connections are refused.
    Refused,
    /// Its connections are gone, and new ones are neither accepted nor refused: the backlog is full.
    BlackHoled,
    /// It accepts connections and says nothing.
    Silent,
    /// Its process is stopped: SIGSTOP.
    Stopped,
    /// So are both of the processes behind its two addresses.
    BothStopped,
    /// It shows a certificate of another CA.
    WrongCertificate,
    /// It takes six seconds for each answer.
    Slow,
    /// Its connections break in the middle of each answer.
    DiesMidAnswer,
    /// It says goodbye to a connection after each answer: GOAWAY, or `Connection: close`.
    Goodbye,
    /// GOAWAY instead of an answer, by which the request is none of those that were taken up.
    TurnedAway,
    /// It does what is asked, then RST_STREAM with INTERNAL_ERROR; in HTTP/1.1 the connection is reset.
    Reset,
    /// RST_STREAM with REFUSED_STREAM.
    StreamRefused,
    /// One of its two addresses refuses connections.
    HalfRefused,
    /// The process behind one of its two addresses is stopped.
    HalfStopped,
    /// It goes and comes back, a second each.
    Flapping,
    /// It says nothing that could be HTTP.
    Babbles,
    /// It answers with messages that are none.
    Scrambles,
}

impl Fault {
    /// How slow [`Self::Slow`] is.
    pub const SLOW: Duration = Duration::from_secs(6);
    /// How often [`Self::Flapping`] goes and comes back before the last time.
    pub const FLAPS: usize = 5;

    /// Whether processes are stopped for it.
    pub fn stops(self) -> bool {
        matches!(self, Self::Stopped | Self::BothStopped | Self::HalfStopped)
    }

    /// Whether it concerns one of two addresses.
    pub fn is_half(self) -> bool {
        matches!(self, Self::HalfRefused | Self::HalfStopped)
    }

    /// Whether connections stand through it, and requests on them go wrong.
    pub fn is_of_requests(self) -> bool {
        matches!(
            self,
            Self::Slow | Self::DiesMidAnswer | Self::Goodbye | Self::StreamRefused | Self::Scrambles
        )
    }
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// What was asked for.
    Good,
    /// 503 with Retry-After. A write with this answer was not done.
    Unavailable,
    /// 504 without Retry-After: the outcome is unknown.
    Unknown,
    /// 500: the backend's answer is none.
    Internal,
    /// The beginning of an answer, and then the stream was reset.
    Broken,
    /// None of these: never right.
    Other,
}

impl Answer {
    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unavailable => "503",
            Self::Unknown => "504",
            Self::Internal => "500",
            Self::Broken => "cut",
            Self::Other => "?",
        }
    }
}

/// What a request may be answered with.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// While it is being found out: in the first three seconds.
    pub first: &'static [Answer],
    /// From then on.
    pub then: &'static [Answer],
}

/// The same all the time.
pub const fn always(answers: &'static [Answer]) -> Expected {
    Expected { first: answers, then: answers }
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub fault: Fault,
    /// As the table has it.
    pub name: &'static str,
    pub kinds: &'static [Kind],
    pub get: Expected,
    pub post: Expected,
    /// The condition `Available` before the fault is taken away: status, reason, part of the message.
    pub available: [&'static str; 3],
    /// The longest that a GET or a POST may take.
    pub longest: Duration,
    /// How long the fault lasts at least.
    pub lasts: Duration,
    /// How long after it the condition may take to be True again.
    pub settles: Duration,
}

/// A row with the usual times.
pub const fn row(
    fault: Fault,
    name: &'static str,
    kinds: &'static [Kind],
    [get, post]: [Expected; 2],
    available: [&'static str; 3],
) -> Row {
    const BAR: Duration = Duration::from_secs(3);
    let (lasts, settles) = (Duration::from_millis(5500), Duration::from_secs(5));
    Row { fault, name, kinds, get, post, available, longest: BAR, lasts, settles }
}

impl Row {
    /// The same with longer answers.
    pub const fn within(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// The same with a longer fault, in seconds.
    pub const fn lasting(self, seconds: u64) -> Self {
        Self { lasts: Duration::from_secs(seconds), ..self }
    }

    /// The same where the condition is True again later, in seconds.
    pub const fn settling(self, seconds: u64) -> Self {
        Self { settles: Duration::from_secs(seconds), ..self }
    }
}
