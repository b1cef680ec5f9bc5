//! `inventory.v1.Machines`.

use tonic::{Request, Response, Status};

use crate::{
    contract::{DeleteRequest, GetRequest, ListRequest, WatchRequest},
    fault::{Fault, Violation},
    kind::{Part, is_up_to_an_hour, set_power},
    store::Key,
    v1::{
        CreateMachineRequest, ListMachinesResponse, Machine, MachineEvent, PowerCycleMachineRequest,
        PowerCycleMachineResponse, PowerState, UpdateMachineRequest, machines_server,
    },
    verbs::{Answers, Backend, Chunk, fields_of, is_dry_run, now},
    watch::Event,
};

/// The service.
#[derive(Debug)]
pub(crate) struct Machines(pub(crate) Backend);

#[tonic::async_trait]
impl machines_server::Machines for Machines {
    type ListMachinesStream = Answers<ListMachinesResponse>;
    type WatchMachinesStream = Answers<MachineEvent>;

    async fn get_machine(&self, request: Request<GetRequest>) -> Result<Response<Machine>, Status> {
        let GetRequest { namespace, name, options } = request.into_inner();
        let version = options.unwrap_or_default().resource_version;
        Ok(Response::new(self.0.get(namespace, name, &version).await?))
    }

    async fn list_machines(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListMachinesStream>, Status> {
        let ListRequest { namespace, options } = request.into_inner();
        Ok(Response::new(self.0.list(namespace, options.unwrap_or_default()).await?))
    }

    async fn watch_machines(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchMachinesStream>, Status> {
        let WatchRequest { namespace, options } = request.into_inner();
        Ok(Response::new(self.0.watch(namespace, options.unwrap_or_default()).await?))
    }

    async fn create_machine(
        &self,
        request: Request<CreateMachineRequest>,
    ) -> Result<Response<Machine>, Status> {
        let (caller, _, CreateMachineRequest { machine, options }) = request.into_parts();
        let dry_run = is_dry_run(&options.unwrap_or_default().dry_run)?;
        Ok(Response::new(self.0.create(&caller, machine, dry_run).await?))
    }

    async fn update_machine(
        &self,
        request: Request<UpdateMachineRequest>,
    ) -> Result<Response<Machine>, Status> {
        let (caller, _, UpdateMachineRequest { machine, options }) = request.into_parts();
        let dry_run = is_dry_run(&options.unwrap_or_default().dry_run)?;
        Ok(Response::new(self.0.update(&caller, machine, Part::Main, dry_run).await?))
    }

    async fn update_machine_status(
        &self,
        request: Request<UpdateMachineRequest>,
    ) -> Result<Response<Machine>, Status> {
        let (caller, _, UpdateMachineRequest { machine, options }) = request.into_parts();
        let dry_run = is_dry_run(&options.unwrap_or_default().dry_run)?;
        Ok(Response::new(self.0.update(&caller, machine, Part::Status, dry_run).await?))
    }

    async fn delete_machine(&self, request: Request<DeleteRequest>) -> Result<Response<()>, Status> {
        let (caller, _, DeleteRequest { namespace, name, options }) = request.into_parts();
        let options = options.unwrap_or_default();
        let dry_run = is_dry_run(&options.dry_run)?;
        let conditions = options.preconditions.unwrap_or_default();
        let _last: Machine = self.0.delete(&caller, namespace, name, conditions, dry_run).await?;
        Ok(Response::new(()))
    }

    async fn power_cycle_machine(
        &self,
        request: Request<PowerCycleMachineRequest>,
    ) -> Result<Response<PowerCycleMachineResponse>, Status> {
        let (caller, _, request) = request.into_parts();
        let PowerCycleMachineRequest { namespace, name, off_for, force, dry_run } = request;
        if off_for.is_some_and(|time| !is_up_to_an_hour(time)) {
            return Err(Fault::Invalid(vec![Violation::new("offFor", "must be between 0s and 3600s")]).into());
        }
        let key = Key { resource: "machines", namespace, name };
        let done = self.0.change(&caller, "powercycle", key, dry_run, move |stored: &Machine, key| {
            cycled(stored, key, force)
        });
        Ok(Response::new(done.await?.1))
    }
}

/// The machine after its power was cut and given back. (There is no real switch to throw here.)
fn cycled(stored: &Machine, key: &Key, force: bool) -> Result<(Machine, PowerCycleMachineResponse), Fault> {
    let mut machine = stored.clone();
    let generation = fields_of(stored)?.generation;
    let status = machine.status.get_or_insert_default();
    if status.power() != PowerState::On && !force {
        return Err(Fault::Refused {
            kind: "POWER",
            subject: format!("machines/{}", key.name),
            description: "the machine has no power: switch it on by spec.power, or say force".to_owned(),
        });
    }
    let now = now();
    set_power(status, PowerState::On, generation, now);
    status.power_cycles = status.power_cycles.saturating_add(1);
    status.last_power_cycle = Some(now);
    let response = PowerCycleMachineResponse {
        power: status.power,
        power_cycles: status.power_cycles,
        last_power_cycle: status.last_power_cycle,
    };
    Ok((machine, response))
}

impl From<Chunk<Machine>> for ListMachinesResponse {
    fn from(Chunk { metadata, items }: Chunk<Machine>) -> Self {
        Self { metadata, items }
    }
}

impl From<Event<Machine>> for MachineEvent {
    fn from(Event { kind, object, previous, resource_version, error }: Event<Machine>) -> Self {
        Self { r#type: kind.into(), object, previous, resource_version, error }
    }
}
