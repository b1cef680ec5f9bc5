//! `inventory.v1.Racks`.

use tonic::{Request, Response, Status};

use crate::{
    contract::ListOptions,
    kind::Part,
    v1::{
        CreateRackRequest, DeleteRackRequest, GetRackRequest, ListRacksRequest, ListRacksResponse, Rack,
        RackEvent, UpdateRackRequest, WatchRacksRequest, racks_server,
    },
    verbs::{Answers, Backend, Chunk},
    watch::Event,
};

/// The service.
#[derive(Debug)]
pub(crate) struct Racks(pub(crate) Backend);

#[tonic::async_trait]
impl racks_server::Racks for Racks {
    type ListRacksStream = Answers<ListRacksResponse>;
    type WatchRacksStream = Answers<RackEvent>;

    async fn get_rack(&self, request: Request<GetRackRequest>) -> Result<Response<Rack>, Status> {
        let GetRackRequest { name, resource_version } = request.into_inner();
        Ok(Response::new(self.0.get(String::new(), name, &resource_version).await?))
    }

    async fn list_racks(
        &self,
        request: Request<ListRacksRequest>,
    ) -> Result<Response<Self::ListRacksStream>, Status> {
        let request = request.into_inner();
        let options = ListOptions {
            label_selector: request.label_selector,
            field_selector: request.field_selector,
            limit: request.limit,
            r#continue: request.r#continue,
            resource_version: request.resource_version,
            resource_version_match: request.resource_version_match,
            ..Default::default()
        };
        Ok(Response::new(self.0.list(String::new(), options).await?))
    }

    async fn watch_racks(
        &self,
        request: Request<WatchRacksRequest>,
    ) -> Result<Response<Self::WatchRacksStream>, Status> {
        let request = request.into_inner();
        let options = ListOptions {
            label_selector: request.label_selector,
            field_selector: request.field_selector,
            resource_version: request.resource_version,
            allow_watch_bookmarks: request.allow_watch_bookmarks,
            send_initial_events: request.send_initial_events,
            timeout_seconds: request.timeout_seconds,
            ..Default::default()
        };
        Ok(Response::new(self.0.watch(String::new(), options).await?))
    }

    async fn create_rack(&self, request: Request<CreateRackRequest>) -> Result<Response<Rack>, Status> {
        let (caller, _, CreateRackRequest { rack, validate_only }) = request.into_parts();
        Ok(Response::new(self.0.create(&caller, rack, validate_only).await?))
    }

    async fn update_rack(&self, request: Request<UpdateRackRequest>) -> Result<Response<Rack>, Status> {
        let (caller, _, UpdateRackRequest { rack, validate_only }) = request.into_parts();
        Ok(Response::new(self.0.update(&caller, rack, Part::Main, validate_only).await?))
    }

    async fn delete_rack(&self, request: Request<DeleteRackRequest>) -> Result<Response<Rack>, Status> {
        let (caller, _, DeleteRackRequest { name, preconditions, validate_only }) = request.into_parts();
        let conditions = preconditions.unwrap_or_default();
        Ok(Response::new(self.0.delete(&caller, String::new(), name, conditions, validate_only).await?))
    }
}

impl From<Chunk<Rack>> for ListRacksResponse {
    fn from(Chunk { metadata, items }: Chunk<Rack>) -> Self {
        Self { metadata, items }
    }
}

impl From<Event<Rack>> for RackEvent {
    fn from(Event { kind, object, previous, resource_version, error }: Event<Rack>) -> Self {
        Self { r#type: kind.into(), object, previous, resource_version, error }
    }
}
