//! A schema that all replicas serve: the one that leads reads the backend for all, and what it has accepted is in use
//! everywhere, here too, when it is stored.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::timeout;

use super::{Rejected, SchemaState, SchemaWatcher};
use crate::{
    cluster::schemas::{Accepted, Offer, Shared, Sharing, digest},
    upstream::schema::{FetchedSchema, SchemaSource, fetch},
};

/// How long a replica that starts waits to be told what all serve.
const PATIENCE: Duration = Duration::from_secs(3);

/// This replica's part.
pub(super) struct Part {
    sharing: Sharing,
    /// What all serve, as it was last compiled.
    taken: Option<Taken>,
    /// What this replica has last offered while it leads.
    offered: Option<Arc<Accepted>>,
    /// The doubts that were acted on.
    doubts: u64,
}

struct Taken {
    schema: Arc<Accepted>,
    is_good: bool,
}

/// What has changed.
pub(super) enum News {
    /// What all serve, or what is to be said of it.
    Shared,
    /// Which replica leads.
    Leads,
}

impl Part {
    fn leads(&self) -> bool {
        *self.sharing.leads.borrow()
    }

    pub(super) fn asks(&self) -> bool {
        self.leads() || self.taken.is_none()
    }

    fn offer(&mut self, schema: Arc<Accepted>, confirmed_at: SystemTime) {
        self.offered = Some(Arc::clone(&schema));
        self.sharing.offer(Some(Offer { schema, confirmed_at }));
    }
}

impl Taken {
    fn fetched(&self) -> FetchedSchema {
        let Accepted { bytes, etag, .. } = &*self.schema;
        FetchedSchema { bytes: bytes.clone(), source: SchemaSource::Shared, etag: etag.clone() }
    }
}

/// Waits for news, where anything is shared.
pub(super) async fn news(part: Option<&mut Part>) -> News {
    let Some(Part { sharing, .. }) = part else { return std::future::pending().await };
    tokio::select! {
        Ok(()) = sharing.shared.changed() => News::Shared,
        Ok(()) = sharing.leads.changed() => News::Leads,
        else => std::future::pending().await,
    }
}

