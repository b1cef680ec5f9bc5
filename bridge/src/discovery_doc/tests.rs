use super::*;

#[test]
fn versions_are_ordered_as_kubernetes_prefers_them() {
    let expected =
        ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
    let mut versions = expected;
    versions.reverse();
    versions.sort_by(|a, b| compare_versions(a, b));
    assert_eq!(versions, expected);
    for odd in ["v", "v1beta", "vbeta1", "v1beta1x", "v99999999999999999999999", "v+1", "v1alpha+1"] {
        assert_eq!(compare_versions("v1alpha1", odd), Ordering::Less, "{odd}");
    }
}
