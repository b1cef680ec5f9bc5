//! What `kubridge doctor` does: replays, hop by hop, what kube-apiserver does to an API that Kubridge serves, and says which
//! hop is broken and what to do. Nothing in the cluster is changed.
//!
//! Each hop asks, and then judges what it was told; the judgements are values in, verdicts out.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use k8s_openapi::{
    ByteString, api::core::v1::ConfigMap, kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, Client, ResourceExt as _};

mod apiservice;
mod ask;
mod backend;
mod explain;
mod front_proxy;
mod grants;
mod openapi;
mod served;
mod service;
mod tls;
mod verdict;

pub use verdict::{DoctorReport, Examination, Examined, Hop, State, Verdict};

use crate::{
    cluster::{
        Cluster, Services,
        authentication::{NAME, NAMESPACE},
    },
    config::ServiceName,
    registry,
};
use ask::Asked;

/// kube-apiserver gives a discovery request five seconds; who waits longer than this has no answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a document of all groups.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// What is to be examined.
#[derive(Debug, Clone)]
pub struct DoctorOptions {
    /// The cluster; `None`: the one that this pod is in.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, in place of its current one.
    pub context: Option<String>,
    /// Kubridge's Service.
    pub service: ServiceName,
    /// Kubridge's service account, in the Service's namespace.
    pub service_account: String,
    /// The APIServices; none: all that name the Service.
    pub api_services: Vec<String>,
    /// Mapping files that Kubridge is given.
    pub mappings: Vec<PathBuf>,
    /// What the DNS names of Services end with.
    pub domain: String,
}

/// Examines the APIServices. An error: the cluster cannot be asked for them.
pub async fn doctor(options: DoctorOptions) -> anyhow::Result<DoctorReport> {
    let cluster = Cluster::connect(options.kubeconfig.as_deref(), options.context.as_deref()).await?;
    let client = cluster.client();
    let chosen = chosen(&client, &options)
        .await
        .with_context(|| format!("the cluster at {} cannot be asked for APIServices", cluster.server()))?;
    if chosen.is_empty() {
        let verdict = Verdict::broken(
            format!("no APIService names the Service {}", options.service),
            format!("kubridge register --backend grpc://HOST:PORT --service {} --apply", options.service),
        );
        let none = Examination::new("(none)", vec![(Hop::ApiService, verdict)]);
        return Ok(DoctorReport::new(vec![none]));
    }
    let doctor = Doctor {
        front_proxy: front_proxy(&client).await,
        grants: grants::look(&client, &options.service, &options.service_account).await,
        client,
        options,
    };
    let mut examinations = Vec::with_capacity(chosen.len());
    for (name, object) in chosen {
        let hops = match object {
            Some(object) => doctor.hops(&object).await,
            None => {
                let mend = format!(
                    "create it: kubridge register --backend grpc://HOST:PORT --service {} --apply",
                    doctor.options.service
                );
                vec![(Hop::ApiService, Verdict::broken("there is no such APIService", mend))]
            }
        };
        examinations.push(Examination::new(&name, hops));
    }
    Ok(DoctorReport::new(examinations))
}

/// The APIServices that are asked for, each if it is there; else all that name the Service.
async fn chosen(
    client: &Client,
    options: &DoctorOptions,
) -> anyhow::Result<Vec<(String, Option<APIService>)>> {
    let api = Api::<APIService>::all(client.clone());
    if options.api_services.is_empty() {
        let all = match ask::objects(&api, "").await {
            Asked::Found(all) => all,
            Asked::Missing => Vec::new(),
            Asked::Refused(why) | Asked::Failed(why) => anyhow::bail!(why),
        };
        let named = |object: &APIService| registry::names(object, &options.service);
        return Ok(all.into_iter().filter(named).map(|one| (one.name_any(), Some(one))).collect());
    }
    let mut chosen = Vec::new();
    for name in &options.api_services {
        let found = match ask::object(&api, name).await {
            Asked::Found(found) => Some(found),
            Asked::Missing => None,
            Asked::Refused(why) | Asked::Failed(why) => anyhow::bail!(why),
        };
        chosen.push((name.clone(), found));
    }
    Ok(chosen)
}

/// Whom the cluster lets Kubridge believe.
async fn front_proxy(client: &Client) -> Verdict {
    match ask::object(&Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE), NAME).await {
        Asked::Found(found) => front_proxy::judge(Some(&found.data.unwrap_or_default()), SystemTime::now()),
        Asked::Missing => front_proxy::judge(None, SystemTime::now()),
        Asked::Refused(why) | Asked::Failed(why) => {
            Verdict::not_tried(format!("the ConfigMap {NAMESPACE}/{NAME} cannot be read: {why}"))
                .with_mend("ask as somebody with the Role extension-apiserver-authentication-reader")
        }
    }
}

/// What is the same for all APIServices of a cluster.
struct Doctor {
    client: Client,
    options: DoctorOptions,
    front_proxy: Verdict,
    grants: Verdict,
}