impl<T: Send + Sync + 'static> SchemaWatcher<T> {
    /// Has all replicas serve the same.
    #[must_use]
    pub fn share(mut self, sharing: Sharing) -> Self {
        self.part = Some(Part { sharing, taken: None, offered: None, doubts: 0 });
        self
    }

    /// Takes up what all serve; whether there is such a schema, and this version can use it.
    pub(super) async fn take_up_shared(&mut self) -> bool {
        let Some(part) = &mut self.part else { return false };
        let known = part.sharing.shared.wait_for(|shared| shared.is_known);
        // Where the API server is away what is on the disk will do.
        let _ = timeout(PATIENCE, known).await;
        self.take().await;
        self.state.borrow().current.is_some()
    }

    /// Acts on news; whether the backend is to be read now.
    pub(super) async fn hear(&mut self, news: News) -> bool {
        let Some(part) = &mut self.part else { return false };
        match news {
            News::Shared => {
                self.take().await;
                false
            }
            News::Leads if *part.sharing.leads.borrow_and_update() => {
                self.stand_by();
                true
            }
            News::Leads => {
                part.offered = None;
                part.sharing.offer(None);
                if self.is_shared() {
                    // It does not ask any more.
                    self.state.send_if_modified(|state| state.last_error.take().is_some());
                }
                false
            }
        }
    }

    /// Whether there is a schema that all serve.
    pub(super) fn is_shared(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.taken.is_some())
    }

    /// What all serve is in use from now on, where this version can use it.
    async fn take(&mut self) {
        let Some(part) = &mut self.part else { return };
        let shared = part.sharing.shared.borrow_and_update().clone();
        if shared.doubts != part.doubts {
            part.doubts = shared.doubts;
            if part.leads() {
                self.suspicion.notify_one();
            }
        }
        let Some(schema) = &shared.schema else { return };
        if part.taken.as_ref().is_some_and(|taken| Arc::ptr_eq(&taken.schema, schema)) {
            return self.take_note(&shared).await;
        }
        let mut taken = Taken { schema: Arc::clone(schema), is_good: false };
        let fetched = taken.fetched();
        let compiled = (self.compile)(&fetched);
        taken.is_good = compiled.is_ok();
        let is_good = taken.is_good;
        part.taken = Some(taken);
        let differs = part.leads() && self.has_read_another(&fetched);
        if !differs {
            self.seen = Some(fetched.clone());
            self.seen_is_good = is_good;
        }
        if is_good {
            self.keep_shared(fetched, &shared).await;
        }
        self.use_shared(compiled, &shared);
        self.stand_by();
    }

    async fn keep_shared(&self, schema: FetchedSchema, shared: &Shared) {
        self.keep(schema).await;
        if let Some(at) = shared.confirmed_at {
            self.confirm(at).await;
        }
    }

    /// The same schema as before; what is said of it may be news.
    async fn take_note(&self, shared: &Shared) {
        let Some(part @ Part { taken: Some(taken), .. }) = &self.part else { return };
        let differs = part.leads() && self.has_read_another(&taken.fetched());
        let confirmed_at = self.state.borrow().confirmed_at.max(shared.confirmed_at);
        let news = confirmed_at.filter(|at| taken.is_good && self.state.borrow().confirmed_at != Some(*at));
        if let Some(at) = news {
            self.confirm(at).await;
        }
        self.state.send_if_modified(|state| {
            if taken.is_good {
                state.confirmed_at = confirmed_at;
            }
            differs && self.seen_is_good && set_unshared(state, shared)
        });
    }

    /// Whether the backend itself has said another schema.
    fn has_read_another(&self, shared: &FetchedSchema) -> bool {
        let own = self.seen.as_ref().filter(|seen| seen.source != SchemaSource::Kept);
        own.is_some_and(|seen| seen.bytes != shared.bytes)
    }

    fn use_shared(&self, compiled: Result<Arc<T>, Rejected>, shared: &Shared) {
        let leads = self.part.as_ref().is_some_and(Part::leads);
        let backend = self.backend.endpoint();
        self.state.send_modify(|state| {
            if !leads {
                // It does not ask (any more).
                state.last_error = None;
            }
            match compiled {
                Ok(compiled) => {
                    tracing::info!(%backend, "serving the schema that all replicas share");
                    let same = state.current.as_ref().is_some_and(|present| Arc::ptr_eq(present, &compiled));
                    let before = state.confirmed_at.filter(|_| same);
                    state.confirmed_at = before.max(shared.confirmed_at);
                    state.current = Some(compiled);
                    state.source = Some(SchemaSource::Shared);
                    // What the leader reads may still have faults.
                    if !leads || self.seen_is_good {
                        state.rejected = None;
                    }
                }
                Err(Rejected { faults }) => {
                    tracing::warn!(
                        %backend, faults = %faults.join("; "),
                        "the schema that other replicas serve cannot be used by this version: the last good one stays in use"
                    );
                    let why = "the schema that other replicas serve cannot be used by this one: give all replicas the \
                               same version";
                    let faults = [why.to_owned()].into_iter().chain(faults).collect();
                    state.rejected = Some(Arc::new(Rejected { faults }));
                }
            }
        });
    }

    /// What the leader has read is compared with what all serve. `None`: it has not changed since the last time.
    pub(super) async fn compare(&mut self, read: Option<FetchedSchema>, asked_at: SystemTime) {
        let mut rejected = None;
        if let Some(schema) = read {
            if self.is_news(&schema) {
                let compiled = (self.compile)(&schema);
                self.seen_is_good = compiled.is_ok();
                rejected = compiled.err();
            }
            self.seen = Some(schema);
        }
        let Some(Part { sharing, taken: Some(taken), .. }) = &self.part else { return };
        let shared = sharing.shared.borrow().clone();
        let is_shared = self.seen.as_ref().is_some_and(|seen| seen.bytes == taken.schema.bytes);
        if is_shared && self.seen_is_good {
            self.confirm(asked_at).await;
        }
        self.state.send_if_modified(|state| {
            let mut changed = state.last_error.take().is_some();
            if let Some(rejected) = rejected {
                let faults = rejected.faults.join("; ");
                tracing::warn!(backend = %self.backend.endpoint(), %faults, "schema rejected");
                state.rejected = Some(Arc::new(rejected));
                return true;
            }
            if !self.seen_is_good {
                return changed;
            }
            if is_shared {
                state.confirmed_at = Some(asked_at);
                changed |= state.rejected.take().is_some();
            } else {
                changed |= set_unshared(state, &shared);
            }
            changed
        });
        self.offer_seen(asked_at);
    }

    /// Where this replica leads: all are to serve what it has last read, if that is good.
    pub(super) fn offer_seen(&mut self, asked_at: SystemTime) {
        let (Some(part), Some(seen), true) = (&mut self.part, &self.seen, self.seen_is_good) else { return };
        if !part.leads() {
            return;
        }
        let known = [part.taken.as_ref().map(|taken| &taken.schema), part.offered.as_ref()];
        let same = |known: &&Arc<Accepted>| known.bytes == seen.bytes && known.etag == seen.etag;
        let schema = known.into_iter().flatten().find(same).cloned();
        let schema = schema.unwrap_or_else(|| {
            Arc::new(Accepted {
                bytes: seen.bytes.clone(),
                etag: seen.etag.clone(),
                source: seen.source.to_string(),
                accepted_at: asked_at,
            })
        });
        part.offer(schema, asked_at);
    }

    /// Where this replica leads and has not read the backend yet: what all serve is to stay.
    fn stand_by(&mut self) {
        let Some(part) = &mut self.part else { return };
        let confirmed_at = part.sharing.shared.borrow().confirmed_at;
        if let (true, None, Some(taken), Some(at)) = (part.leads(), &part.offered, &part.taken, confirmed_at)
            && taken.is_good
        {
            let schema = Arc::clone(&taken.schema);
            part.offer(schema, at);
        }
    }

    /// A replica that does not lead suspects that the backend has another schema. Where it has, the one that leads is
    /// told so.
    pub(super) async fn doubt(&self) {
        let Some(Part { sharing, taken: Some(taken), .. }) = &self.part else { return };
        match fetch(&self.backend, self.file.as_deref(), &taken.schema.etag).await {
            Ok(Some(read)) if read.bytes != taken.schema.bytes => sharing.doubt(digest(&read.bytes)),
            Ok(_) => {}
            Err(error) => tracing::debug!(
                backend = %self.backend.endpoint(), %error, "whether it has another schema was not found out"
            ),
        }
    }

    /// Compiles what all serve again, if anything is shared.
    pub(super) async fn revise_shared(&mut self) -> bool {
        let Some(Part { sharing, taken: Some(taken), .. }) = &mut self.part else { return false };
        let shared = sharing.shared.borrow().clone();
        let fetched = taken.fetched();
        let compiled = (self.compile)(&fetched);
        let was_good = std::mem::replace(&mut taken.is_good, compiled.is_ok());
        let current = self.state.borrow().current.clone();
        let same = |new: &Arc<T>| current.as_ref().is_some_and(|present| Arc::ptr_eq(present, new));
        let unchanged = was_good && compiled.as_ref().is_ok_and(same);
        match self.seen.clone() {
            Some(seen) if seen.bytes != fetched.bytes => self.seen_is_good = (self.compile)(&seen).is_ok(),
            _ => self.seen_is_good = compiled.is_ok(),
        }
        if !unchanged {
            if compiled.is_ok() {
                self.keep_shared(fetched, &shared).await;
            }
            self.use_shared(compiled, &shared);
            self.stand_by();
        }
        true
    }
}

/// Says why what the leader has read and accepted is not in use; whether that is news.
fn set_unshared<T>(state: &mut SchemaState<T>, shared: &Shared) -> bool {
    let faults =
        shared.unshared.as_ref().map(|why| vec![format!("it cannot be shared by all replicas: {why}")]);
    let changed = state.rejected.as_ref().map(|rejected| &rejected.faults) != faults.as_ref();
    state.rejected = faults.map(|faults| Arc::new(Rejected { faults }));
    changed
}
