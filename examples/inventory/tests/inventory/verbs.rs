use inventory::{
    Options, Server,
    contract::{
        DeleteOptions, DeleteRequest, GetOptions, GetRequest, ListOptions, ListRequest, ObjectMeta,
        Preconditions, UpdateOptions,
    },
    meta::Meta,
    v1::{
        CreateMachineRequest, CreateRackRequest, DeleteRackRequest, Disk, GetRackRequest, ListRacksRequest,
        MachineSpec, MachineStatus, PowerCycleMachineRequest, PowerState, Rack, RackSpec, RackStatus,
        UpdateMachineRequest, UpdateRackRequest,
    },
};
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{machine, meta, options, start, start_with, version};

#[tokio::test]
async fn a_machine_lives_and_dies() {
    let bench = start().await;
    let made = bench.create(machine("a")).await.unwrap();
    assert_eq!(made.status.as_ref().unwrap().power(), PowerState::On);
    assert_eq!(bench.get("a").await.unwrap(), made);
    assert_eq!(bench.create(machine("a")).await.unwrap_err().code(), Code::AlreadyExists);

    let mut changed = made.clone();
    changed.spec.as_mut().unwrap().rack = "r1".into();
    changed.status = None;
    let changed = bench.update(changed).await.unwrap();
    assert_eq!(version(&changed), version(&made) + 1, "each write takes the next version");
    assert_eq!(changed.status, made.status, "the status is not the main resource's to write");
    assert_eq!(
        version(&bench.update(changed.clone()).await.unwrap()),
        version(&changed),
        "no change, no write"
    );

    bench.delete("a").await.unwrap();
    assert_eq!(bench.head().await, (version(&changed) + 1).to_string(), "a delete takes a version too");
    assert_eq!(bench.get("a").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.delete("a").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.update(machine("a")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn metadata_comes_back_as_it_went_in() {
    let bench = start().await;
    let mut wire = meta(&machine("a")).encode_to_vec();
    wire.extend_from_slice(b"\x9a\x3e\x03new"); // field 995, which this build does not know
    let mut sent = machine("a");
    sent.metadata = Some(Meta::decode(wire.as_slice()).unwrap());
    let mut made = bench.create(sent.clone()).await.unwrap();
    made.spec.as_mut().unwrap().rack = "r".into();
    let mut back = bench.update(made).await.unwrap().metadata.unwrap();
    back.set_resource_version("");
    assert_eq!(back.encode_to_vec(), wire);
}

#[tokio::test]
async fn a_stale_version_or_another_uid_is_a_conflict_with_details() {
    let bench = start().await;
    let mut first = machine("a");
    first.metadata = Some(ObjectMeta { uid: "u1".into(), ..meta(&first) }.into());
    let made = bench.create(first).await.unwrap();
    let mut changed = made.clone();
    changed.spec.as_mut().unwrap().rack = "r1".into();
    bench.update(changed).await.unwrap();

    let mut stale = made.clone();
    stale.spec.as_mut().unwrap().rack = "r2".into();
    let status = bench.update(stale.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    let details = status.get_error_details();
    assert_eq!(details.precondition_failure().unwrap().violations[0].r#type, "RESOURCE_VERSION");
    assert_eq!(details.error_info().unwrap().reason, "RESOURCE_VERSION");

    stale.metadata.as_mut().unwrap().set_resource_version("");
    bench.update(stale.clone()).await.expect("no version: unconditional");
    stale.metadata = Some(ObjectMeta { uid: "u2".into(), ..meta(&stale) }.into());
    let status = bench.update(stale).await.unwrap_err();
    assert_eq!(status.get_error_details().precondition_failure().unwrap().violations[0].r#type, "UID");

    let delete = |conditions: Preconditions| {
        let options = DeleteOptions { preconditions: Some(conditions), ..Default::default() };
        let request = DeleteRequest { namespace: "default".into(), name: "a".into(), options: Some(options) };
        let mut client = bench.machines.clone();
        async move { client.delete_machine(request).await.map(|_| ()) }
    };
    let old = Preconditions { resource_version: Some(meta(&made).resource_version), uid: None };
    assert_eq!(delete(old).await.unwrap_err().code(), Code::Aborted);
    let other = Preconditions { uid: Some("u2".into()), resource_version: None };
    assert_eq!(delete(other).await.unwrap_err().code(), Code::Aborted);
    let now = meta(&bench.get("a").await.unwrap()).resource_version;
    delete(Preconditions { uid: Some("u1".into()), resource_version: Some(now) }).await.unwrap();
}

#[tokio::test]
async fn every_faulty_field_is_named_by_its_json_path() {
    let bench = start().await;
    let mut bad = machine("a");
    bad.spec = Some(MachineSpec {
        serial: "no spaces".into(),
        power: 7,
        disks: vec![Disk { name: "sda".into(), ..Default::default() }; 2],
        power_off_grace: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        ..Default::default()
    });
    let status = bench.create(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<_> =
        details.bad_request().unwrap().field_violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["spec.serial", "spec.power", "spec.disks[1].name", "spec.powerOffGrace"]);

    let mut nameless = machine("");
    nameless.spec = None;
    let details = bench.create(nameless).await.unwrap_err().get_error_details();
    let fields: Vec<_> =
        details.bad_request().unwrap().field_violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["spec.serial", "metadata.name"]);
}

#[tokio::test]
async fn a_dry_run_writes_nothing_but_checks_everything() {
    let bench = start().await;
    let made = bench.create(machine("a")).await.unwrap();
    let head = bench.head().await;
    let mut client = bench.machines.clone();
    let all = vec!["All".to_owned()];

    let options = inventory::contract::CreateOptions { dry_run: all.clone(), ..Default::default() };
    let request =
        |name| CreateMachineRequest { machine: Some(machine(name)), options: Some(options.clone()) };
    let answer = client.create_machine(request("b")).await.unwrap().into_inner();
    assert_eq!(meta(&answer).resource_version, "");
    assert_eq!(client.create_machine(request("a")).await.unwrap_err().code(), Code::AlreadyExists);

    let mut changed = made.clone();
    changed.spec.as_mut().unwrap().rack = "r9".into();
    let options = Some(UpdateOptions { dry_run: all.clone(), ..Default::default() });
    let request = UpdateMachineRequest { machine: Some(changed), options };
    let answer = client.update_machine(request).await.unwrap().into_inner();
    assert_eq!((answer.spec.as_ref().unwrap().rack.as_str(), version(&answer)), ("r9", version(&made)));

    let options = Some(DeleteOptions { dry_run: all, ..Default::default() });
    let request = DeleteRequest { namespace: "default".into(), name: "a".into(), options };
    client.delete_machine(request).await.unwrap();
    let cycle = PowerCycleMachineRequest {
        namespace: "default".into(),
        name: "a".into(),
        dry_run: true,
        ..Default::default()
    };
    assert_eq!(client.power_cycle_machine(cycle).await.unwrap().into_inner().power_cycles, 1);

    assert_eq!(bench.head().await, head);
    assert_eq!(bench.get("a").await.unwrap(), made);
    assert_eq!(bench.get("b").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn status_and_power() {
    let bench = start().await;
    let mut made = bench.create(machine("a")).await.unwrap();
    let mut client = bench.machines.clone();
    made.spec.as_mut().unwrap().serial = "OTHER".into();
    made.status =
        Some(MachineStatus { power_cycles: 41, power: PowerState::On.into(), ..Default::default() });
    let request = UpdateMachineRequest { machine: Some(made), options: None };
    let written = client.update_machine_status(request).await.unwrap().into_inner();
    assert_eq!(written.spec.as_ref().unwrap().serial, "S-a", "the spec is not the status's to write");

    let mut cycle =
        PowerCycleMachineRequest { namespace: "default".into(), name: "a".into(), ..Default::default() };
    let answer = client.power_cycle_machine(cycle.clone()).await.unwrap().into_inner();
    assert_eq!(answer.power_cycles, 42);
    let mut stored = bench.get("a").await.unwrap();
    assert_eq!(stored.status.as_ref().unwrap().last_power_cycle, answer.last_power_cycle);

    stored.spec.as_mut().unwrap().power = PowerState::Off.into();
    let off = bench.update(stored).await.unwrap().status.unwrap();
    assert_eq!(
        (off.power(), off.power_cycles, off.conditions[0].status.as_str()),
        (PowerState::Off, 42, "False")
    );
    assert_eq!(client.power_cycle_machine(cycle.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    cycle.force = true;
    assert_eq!(client.power_cycle_machine(cycle).await.unwrap().into_inner().power(), PowerState::On);
}

#[tokio::test]
async fn a_long_list_comes_in_chunks_and_a_paged_one_is_of_one_moment() {
    let bench = start().await;
    for i in 0..1100 {
        bench.create(machine(&format!("m{i:04}"))).await.unwrap();
    }
    let (chunks, metadata, items) = bench.list(ListOptions::default()).await.unwrap();
    assert_eq!((chunks, items.len()), (vec![500, 500, 100], 1100));
    let head = metadata.resource_version;

    let mut options = ListOptions { limit: 400, ..Default::default() };
    let (_, metadata, mut paged) = bench.list(options.clone()).await.unwrap();
    assert_eq!((paged.len(), &metadata.resource_version), (400, &head));
    // What happens now is not in the pages to come: one goes, one changes, one comes.
    bench.delete("m0700").await.unwrap();
    let mut changed = bench.get("m0900").await.unwrap();
    changed.spec.as_mut().unwrap().rack = "moved".into();
    bench.update(changed.clone()).await.unwrap();
    bench
        .update({
            changed.metadata.as_mut().unwrap().set_resource_version("");
            changed.spec.as_mut().unwrap().rack = "again".into();
            changed
        })
        .await
        .unwrap();
    bench.create(machine("m0500a")).await.unwrap();
    options.r#continue = metadata.r#continue;
    while !options.r#continue.is_empty() {
        let (_, metadata, page) = bench.list(options.clone()).await.unwrap();
        assert_eq!(metadata.resource_version, head);
        paged.extend(page);
        options.r#continue = metadata.r#continue;
    }
    assert_eq!(paged, items);

    let exact = ListOptions {
        resource_version: head,
        resource_version_match: "Exact".into(),
        field_selector: "metadata.name=m0700".into(),
        ..Default::default()
    };
    assert_eq!(bench.list(exact).await.unwrap().2.len(), 1);
    let select = |fields: &str| ListOptions { field_selector: fields.into(), limit: 1, ..Default::default() };
    let (_, metadata, items) = bench.list(select("spec.rack=again")).await.unwrap();
    assert_eq!((items.len(), metadata.r#continue.as_str()), (1, ""));
    let garbage = ListOptions { r#continue: "x".into(), ..Default::default() };
    assert_eq!(bench.list(garbage).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_page_of_a_moment_that_is_forgotten_is_out_of_range() {
    let bench = start_with(Options { log_limit: 3, ..options() }).await;
    for name in ["a", "b", "c"] {
        bench.create(machine(name)).await.unwrap();
    }
    let (_, metadata, _) = bench.list(ListOptions { limit: 1, ..Default::default() }).await.unwrap();
    for name in ["d", "e", "f", "g"] {
        bench.create(machine(name)).await.unwrap();
    }
    let next = ListOptions { limit: 1, r#continue: metadata.r#continue, ..Default::default() };
    assert_eq!(bench.list(next).await.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn objects_beyond_four_mebibytes_pass() {
    let bench = start().await;
    let mut large = machine("large");
    large.spec.as_mut().unwrap().cpu_model = "x".repeat(6 << 20);
    bench.create(large).await.unwrap();
    bench.create(machine("small")).await.unwrap();
    assert_eq!(bench.list(ListOptions::default()).await.unwrap().2.len(), 2);
}

#[tokio::test]
async fn a_rack_with_requests_of_its_own() {
    let bench = start().await;
    let mut client = bench.racks.clone();
    let metadata = ObjectMeta { name: "r1".into(), ..Default::default() };
    let spec = RackSpec { location: "hall 1".into(), units: 42, battery_time: None };
    let rack = Rack { metadata: Some(metadata.into()), spec: Some(spec), status: None };
    let create = |rack: &Rack, validate_only| CreateRackRequest { rack: Some(rack.clone()), validate_only };
    client.create_rack(create(&rack, true)).await.unwrap();
    let get = GetRackRequest { name: "r1".into(), resource_version: String::new() };
    assert_eq!(client.get_rack(get.clone()).await.unwrap_err().code(), Code::NotFound);
    let mut made = client.create_rack(create(&rack, false)).await.unwrap().into_inner();
    made.status = Some(RackStatus { free_units: 7, ..Default::default() });
    let update = UpdateRackRequest { rack: Some(made), validate_only: false };
    let written = client.update_rack(update).await.unwrap().into_inner();
    assert_eq!(client.get_rack(get).await.unwrap().into_inner(), written);
    assert_eq!(written.status.unwrap().free_units, 7);
    let list = ListRacksRequest { field_selector: "spec.location=hall 1".into(), ..Default::default() };
    let mut chunks = client.list_racks(list).await.unwrap().into_inner();
    assert_eq!(chunks.message().await.unwrap().unwrap().items.len(), 1);
    let delete = DeleteRackRequest { name: "r1".into(), ..Default::default() };
    assert_eq!(client.delete_rack(delete).await.unwrap().into_inner().spec.unwrap().units, 42);
}

#[tokio::test]
async fn the_host_is_the_first_machine_and_stays_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { database: dir.path().join("inventory.db"), first_machine: true, ..options() };
    let bench = start_with(options.clone()).await;
    let (_, _, items) = bench.list(ListOptions::default()).await.unwrap();
    assert_eq!(items.len(), 1);
    assert!(items[0].spec.as_ref().unwrap().cpus > 0);
    assert_eq!(meta(&items[0]).uid, "");
    let get = GetRackRequest { name: "local".into(), ..Default::default() };
    bench.racks.clone().get_rack(get).await.unwrap();
    bench.delete(&meta(&items[0]).name).await.unwrap();
    let head = bench.head().await;

    let second = Server::start(options.clone()).await.unwrap_err().to_string();
    assert!(second.contains("in use"), "{second}");
    drop((bench.machines, bench.racks, bench.channel));
    assert!(bench.running.stop().await);

    let bench = start_with(options).await;
    assert_eq!(bench.list(ListOptions::default()).await.unwrap().2.len(), 0);
    assert_eq!(bench.head().await, head, "versions go on where they were");
}

#[tokio::test]
async fn a_full_database_says_so_and_stays_whole() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("inventory.db");
    let bench = start_with(Options { database, max_bytes: Some(256 << 10), ..options() }).await;
    let kept = bench.create(machine("kept")).await.unwrap();
    let mut large = machine("large");
    large.spec.as_mut().unwrap().cpu_model = "x".repeat(1 << 20);
    let status = bench.create(large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("full"), "{}", status.message());
    assert_eq!(bench.get("kept").await.unwrap(), kept);
    let next = bench.create(machine("next")).await.unwrap();
    assert_eq!(version(&next), version(&kept) + 1, "the failed write left no gap");
}

#[tokio::test]
async fn a_version_that_is_not_there_yet_is_waited_for() {
    let bench = start().await;
    let made = bench.create(machine("a")).await.unwrap();
    let later = (version(&made) + 1).to_string();
    let options = Some(GetOptions { resource_version: later.clone() });
    let get = GetRequest { namespace: "default".into(), name: "b".into(), options };
    let mut client = bench.machines.clone();
    let (got, _) = tokio::join!(client.get_machine(get), bench.create(machine("b")));
    assert_eq!(meta(&got.unwrap().into_inner()).resource_version, later);
    let far = ListOptions { resource_version: u64::MAX.to_string(), ..Default::default() };
    let request = ListRequest { namespace: String::new(), options: Some(far) };
    let status = bench.machines.clone().list_machines(request).await.unwrap_err();
    assert!(status.message().starts_with("Too large resource version"), "{}", status.message());
}
