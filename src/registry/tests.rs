#![allow(clippy::unwrap_used, reason = "tests")]

use kubridge_bridge::{
    caller::{Call, Caller as _, Class, Detail},
    proto::{self as contract, ObjectMeta, Time},
};
use tempfile::TempDir;

use super::{
    owned::{AUTOMANAGED, MANIFEST},
    *,
};

const URL: &str = "grpc://127.0.0.1:50051";

pub(super) async fn registry() -> (Registry, TempDir) {
    let dir = TempDir::new().unwrap();
    (Registry::open(dir.path()).await.unwrap(), dir)
}

pub(super) async fn get(registry: &Registry, name: &str) -> Option<ApiService> {
    let stored = registry.store.get(registry.key(name)).await.unwrap();
    stored.map(|stored| decode(&stored.object).unwrap())
}

/// As a client does it.
pub(super) async fn create(
    registry: &Registry,
    service: &ApiService,
) -> Result<ApiService, kubridge_bridge::caller::CallError> {
    let request = proto::apiregistration::CreateApiServiceRequest {
        api_service: Some(service.clone()),
        options: Some(contract::CreateOptions::default()),
    };
    let call = Call {
        path: "/kubridge.apiregistration.v1.APIServices/CreateAPIService".into(),
        message: request.encode_to_vec().into(),
        class: Class::Write,
    };
    registry.caller().unary(call).await.map(|answer| decode(&answer).unwrap())
}

pub(super) fn service(version: &str, group: &str) -> ApiService {
    claims(URL, &[(group.into(), version.into())]).remove(0)
}

fn condition(status: &str, reason: &str) -> ApiServiceCondition {
    ApiServiceCondition {
        r#type: validation::AVAILABLE.into(),
        status: status.into(),
        last_transition_time: Some(Time { seconds: 100, nanos: 0 }),
        reason: reason.into(),
        message: "m".into(),
    }
}

#[tokio::test]
async fn the_built_in_apiservices_are_there_from_the_start_and_after_a_restart() {
    let (registry, dir) = registry().await;
    let names = |registry: &Registry| {
        let snapshot = registry.snapshots().borrow().clone();
        snapshot.claims.iter().map(|claim| (claim.name.clone(), claim.resource_version)).collect::<Vec<_>>()
    };
    let first = names(&registry);
    let wanted = [
        "v1.apiregistration.k8s.io",
        "v1.authentication.k8s.io",
        "v1.authorization.k8s.io",
        "v1alpha1.kubridge.io",
    ];
    assert_eq!(first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), wanted);
    let built_in = get(&registry, wanted[0]).await.unwrap();
    assert_eq!(validation::validate(&built_in), []);
    let metadata = built_in.metadata.unwrap();
    assert_eq!(metadata.labels["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(metadata.uid.len(), 36);
    assert_eq!(built_in.status.unwrap().conditions[0].reason, "Local");
    drop(registry);
    let again = Registry::open(dir.path()).await.unwrap();
    assert_eq!(names(&again), first, "nothing is written twice");
}

#[tokio::test]
async fn snapshots_follow_the_store_and_built_ins_come_back() {
    let (registry, _dir) = registry().await;
    let mut snapshots = registry.snapshots();
    let running = tokio::spawn({
        let registry = registry.clone();
        async move { registry.run().await }
    });
    create(&registry, &service("v1", "example.com")).await.unwrap();
    let snapshot =
        snapshots.wait_for(|snapshot| snapshot.claim("example.com", "v1").is_some()).await.unwrap().clone();
    let claim = snapshot.claim("example.com", "v1").unwrap();
    assert_eq!(claim.target, Target::Grpc { url: URL.into() });
    assert_eq!((claim.group_priority, claim.version_priority), (1000, 100));

    let uid =
        |snapshot: &Snapshot| snapshot.claim("authorization.k8s.io", "v1").map(|claim| claim.uid.clone());
    let before = uid(&snapshot);
    let key = registry.key("v1.authorization.k8s.io");
    registry.store.write(key, false, |_| Ok::<_, StoreError>(Change::Delete)).await.unwrap();
    snapshots.wait_for(|snapshot| uid(snapshot).is_some_and(|uid| Some(uid) != before)).await.unwrap();
    running.abort();
}

#[tokio::test]
async fn a_client_is_told_each_faulty_field() {
    let (registry, _dir) = registry().await;
    let mut bad = service("v1", "example.com");
    bad.spec.as_mut().unwrap().version_priority = 0;
    bad.metadata.as_mut().unwrap().annotations.insert(BACKEND.into(), "fleet:1".into());
    let error = create(&registry, &bad).await.unwrap_err();
    let kubridge_bridge::caller::CallError::Status(status) = &error else { panic!("{error}") };
    assert_eq!(status.code, kubridge_bridge::caller::Code::InvalidArgument);
    let [Detail::FieldViolations(faults)] = &status.details[..] else { panic!("{status:?}") };
    let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["spec.versionPriority", "metadata.annotations[kubridge.io/backend]"]);
    assert_eq!(get(&registry, "v1.example.com").await, None);
}

