//! The real kubectl and the inventory: nothing faked in between. The suite is played in two places: at an aggregator that
//! stands alone, and in a cluster, through its kube-apiserver. What the two differ in is in [`Place`].

mod apiservices;
mod auth;
mod place;
mod read;
mod watch;
mod write;

pub use place::Place;

use crate::support::{Kubectl, Stack};

/// The suite. Alone, each is a test of its own, with a stack of its own. A cluster takes seconds to get ready: there, one
/// test plays them all, one after the other.
macro_rules! suite {
    ($($part:ident: $($scene:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $scene() {
                let place = Place::standalone().await;
                place.furnish().await;
                $part::$scene(&place).await;
            }
        )+)+

        /// Plays it in a place that has nothing of the inventory yet, and leaves nothing behind.
        pub async fn play(place: &Place) {
            $($(
                eprintln!("{}", concat!(stringify!($part), "::", stringify!($scene)));
                place.furnish().await;
                $part::$scene(place).await;
                place.clear().await;
            )+)+
        }
    };
}

suite! {
    auth:
        auth_says_who_and_what,
        a_plain_user_is_told_what_it_may_not,
        a_wrong_token_is_turned_away;
    read:
        api_resources_lists_what_is_served,
        get_prints_the_columns,
        get_reaches_every_namespace,
        get_prints_every_format,
        get_selects,
        describe_and_explain_have_text,
        get_raw_reads_discovery,
        get_apiservices_shows_where_each_is_served,
        get_says_what_is_not_there;
    watch:
        get_watch_prints_what_happens,
        wait_for_jsonpath_and_delete,
        delete_waits_for_the_finalizer;
    write:
        apply_creates_changes_and_leaves_alone,
        create_refuses_what_is_wrong,
        diff_shows_the_change_and_writes_nothing,
        edit_writes_what_the_editor_left,
        patch_takes_merge_and_json,
        replace_label_and_annotate,
        delete_removes,
        dry_run_writes_nothing;
}

/// A stack with three machines in two namespaces, and a kubectl for its administrator.
async fn furnished() -> (Stack, Kubectl) {
    let stack = Stack::start().await;
    let kubectl = stack.kubectl().await;
    kubectl.run_with(&["create", "-f", "-"], MACHINES, &[]).await.ok();
    (stack, kubectl)
}

const MACHINES: &str = r#"
apiVersion: inventory.example.com/v1
kind: Machine
metadata: {name: atlas, namespace: default, labels: {tier: db}}
spec:
  serial: A-1
  rack: r1
  cpus: 8
  memory: 16Gi
  disks:
  - {name: sda, size: 500Gi}
  - {name: sdb, size: 1Ti, rotational: true}
---
apiVersion: inventory.example.com/v1
kind: Machine
metadata: {name: boreas, namespace: default, labels: {tier: web}}
spec: {serial: B-2, rack: r2, cpus: 4, memory: 8Gi, power: "Off"}
---
apiVersion: inventory.example.com/v1
kind: Machine
metadata: {name: castor, namespace: lab, labels: {tier: web}}
spec: {serial: C-3, rack: r1, cpus: 2, memory: 4Gi}
---
apiVersion: inventory.example.com/v1
kind: Rack
metadata: {name: r1}
spec: {location: "hall 2", units: 42}
"#;

/// The words of each line.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}
