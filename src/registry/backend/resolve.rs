//! What a Backend refers to -> what is shown to it and believed of it; and with that, claims that name a Backend.

use std::{collections::BTreeMap, sync::Arc};

use kubridge_bridge::caller::FieldViolation;

use super::{Declared, Identity, Named, ObjectName, Resolved, Source, Trust, Unresolved, Wanted};
use crate::registry::{snapshot::Claim, target::Target};

/// Where Secrets and ConfigMaps are looked up: one key of one object, or why it cannot be had, and the mend.
pub(in crate::registry) type Resolver<'a> = &'a dyn Fn(&Source, &str) -> Result<Vec<u8>, String>;

/// The keys of a Secret of type `kubernetes.io/tls`.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

impl Declared {
    /// The objects that it refers to.
    pub(in crate::registry) fn sources(&self) -> impl Iterator<Item = Source> {
        let wanted = self.wanted.as_ref().ok();
        let trust = wanted.and_then(|wanted| match &wanted.trust {
            Trust::From(source, _) => Some(source.clone()),
            Trust::Bundle(_) => None,
        });
        let certificate = wanted.and_then(|wanted| wanted.client_certificate.clone()).map(Source::Secret);
        trust.into_iter().chain(certificate)
    }

    /// The same with everything looked up that it refers to.
    pub(in crate::registry) fn resolved(self, look_up: Resolver<'_>) -> Self {
        let resolved = match &self.wanted {
            Ok(wanted) => look(wanted, look_up).map_err(Unresolved::Reference),
            Err(faults) => Err(Unresolved::Spec(FieldViolation::joined(faults))),
        };
        Self { resolved, ..self }
    }
}

fn look(wanted: &Wanted, look_up: Resolver<'_>) -> Result<Resolved, String> {
    let ca_bundle = match &wanted.trust {
        Trust::Bundle(pem) => pem.clone(),
        Trust::From(source, key) => look_up(source, key)?,
    };
    let identity = wanted.client_certificate.as_ref().map(|name| identity(name, look_up)).transpose()?;
    Ok(Resolved {
        target: wanted.target.clone(),
        ca_bundle,
        mapping: wanted.mapping.clone(),
        named: Arc::new(Named { identity, ..wanted.named.clone() }),
    })
}

fn identity(name: &ObjectName, look_up: Resolver<'_>) -> Result<Identity, String> {
    let secret = Source::Secret(name.clone());
    Ok(Identity { certificate: look_up(&secret, CERTIFICATE)?, key: look_up(&secret, KEY)? })
}

/// Puts the Backend in place of its name.
pub(in crate::registry) fn resolve(claim: Claim, backends: &BTreeMap<String, Arc<Declared>>) -> Claim {
    let Target::Named { name } = &claim.target else { return claim };
    let resolved = match backends.get(name).map(|backend| &backend.resolved) {
        None => Err(format!(
            "no Backend is called {name:?}: create it, or write grpc://HOST:PORT into the annotation kubridge.io/backend"
        )),
        Some(Err(why)) => Err(format!("the Backend {name:?} cannot be used: {why}")),
        Some(Ok(resolved)) => Ok(resolved.clone()),
    };
    match resolved {
        Err(why) => Claim { target: Target::Unresolved { why }, ..claim },
        Ok(Resolved { target, ca_bundle, mapping, named }) => Claim {
            target,
            ca_bundle,
            insecure_skip_tls_verify: false,
            mapping: claim.mapping.clone().or(mapping),
            backend: Some(named),
            ..claim
        },
    }
}
