//! What kubectl shows.

use super::{Place, rows};

pub async fn api_resources_lists_what_is_served(place: &Place) {
    let kubectl = &place.kubectl;
    let table =
        kubectl.run(&["api-resources", "--api-group=inventory.example.com", "--no-headers"]).await.ok();
    assert_eq!(
        rows(&table),
        [
            vec!["machines", "mach", "inventory.example.com/v1", "true", "Machine"],
            vec!["racks", "inventory.example.com/v1", "false", "Rack"],
        ]
    );
    let wide = kubectl.run(&["api-resources", "--api-group=inventory.example.com", "-o", "wide"]).await.ok();
    assert!(wide.contains("create,delete,deletecollection,get,list,patch,update,watch"), "{wide}");
    assert!(wide.contains("all"), "{wide}");
    let versions = kubectl.run(&["api-versions"]).await.ok();
    for version in ["inventory.example.com/v1", "apiregistration.k8s.io/v1", "authorization.k8s.io/v1"] {
        assert!(versions.lines().any(|line| line == version), "{versions}");
    }
}

pub async fn get_prints_the_columns(place: &Place) {
    let kubectl = &place.kubectl;
    let table = kubectl.run(&["get", "machines"]).await.ok();
    let lines = rows(&table);
    assert_eq!(lines[0], ["NAME", "SERIAL", "RACK", "POWER", "CPUS", "MEMORY", "READY", "AGE"]);
    assert_eq!(lines[1][..7], ["atlas", "A-1", "r1", "On", "8", "16Gi", "True"]);
    assert_eq!(lines[2][..6], ["boreas", "B-2", "r2", "Off", "4", "8Gi"]);
    assert!(lines[1][7].ends_with('s'), "an age: {table}");

    let wide = kubectl.run(&["get", "machines", "-o", "wide"]).await.ok();
    assert_eq!(rows(&wide)[0][7..], ["OS", "CYCLES", "AGE"]);

    let one = kubectl.run(&["get", "mach", "atlas", "--no-headers"]).await.ok();
    assert_eq!(rows(&one).len(), 1);
    let racks = kubectl.run(&["get", "rack", "r1"]).await.ok();
    assert_eq!(rows(&racks)[1][..4], ["r1", "hall", "2", "42"]);
}

pub async fn get_reaches_every_namespace(place: &Place) {
    let kubectl = &place.kubectl;
    let all = kubectl.run(&["get", "machines", "-A", "--no-headers"]).await.ok();
    let found: Vec<_> = rows(&all).iter().map(|row| format!("{}/{}", row[0], row[1])).collect();
    assert_eq!(found, ["default/atlas", "default/boreas", "lab/castor"]);
    let lab = kubectl.run(&["get", "machines", "-n", "lab", "-o", "name"]).await.ok();
    assert_eq!(lab, "machine.inventory.example.com/castor\n");
    let empty = kubectl.run(&["get", "machines", "-n", "nowhere"]).await;
    assert_eq!((empty.code, empty.stderr.as_str()), (0, "No resources found in nowhere namespace.\n"));
    let category = kubectl.run(&["get", "all"]).await.ok();
    assert!(category.contains("machine.inventory.example.com/atlas"), "{category}");
    assert!(category.contains("rack.inventory.example.com/r1"), "{category}");
}

pub async fn get_prints_every_format(place: &Place) {
    let kubectl = &place.kubectl;
    let json: serde_json::Value =
        serde_json::from_str(&kubectl.run(&["get", "machine", "atlas", "-o", "json"]).await.ok()).unwrap();
    assert_eq!(json["apiVersion"], "inventory.example.com/v1");
    assert_eq!(json["kind"], "Machine");
    assert_eq!(json["spec"]["cpus"], 8);
    assert_eq!(json["status"]["powerCycles"], 0, "emit_zero");
    assert_eq!(json["metadata"]["generation"], 1);

    let yaml = kubectl.run(&["get", "machine", "atlas", "-o", "yaml"]).await.ok();
    assert!(yaml.starts_with("apiVersion: inventory.example.com/v1\nkind: Machine\n"), "{yaml}");
    assert!(yaml.contains("    memory: 16Gi\n") || yaml.contains("  memory: 16Gi\n"), "{yaml}");

    let path = kubectl.run(&["get", "machines", "-o", "jsonpath={.items[*].spec.serial}"]).await.ok();
    assert_eq!(path, "A-1 B-2");
    let custom =
        kubectl.run(&["get", "machines", "-o", "custom-columns=N:.metadata.name,C:.spec.cpus"]).await.ok();
    assert_eq!(rows(&custom), [vec!["N", "C"], vec!["atlas", "8"], vec!["boreas", "4"]]);
}

