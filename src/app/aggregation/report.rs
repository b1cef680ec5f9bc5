//! What there is to say of a Backend object.

use std::{collections::HashMap, time::SystemTime};

use kubridge_bridge::proto::Condition;

use super::{Aggregation, backends::Key, look};
use crate::{
    availability::{Documents, Examined, Verdict, backend_conditions},
    registry::{Declared, proto::backend::BackendStatus},
};

/// How a Backend is; whether its claims were accepted, who makes them knows.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct BackendReport {
    /// Its name.
    pub(in super::super) name: String,
    /// Its uid.
    pub(in super::super) uid: String,
    /// Without times.
    pub(in super::super) status: BackendStatus,
}

impl Aggregation {
    /// `said`: what is said of the APIServices that name a Backend, by its name and theirs.
    pub(super) fn report(
        &mut self,
        backend: &Declared,
        said: &HashMap<(String, String), Vec<Condition>>,
        now: SystemTime,
    ) -> BackendReport {
        let resolved = backend.resolved.as_ref();
        let url = resolved.ok().and_then(|resolved| resolved.target.url()).unwrap_or_default();
        let known = resolved.ok().and_then(|resolved| self.backends.known(&Key::of(resolved), now));
        let (verdict, schema, unimplemented) = match known {
            None => (Ok(Verdict::Unknown), Documents::Pending, None),
            Some(Err((_, why))) => (Err(why), Documents::Pending, None),
            Some(Ok(known)) => {
                let schema = look::schema(&known, self.max_age, now);
                let is_known = matches!(schema, Documents::Known { .. });
                (Ok(known.verdict), schema, is_known.then_some(known.unimplemented))
            }
        };
        let claims = backend.wanted.iter().flat_map(|wanted| &wanted.claims).map(|wish| {
            let service = wish.api_service();
            let conditions = said.get(&(backend.name.clone(), service.clone())).cloned();
            (service, conditions)
        });
        let examined = Examined {
            unresolved: resolved.err(),
            url: &url,
            verdict,
            schema,
            unimplemented,
            claims: claims.collect(),
            in_cluster: self.source.registry().is_none(),
        };
        let conditions = backend_conditions(&examined)
            .into_iter()
            .map(|condition| Condition { observed_generation: backend.generation, ..condition });
        BackendReport {
            name: backend.name.clone(),
            uid: backend.uid.clone(),
            status: BackendStatus {
                conditions: conditions.collect(),
                endpoint: url,
                observed_generation: backend.generation,
            },
        }
    }
}