impl Doctor {
    async fn hops(&self, object: &APIService) -> Vec<(Hop, Verdict)> {
        let own = apiservice::judge(object, &self.options.service);
        if own.state == State::Broken && apiservice::service(object).is_none() {
            return vec![(Hop::ApiService, own)];
        }
        let (service, tls) = self.connection(object).await;
        let available = apiservice::judge_available(object);
        let spec = object.spec.clone().unwrap_or_default();
        let group_version =
            format!("{}/{}", spec.group.unwrap_or_default(), spec.version.unwrap_or_default());
        let got = ask::get(&self.client, &format!("/apis/{group_version}"), PATIENCE).await;
        let (discovery, resources) = served::judge_discovery(&got, &group_version);
        let openapi = self.openapi(object, &group_version, &resources).await;
        let backend = self.backend(object, &group_version, &resources).await;
        vec![
            (Hop::ApiService, own),
            (Hop::Service, service),
            (Hop::Tls, tls),
            (Hop::FrontProxy, self.front_proxy.clone()),
            (Hop::Available, available),
            (Hop::Discovery, discovery),
            (Hop::OpenApi, openapi),
            (Hop::Grants, self.grants.clone()),
            (Hop::Backend, backend),
        ]
    }

    /// The Service that the APIService names, and TLS to where it leads.
    async fn connection(&self, object: &APIService) -> (Verdict, Verdict) {
        let Some(service) = apiservice::service(object) else {
            let none = Verdict::not_tried("the APIService names none");
            return (none.clone(), none);
        };
        let looked = service::judge_forwarding(service::look(&self.client, &service).await);
        let spec = object.spec.clone().unwrap_or_default();
        let ByteString(bundle) = spec.ca_bundle.unwrap_or_default();
        let insecure = spec.insecure_skip_tls_verify == Some(true);
        let now = SystemTime::now();
        let trust = tls::judge_bundle(&bundle, insecure, now);
        let name = format!("{}.{}.svc", service.name, service.namespace);
        let certificate = match &looked.place {
            None => Verdict::not_tried("its certificate: the Service leads nowhere"),
            Some(place) => match tls::reach(place).await {
                Err(why) => self.unreached("its certificate", &why),
                Ok(reached) => {
                    let shown = tls::shown(reached, &name).await;
                    let verdict = tls::judge_shown(&shown, &bundle, insecure, &name, now);
                    match verdict.state {
                        State::Broken if self.options.kubeconfig.is_some() => verdict.detail(
                            "it was dialled from here: where this address is another host's here, run it in the cluster",
                        ),
                        _ => verdict,
                    }
                }
            },
        };
        (looked.verdict, Verdict::worst_of([trust, certificate]))
    }

    /// The documents of the group and version.
    async fn openapi(
        &self,
        object: &APIService,
        group_version: &str,
        resources: &[served::Resource],
    ) -> Verdict {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let available_for = apiservice::available_for(object, i64::try_from(now).unwrap_or_default());
        let index = ask::get(&self.client, "/openapi/v3", PATIENCE).await;
        let document = match openapi::judge_index(&index, group_version, available_for) {
            Ok(url) => {
                // Without the hash: where that is a moment old, the answer is a redirect, which nobody follows.
                let path = url.split('?').next().unwrap_or(&url);
                let got = ask::get(&self.client, path, PATIENCE).await;
                openapi::judge_document(&got, group_version)
            }
            Err(verdict) => verdict,
        };
        let v2 = ask::get(&self.client, "/openapi/v2", LONG_PATIENCE).await;
        let v2 = openapi::judge_v2(&v2, group_version, resources);
        Verdict::worst_of([document, v2, grants::aggregator(&self.client).await])
    }

    /// The backend: its Service, a list through everything, and its schema.
    async fn backend(
        &self,
        object: &APIService,
        group_version: &str,
        resources: &[served::Resource],
    ) -> Verdict {
        let backend = match backend::Found::of(&self.client, object).await {
            Ok(backend) => backend,
            Err(verdict) => return verdict,
        };
        let services = Services::new(self.client.clone(), None, &self.options.domain);
        let mut verdicts: Vec<Verdict> = backend.said.iter().cloned().collect();
        let place = match services.named(backend.host(), backend.port()) {
            Some(service) => {
                let looked = service::look(&self.client, &service).await;
                verdicts.push(looked.verdict);
                looked.place
            }
            None => Some(backend.outside()),
        };
        verdicts.push(match served::listed(group_version, resources) {
            None => Verdict::not_tried("a list: discovery names no resource that has one"),
            Some(path) => {
                let got = ask::get(&self.client, &path, PATIENCE).await;
                served::judge_list(&got, &path, &backend.url)
            }
        });
        verdicts.push(match &place {
            None => Verdict::not_tried("its schema: it is nowhere"),
            Some(place) => match tls::reach(place).await {
                Err(why) => self.unreached("its schema", &why),
                Ok(reached) => backend.lint(reached.address, &self.options.mappings).await,
            },
        });
        Verdict::worst_of(verdicts)
    }

    /// Nobody's fault: pods are reached from pods.
    fn unreached(&self, what: &str, why: &str) -> Verdict {
        let ServiceName { namespace, name, .. } = &self.options.service;
        let verdict = Verdict::not_tried(format!("{what}: it is not reached from here")).detail(why);
        match self.options.kubeconfig {
            Some(_) => verdict.with_mend(format!(
                "run it in the cluster: kubectl exec -n {namespace} deploy/{name} -- kubridge doctor"
            )),
            None => verdict,
        }
    }
}
