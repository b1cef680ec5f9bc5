//! Methods that a backend's schema has and that the backend answers with UNIMPLEMENTED.
//!
//! Every call says how it ended. Where nothing is the matter that costs one load; an answer of UNIMPLEMENTED, and any answer
//! while something is noted, a look at an immutable map.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use kubridge_bridge::caller::{CallError, Code};
use tokio::{sync::watch, time::Instant};

/// A method that answers again is no longer noted when it has not answered with UNIMPLEMENTED for so long: of several
/// replicas one may have it and another one not.
const HOLD: Duration = Duration::from_secs(60);

/// What is noted of one backend.
#[derive(Debug)]
pub struct Unimplemented {
    begun: Instant,
    /// The schema's methods, by path; with each when it last answered so, in milliseconds since `begun`, from 1 on. 0: it
    /// did not.
    methods: ArcSwap<BTreeMap<Box<str>, AtomicU64>>,
    /// One of them did.
    any: AtomicBool,
    news: watch::Sender<u64>,
}

impl Default for Unimplemented {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            methods: ArcSwap::default(),
            any: AtomicBool::new(false),
            news: watch::Sender::new(0),
        }
    }
}

impl Unimplemented {
    /// These methods count from now on, and of none of them anything is noted: "/inventory.v1.Machines/GetMachine".
    pub fn set_methods<'a>(&self, paths: impl IntoIterator<Item = &'a str>) {
        let methods = paths.into_iter().map(|path| (path.into(), AtomicU64::new(0))).collect();
        self.methods.store(Arc::new(methods));
        self.look_again();
    }

    /// Forgets what is noted: the backend may be another one.
    pub fn clear(&self) {
        for last in self.methods.load().values() {
            last.store(0, Ordering::Relaxed);
        }
        self.look_again();
    }

    /// The methods that answered so, in the order of their paths.
    pub fn found(&self) -> Vec<String> {
        if !self.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let methods = self.methods.load();
        let noted = methods.iter().filter(|(_, last)| last.load(Ordering::Relaxed) != 0);
        noted.map(|(path, _)| path.to_string()).collect()
    }

    /// Changes when [`Self::found`] does.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// A call of a method ended.
    pub(super) fn ended<T>(&self, path: &str, outcome: &Result<T, CallError>) {
        match outcome {
            Err(CallError::Status(status)) if status.code == Code::Unimplemented => self.lacks(path),
            // Nothing that the method said.
            Err(CallError::Transport(_)) => {}
            Err(CallError::Status(status)) if status.code == Code::Unavailable => {}
            Ok(_) | Err(CallError::Status(_)) => self.answered(path),
        }
    }

    /// A method answered.
    pub(super) fn answered(&self, path: &str) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let methods = self.methods.load();
        let Some(noted) = methods.get(path) else { return };
        let last = noted.load(Ordering::Relaxed);
        if last != 0
            && self.now().saturating_sub(last) >= HOLD.as_millis() as u64
            && noted.compare_exchange(last, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.look_again();
        }
    }

    fn lacks(&self, path: &str) {
        let methods = self.methods.load();
        // What the schema does not have nobody was promised.
        let Some(noted) = methods.get(path) else { return };
        if noted.swap(self.now(), Ordering::Relaxed) == 0 {
            self.look_again();
        }
    }

    fn look_again(&self) {
        let any = self.methods.load().values().any(|last| last.load(Ordering::Relaxed) != 0);
        let before = self.any.swap(any, Ordering::Relaxed);
        if any || before {
            self.news.send_modify(|news| *news += 1);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use kubridge_bridge::caller::{BackendStatus, Ran, TransportError, TransportKind};
    use tokio::time::advance;

    use super::*;

    fn status(code: Code) -> Result<(), CallError> {
        Err(CallError::Status(Box::new(BackendStatus { code, message: String::new(), details: Vec::new() })))
    }

    fn of(methods: &[&str]) -> Unimplemented {
        let unimplemented = Unimplemented::default();
        unimplemented.set_methods(methods.iter().copied());
        unimplemented
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_schema_has_and_the_backend_lacks_is_noted_once() {
        let unimplemented = of(&["/a/Get", "/a/List"]);
        let news = unimplemented.news();
        unimplemented.ended("/b/Get", &status(Code::Unimplemented));
        for code in Code::ALL.into_iter().filter(|code| *code != Code::Unimplemented) {
            unimplemented.ended("/a/Get", &status(code));
        }
        assert_eq!(unimplemented.found(), [""; 0]);
        assert!(!news.has_changed().unwrap_or(true));
        for _ in 0..5 {
            unimplemented.ended("/a/List", &status(Code::Unimplemented));
        }
        assert_eq!(*news.borrow(), 1);
        unimplemented.ended("/a/Get", &status(Code::Unimplemented));
        assert_eq!((*news.borrow(), unimplemented.found()), (2, vec!["/a/Get".into(), "/a/List".into()]));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_forgotten_with_the_schema_and_when_the_backend_is_back() {
        let unimplemented = of(&["/a/Get"]);
        for forget in [&Unimplemented::clear, &|this: &Unimplemented| this.set_methods(["/a/Get"])]
            as [&dyn Fn(&Unimplemented); 2]
        {
            unimplemented.ended("/a/Get", &status(Code::Unimplemented));
            let before = *unimplemented.news().borrow();
            forget(&unimplemented);
            assert_eq!((unimplemented.found(), *unimplemented.news().borrow()), (Vec::new(), before + 1));
            forget(&unimplemented);
            assert_eq!(*unimplemented.news().borrow(), before + 1, "no news");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_method_that_answers_for_a_while_is_there() {
        let unimplemented = of(&["/a/Get", "/a/List"]);
        unimplemented.ended("/a/Get", &status(Code::Unimplemented));
        unimplemented.ended("/a/Get", &Ok(()));
        assert_eq!(unimplemented.found(), ["/a/Get"], "another replica has it");
        advance(HOLD).await;
        let failure =
            TransportError { ran: Ran::No, kind: TransportKind::Unavailable, message: String::new() };
        unimplemented.ended("/a/Get", &Err::<(), _>(CallError::Transport(Box::new(failure))));
        unimplemented.ended("/a/Get", &status(Code::Unavailable));
        unimplemented.ended("/a/List", &Ok(()));
        assert_eq!(unimplemented.found(), ["/a/Get"], "nothing that it said");
        unimplemented.ended("/a/Get", &status(Code::NotFound));
        assert_eq!(unimplemented.found(), [""; 0]);
    }
}
