//! What `kubectl get apiservices` prints and a JSONPath cannot say.

use kubridge_bridge::model::Column;
use prost::Message as _;

use super::{
    proto::apiregistration::ApiService,
    target::{Target, target},
    validation::AVAILABLE,
};

/// The columns between NAME and AGE, as Kubernetes has them.
pub(super) fn apiservices() -> Vec<Column> {
    let column = |name: &str, description: &str, cell: fn(&[u8]) -> String| Column {
        name: name.into(),
        path: String::new(),
        column_type: "string".into(),
        format: String::new(),
        description: description.into(),
        priority: 0,
        compute: Some(cell),
    };
    vec![
        column("Service", "The reference to the service that hosts this API endpoint.", service_cell),
        column("Available", "Whether this service is available.", available_cell),
    ]
}

/// `Local`, `namespace/name`, or the URL of an annotated APIService without a service.
fn service_cell(object: &[u8]) -> String {
    let service = ApiService::decode(object).unwrap_or_default();
    if let Some(reference) = service.spec.as_ref().and_then(|spec| spec.service.as_ref()) {
        return format!("{}/{}", reference.namespace, reference.name);
    }
    match target(&service) {
        Target::Grpc { url } => url,
        Target::Named { name } => name,
        Target::Local
        | Target::Unresolved { .. }
        | Target::Unnamed
        | Target::Service { .. }
        | Target::UnknownProtocol { .. } => "Local".into(),
    }
}

/// `True`, `False (MissingEndpoints)`, or `Unknown`.
fn available_cell(object: &[u8]) -> String {
    let status = ApiService::decode(object).unwrap_or_default().status.unwrap_or_default();
    let Some(condition) = status.conditions.iter().find(|condition| condition.r#type == AVAILABLE) else {
        return "Unknown".into();
    };
    if condition.status == "True" || condition.reason.is_empty() {
        return condition.status.clone();
    }
    format!("{} ({})", condition.status, condition.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::proto::apiregistration::{
        ApiServiceCondition, ApiServiceSpec, ApiServiceStatus, ServiceReference,
    };

    fn cells(service: &ApiService) -> [String; 2] {
        let object = service.encode_to_vec();
        [service_cell(&object), available_cell(&object)]
    }

    #[test]
    fn cells_are_those_of_kubernetes() {
        let mut service = ApiService { spec: Some(ApiServiceSpec::default()), ..Default::default() };
        assert_eq!(cells(&service), ["Local", "Unknown"]);

        let condition = |status: &str, reason: &str| ApiServiceStatus {
            conditions: vec![ApiServiceCondition {
                r#type: AVAILABLE.into(),
                status: status.into(),
                reason: reason.into(),
                ..Default::default()
            }],
        };
        service
            .metadata
            .get_or_insert_default()
            .annotations
            .insert(crate::registry::target::BACKEND.into(), "grpc://127.0.0.1:50051".into());
        service.status = Some(condition("True", "Passed"));
        assert_eq!(cells(&service), ["grpc://127.0.0.1:50051", "True"]);

        service.spec.get_or_insert_default().service =
            Some(ServiceReference { namespace: "wardle".into(), name: "api".into(), port: None });
        service.status = Some(condition("False", "MissingEndpoints"));
        assert_eq!(cells(&service), ["wardle/api", "False (MissingEndpoints)"]);
        service.status = Some(condition("False", ""));
        assert_eq!(cells(&service)[1], "False");
    }
}
