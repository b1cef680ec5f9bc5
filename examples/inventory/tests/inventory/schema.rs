use inventory::contract::{GetSchemaRequest, schema_client::SchemaClient};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::start;

/// The key of field 51736 (length-delimited) on the wire: the annotations' extension number.
const ANNOTATION: [u8; 3] = [0xc2, 0xa1, 0x19];

fn annotations(bytes: &[u8]) -> usize {
    bytes.windows(ANNOTATION.len()).filter(|window| *window == ANNOTATION).count()
}

#[tokio::test]
async fn the_schema_carries_comments_and_annotations() {
    let bench = start().await;
    let mut client = SchemaClient::new(bench.channel.clone());
    let answer = client.get(GetSchemaRequest::default()).await.unwrap().into_inner();
    assert!(annotations(&answer.file_descriptor_set) >= 8);
    let set = FileDescriptorSet::decode(answer.file_descriptor_set.as_slice()).unwrap();
    let names: Vec<_> = set.file.iter().map(|file| file.name()).collect();
    for import in ["google/protobuf/duration.proto", "kubridge/v1/meta.proto", "google/rpc/status.proto"] {
        assert!(names.contains(&import), "{import} is missing");
    }
    let ours = set.file.iter().find(|file| file.name() == "inventory/v1/inventory.proto").unwrap();
    let comments = &ours.source_code_info.as_ref().unwrap().location;
    assert!(
        comments
            .iter()
            .any(|place| place.leading_comments().contains("A computer that somebody has to look"))
    );

    let again = client.get(GetSchemaRequest { etag: answer.etag.clone() }).await.unwrap().into_inner();
    assert_eq!((again.not_modified, again.file_descriptor_set.len(), again.etag), (true, 0, answer.etag));
}

#[tokio::test]
async fn both_reflections_carry_the_annotations() {
    let bench = start().await;
    let symbol = "inventory.v1.Machine".to_owned();

    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::FileContainingSymbol(
            symbol.clone(),
        )),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(bench.channel.clone());
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no files")
    };
    assert!(annotations(&files.file_descriptor_proto[0]) >= 8);

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            symbol,
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(bench.channel.clone());
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no files")
    };
    assert!(annotations(&files.file_descriptor_proto[0]) >= 8);
}