#[tokio::test]
async fn a_condition_is_written_when_it_says_something_new() {
    let (registry, _dir) = registry().await;
    create(&registry, &service("v1", "example.com")).await.unwrap();
    let name = "v1.example.com";
    let at = |seconds: i64, status: &str, reason: &str| ApiServiceCondition {
        last_transition_time: Some(Time { seconds, nanos: 0 }),
        ..condition(status, reason)
    };
    assert!(registry.set_conditions(name, "", vec![at(100, "False", "Down")]).await.unwrap());
    assert!(!registry.set_conditions(name, "", vec![at(200, "False", "Down")]).await.unwrap());
    assert!(registry.set_conditions(name, "", vec![at(300, "False", "Slow")]).await.unwrap());
    let stored = get(&registry, name).await.unwrap();
    assert_eq!(
        stored.status.unwrap().conditions,
        [at(100, "False", "Slow")],
        "the status did not change: the time stays"
    );
    assert!(registry.set_conditions(name, "", vec![at(400, "True", "Passed")]).await.unwrap());
    let other = ApiServiceCondition { r#type: "SchemaAccepted".into(), ..at(500, "True", "Loaded") };
    assert!(registry.set_conditions(name, "", vec![other.clone()]).await.unwrap());
    let stored = get(&registry, name).await.unwrap();
    assert_eq!(stored.status.clone().unwrap().conditions, [at(400, "True", "Passed"), other.clone()]);
    assert_eq!(stored.spec, service("v1", "example.com").spec);
    assert!(!registry.set_conditions("v1.none", "", vec![at(1, "True", "x")]).await.unwrap());
    let uid = stored.metadata.unwrap().uid;
    let version = |stored: Option<ApiService>| stored.unwrap().metadata.unwrap().resource_version;
    let before: u64 = version(get(&registry, name).await).parse().unwrap();
    let both =
        || vec![at(600, "False", "Down"), ApiServiceCondition { message: "new".into(), ..other.clone() }];
    assert!(!registry.set_conditions(name, "another", both()).await.unwrap(), "it is another object");
    assert!(registry.set_conditions(name, &uid, both()).await.unwrap());
    assert_eq!(version(get(&registry, name).await), (before + 1).to_string(), "one write");
    assert!(!registry.set_conditions(name, &uid, both()).await.unwrap());
}

#[tokio::test]
async fn what_a_backend_declares_is_claimed_kept_and_given_up() {
    let (registry, _dir) = registry().await;
    let owner = Owner::Backend(URL.into());
    let apis = |versions: &[&str]| {
        let apis: Vec<_> = versions.iter().map(|v| ("example.com".to_owned(), (*v).to_owned())).collect();
        claims(URL, &apis)
    };
    for claim in apis(&["v1", "v2alpha1"]) {
        assert_eq!(validation::validate(&claim), []);
    }
    let made = registry.apply(&owner, apis(&["v1", "v2alpha1"])).await.unwrap();
    assert!(made.iter().all(|(_, applied)| *applied == Applied::Created), "{made:?}");
    let first = get(&registry, "v1.example.com").await.unwrap();
    let metadata = first.metadata.clone().unwrap();
    assert_eq!(
        (metadata.labels[AUTOMANAGED].as_str(), metadata.annotations[BACKEND].as_str()),
        ("true", URL)
    );
    assert_eq!((metadata.uid.len(), metadata.generation), (36, 1));

    registry.set_conditions("v1.example.com", "", vec![condition("True", "Passed")]).await.unwrap();
    let again = registry.apply(&owner, apis(&["v1"])).await.unwrap();
    assert_eq!(
        again,
        [("v1.example.com".into(), Applied::Unchanged), ("v2alpha1.example.com".into(), Applied::Removed)]
    );
    assert_eq!(registry.retain_backends(&[URL.into()]).await.unwrap(), []);
    let gone = registry.retain_backends(&["grpc://other:1".into()]).await.unwrap();
    assert_eq!(gone, [("v1.example.com".into(), Applied::Removed)]);
    assert_eq!(get(&registry, "v1.authorization.k8s.io").await.unwrap().spec.unwrap().version, "v1");
}

#[tokio::test]
async fn an_update_keeps_what_an_object_is_and_a_finalizer_holds_it() {
    let (registry, _dir) = registry().await;
    let owner = Owner::Manifest("a.yaml".into());
    let mut wanted = service("v1", "example.com");
    registry.apply(&owner, vec![wanted.clone()]).await.unwrap();
    registry.set_conditions("v1.example.com", "", vec![condition("True", "Passed")]).await.unwrap();
    let before = get(&registry, "v1.example.com").await.unwrap();
    let held = before.clone().metadata.map(|m| ObjectMeta { finalizers: vec!["example.com/x".into()], ..m });
    let object = ApiService { metadata: held, ..before.clone() }.encode_to_vec();
    let key = registry.key("v1.example.com");
    registry.store.write(key, false, move |_| Ok::<_, StoreError>(Change::Put(object))).await.unwrap();

    wanted.spec.as_mut().unwrap().version_priority = 7;
    let applied = registry.apply(&owner, vec![wanted]).await.unwrap();
    assert_eq!(applied[0].1, Applied::Updated);
    let after = get(&registry, "v1.example.com").await.unwrap();
    let (old, new) = (before.metadata.unwrap(), after.metadata.unwrap());
    assert_eq!((&new.uid, new.generation, new.finalizers.len()), (&old.uid, 2, 1));
    assert_eq!(after.status, before.status);
    assert_eq!(after.spec.unwrap().version_priority, 7);

    registry.apply::<ApiService>(&owner, Vec::new()).await.unwrap();
    let waiting = get(&registry, "v1.example.com").await.unwrap().metadata.unwrap();
    assert!(waiting.deletion_timestamp.is_some());
}

#[tokio::test]
async fn what_a_user_made_is_never_overwritten() {
    let (registry, _dir) = registry().await;
    let mine = create(&registry, &service("v1", "example.com")).await.unwrap();
    for owner in [Owner::Backend(URL.into()), Owner::Manifest("a.yaml".into())] {
        let mut theirs = service("v1", "example.com");
        theirs.spec.as_mut().unwrap().version_priority = 7;
        let applied = registry.apply(&owner, vec![theirs]).await.unwrap();
        assert_eq!(applied, [("v1.example.com".to_owned(), Applied::Conflict(None))]);
        registry.apply::<ApiService>(&owner, Vec::new()).await.unwrap();
        assert_eq!(get(&registry, "v1.example.com").await.unwrap(), mine);
    }
    // Nor what another owner made.
    registry.apply(&Owner::Manifest("a.yaml".into()), vec![service("v2", "example.com")]).await.unwrap();
    assert_eq!(
        get(&registry, "v2.example.com").await.unwrap().metadata.unwrap().annotations[MANIFEST],
        "a.yaml"
    );
    let applied =
        registry.apply(&Owner::Manifest("b.yaml".into()), vec![service("v2", "example.com")]).await.unwrap();
    assert_eq!(applied[0].1, Applied::Conflict(Some(Owner::Manifest("a.yaml".into()))));
}
