//! A server of one's own, and short ways to say things to it.

use std::time::Duration;

use inventory::{
    Options, Running, Server,
    contract::{DeleteRequest, GetRequest, ListMeta, ListOptions, ListRequest, ObjectMeta, WatchRequest},
    v1::{
        CreateMachineRequest, Machine, MachineEvent, MachineSpec, UpdateMachineRequest,
        machines_client::MachinesClient, racks_client::RacksClient,
    },
};
use tonic::{Status, Streaming, transport::Channel};

pub(crate) struct Bench {
    pub(crate) running: Running,
    pub(crate) channel: Channel,
    pub(crate) machines: MachinesClient<Channel>,
    pub(crate) racks: RacksClient<Channel>,
}

/// On any free port, without a first machine, in memory.
pub(crate) fn options() -> Options {
    Options { listen: "127.0.0.1:0".parse().unwrap(), first_machine: false, ..Default::default() }
}

pub(crate) async fn start() -> Bench {
    start_with(options()).await
}

pub(crate) async fn start_with(options: Options) -> Bench {
    let running = Server::start(options).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", running.addr)).unwrap().connect().await.unwrap();
    let machines = MachinesClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    let racks = RacksClient::new(channel.clone());
    Bench { running, channel, machines, racks }
}

pub(crate) fn machine(name: &str) -> Machine {
    let meta = ObjectMeta { name: name.into(), namespace: "default".into(), ..Default::default() };
    let spec = MachineSpec { serial: format!("S-{name}"), ..Default::default() };
    Machine { metadata: Some(meta.into()), spec: Some(spec), status: None }
}

pub(crate) fn meta(machine: &Machine) -> ObjectMeta {
    machine.metadata.as_ref().unwrap().decode_fields().unwrap()
}

pub(crate) fn version(machine: &Machine) -> u64 {
    meta(machine).resource_version.parse().unwrap()
}

impl Bench {
    pub(crate) async fn create(&self, machine: Machine) -> Result<Machine, Status> {
        let request = CreateMachineRequest { machine: Some(machine), options: None };
        Ok(self.machines.clone().create_machine(request).await?.into_inner())
    }

    pub(crate) async fn update(&self, machine: Machine) -> Result<Machine, Status> {
        let request = UpdateMachineRequest { machine: Some(machine), options: None };
        Ok(self.machines.clone().update_machine(request).await?.into_inner())
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Machine, Status> {
        let request = GetRequest { namespace: "default".into(), name: name.into(), options: None };
        Ok(self.machines.clone().get_machine(request).await?.into_inner())
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), Status> {
        let request = DeleteRequest { namespace: "default".into(), name: name.into(), options: None };
        self.machines.clone().delete_machine(request).await.map(|_| ())
    }

    /// The chunks' sizes, the metadata, the items.
    pub(crate) async fn list(
        &self,
        options: ListOptions,
    ) -> Result<(Vec<usize>, ListMeta, Vec<Machine>), Status> {
        let request = ListRequest { namespace: String::new(), options: Some(options) };
        let mut stream = self.machines.clone().list_machines(request).await?.into_inner();
        let (mut chunks, mut metadata, mut items) = (Vec::new(), None, Vec::new());
        while let Some(chunk) = stream.message().await? {
            chunks.push(chunk.items.len());
            assert!(metadata.is_none() || chunk.metadata.is_none(), "metadata twice");
            metadata = metadata.or(chunk.metadata);
            items.extend(chunk.items);
        }
        Ok((chunks, metadata.expect("a list has metadata"), items))
    }

    pub(crate) async fn watch(&self, options: ListOptions) -> Result<Streaming<MachineEvent>, Status> {
        let request = WatchRequest { namespace: String::new(), options: Some(options) };
        Ok(self.machines.clone().watch_machines(request).await?.into_inner())
    }

    pub(crate) async fn watch_from(&self, version: &str) -> Result<Streaming<MachineEvent>, Status> {
        self.watch(ListOptions { resource_version: version.into(), ..Default::default() }).await
    }

    pub(crate) async fn head(&self) -> String {
        self.list(ListOptions { limit: 1, ..Default::default() }).await.unwrap().1.resource_version
    }
}

/// The next event; a test that waits for what does not come ends here.
pub(crate) async fn next(stream: &mut Streaming<MachineEvent>) -> MachineEvent {
    let event = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    event.expect("no event came").unwrap().expect("the stream ended")
}
