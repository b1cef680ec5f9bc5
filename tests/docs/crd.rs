//! `deploy/manifests/crd.yaml` and the chart's copy of it: the CustomResourceDefinition of Backend.

use kubridge::registry::backend::definition;

use crate::same;

const HEADER: &str =
    "# Made of proto/kubridge/backend/v1alpha1/backend.proto: UPDATE_GOLDEN=1 cargo test --test docs\n";

#[test]
fn the_definition_of_backend_is_that_of_its_proto() {
    let text = format!("{HEADER}{}", serde_saphyr::to_string(&definition()).unwrap());
    same("../deploy/manifests/crd.yaml", &text);
    same("../deploy/chart/kubridge/crds/backends.yaml", &text);
}