pub async fn get_selects(place: &Place) {
    let kubectl = &place.kubectl;
    let names = |args: &[&str]| {
        let mut all = vec!["get", "machines", "-A", "-o", "jsonpath={.items[*].metadata.name}"];
        all.extend_from_slice(args);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        async move { kubectl.run(&all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    assert_eq!(names(&["-l", "tier=web"]).await.ok(), "boreas castor");
    assert_eq!(names(&["-l", "tier in (db),tier notin (web)"]).await.ok(), "atlas");
    assert_eq!(names(&["-l", "!tier"]).await.ok(), "");
    assert_eq!(names(&["--field-selector", "spec.rack=r1"]).await.ok(), "atlas castor");
    assert_eq!(
        names(&["--field-selector", "metadata.name!=atlas,metadata.namespace=default"]).await.ok(),
        "boreas"
    );
    assert_eq!(names(&["--chunk-size=1"]).await.ok(), "atlas boreas castor");
    let complaint = names(&["--field-selector", "spec.cpus=8"]).await.fails();
    assert!(complaint.contains("field label not supported: spec.cpus"), "{complaint}");
}

pub async fn describe_and_explain_have_text(place: &Place) {
    let kubectl = &place.kubectl;
    let text = kubectl.run(&["describe", "machine", "atlas"]).await.ok();
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in ["Name: atlas", "API Version: inventory.example.com/v1", "Serial: A-1"] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    let text = kubectl.run(&["explain", "machine"]).await.ok();
    assert!(text.contains("GROUP:      inventory.example.com"), "{text}");
    assert!(text.contains("A computer that somebody has to look after."), "{text}");
    let text = kubectl.run(&["explain", "machine", "--recursive"]).await.ok();
    for field in ["powerOffGrace", "rotational", "creationTimestamp", "powerCycles"] {
        assert!(text.contains(field), "no {field} in {text}");
    }
    let text = kubectl.run(&["explain", "machine.spec.power"]).await.ok();
    assert!(text.contains("ENUM:") && text.contains("Off"), "{text}");
    assert!(text.contains("Whether the machine is meant to have power."), "{text}");
}

pub async fn get_raw_reads_discovery(place: &Place) {
    let kubectl = &place.kubectl;
    let group: serde_json::Value =
        serde_json::from_str(&kubectl.run(&["get", "--raw", "/apis/inventory.example.com"]).await.ok())
            .unwrap();
    assert_eq!(group["kind"], "APIGroup");
    assert_eq!(group["preferredVersion"]["groupVersion"], "inventory.example.com/v1");
    assert_eq!(kubectl.run(&["get", "--raw", "/livez"]).await.ok(), "ok");
    let version = kubectl.run(&["version"]).await.ok();
    assert!(version.contains(place.version), "{version}");
    let complaint = kubectl.run(&["get", "--raw", "/apis/nobody.example.com/v1"]).await.fails();
    assert!(complaint.contains("could not find the requested resource"), "{complaint}");
}

pub async fn get_apiservices_shows_where_each_is_served(place: &Place) {
    let kubectl = &place.kubectl;
    let table = kubectl.run(&["get", "apiservices"]).await.ok();
    let lines = rows(&table);
    assert_eq!(lines[0], ["NAME", "SERVICE", "AVAILABLE", "AGE"]);
    let line = |name: &str| lines.iter().find(|l| l[0] == name).unwrap_or_else(|| panic!("{name}: {table}"));
    assert_eq!(line("v1.authorization.k8s.io")[1..3], ["Local", "True"]);
    assert!(line("v1.inventory.example.com")[1].starts_with(place.served_by), "{table}");
    assert_eq!(line("v1.inventory.example.com")[2], "True");
    kubectl.run(&["wait", "--for=condition=Available", "apiservice/v1.inventory.example.com"]).await.ok();
}

pub async fn get_says_what_is_not_there(place: &Place) {
    let kubectl = &place.kubectl;
    let complaint = kubectl.run(&["get", "machine", "nobody"]).await.fails();
    assert_eq!(
        complaint,
        "Error from server (NotFound): machines.inventory.example.com \"nobody\" not found\n"
    );
    let complaint = kubectl.run(&["get", "unicorns"]).await.fails();
    assert_eq!(complaint, "error: the server doesn't have a resource type \"unicorns\"\n");
}
