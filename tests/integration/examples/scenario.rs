//! One REST scenario, the same for a backend that keeps the contract and for one that has never heard of Kubernetes.
//!
//! Where the two differ and may, a field of [`Subject`] says so; the scenario then asks for what each of them promises.

mod reads;
mod refusals;
mod subject;
mod writes;

use serde_json::{Value, json};

pub use subject::{BOOKS, Subject};

use crate::support::{Client, Exchange, Options, Stack};
use subject::{MACHINES, Pages};

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// Somebody who may do nothing, by a bearer token: Kubernetes' CSV.
pub const TOKENS: &str = "s3cret,ann,1001\n";

/// How many changes the inventory remembers: fewer than the scenario makes when it wants to be forgotten.
const REMEMBERED: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_passes_it() {
    let options = Options { log_limit: Some(REMEMBERED), tokens: TOKENS.into(), ..Options::default() };
    let stack = Stack::with(options).await;
    play(&stack, &MACHINES).await;
}

/// Plays it against a stack that serves the subject, has nothing of it yet, and knows [`TOKENS`].
pub async fn play(stack: &Stack, subject: &Subject) {
    let scene = Scene { stack, client: &stack.client, subject };
    for (path, parent) in subject.parents.iter().map(|parent| parent()) {
        scene.client.post(path, &parent).await.expect(201);
    }
    writes::creates(&scene).await;
    writes::updates(&scene).await;
    writes::patches(&scene).await;
    writes::dry_runs(&scene).await;
    writes::deletes(&scene).await;
    writes::finalizers(&scene).await;
    reads::selectors(&scene).await;
    reads::pages(&scene).await;
    reads::watches(&scene).await;
    reads::initial_events(&scene).await;
    refusals::nothing_there(&scene).await;
    refusals::taken_names(&scene).await;
    refusals::invalid_objects(&scene).await;
    refusals::bad_requests(&scene).await;
    refusals::strict_validation(&scene).await;
    refusals::media_types(&scene).await;
    refusals::strangers(&scene).await;
    refusals::forgotten_versions(&scene).await;
}

/// Who plays, and where.
struct Scene<'a> {
    stack: &'a Stack,
    client: &'a Client,
    subject: &'a Subject,
}

impl Scene<'_> {
    /// The objects of the first namespace, where most of it takes place.
    fn collection(&self) -> String {
        self.collection_in(self.subject.namespaces[0])
    }

    /// The objects of the second namespace.
    fn elsewhere(&self) -> String {
        self.collection_in(self.subject.namespaces[1])
    }

    fn collection_in(&self, namespace: &str) -> String {
        let Subject { plural, .. } = self.subject;
        format!("{}/namespaces/{namespace}/{plural}", self.api())
    }

    /// The objects of all namespaces.
    fn everywhere(&self) -> String {
        format!("{}/{}", self.api(), self.subject.plural)
    }

    fn api(&self) -> String {
        format!("/apis/{}/{}", self.subject.group, self.subject.version)
    }

    fn api_version(&self) -> String {
        format!("{}/{}", self.subject.group, self.subject.version)
    }

    /// An object of the first namespace.
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.collection())
    }

    /// A valid object.
    fn object(&self, name: &str) -> Value {
        json!({
            "apiVersion": self.api_version(), "kind": self.subject.kind,
            "metadata": {"name": name}, "spec": (self.subject.spec)(name),
        })
    }

    fn labelled(&self, name: &str, labels: Value) -> Value {
        let mut object = self.object(name);
        object["metadata"]["labels"] = labels;
        object
    }

    async fn create(&self, name: &str) -> Value {
        self.client.post(&self.collection(), &self.object(name)).await.expect(201).json()
    }

    /// A merge patch that writes the number.
    fn with_number(&self, number: impl Into<Value>) -> Value {
        json!({"spec": {self.subject.number: number.into()}})
    }

    /// The number of an object.
    fn number<'v>(&self, object: &'v Value) -> &'v Value {
        &object["spec"][self.subject.number]
    }

    /// The path of the number, as causes have it.
    fn number_path(&self) -> String {
        format!("spec.{}", self.subject.number)
    }

    /// The names in a list that is answered with 200.
    async fn names(&self, path: &str) -> Vec<String> {
        names(&self.client.get(path).await.expect(200).json())
    }

    /// `details` of what is told of one object, without causes.
    fn details(&self, name: &str) -> Value {
        json!({"name": name, "group": self.subject.group, "kind": self.subject.plural})
    }

    /// Fails unless it is a 422 of the object that names this field for this reason.
    #[track_caller]
    fn expect_invalid(&self, answer: Exchange, name: &str, field: &str, reason: &str) {
        let status = refused(answer, 422, "Invalid");
        let details = &status["details"];
        let Subject { group, kind, .. } = self.subject;
        assert_eq!((&details["group"], &details["kind"]), (&json!(group), &json!(kind)), "{status}");
        assert_eq!(details["name"].as_str().unwrap_or_default(), name, "{status}");
        let causes = details["causes"].as_array().unwrap_or_else(|| panic!("no causes: {status}"));
        let cause = causes.iter().find(|cause| cause["field"] == field);
        let cause = cause.unwrap_or_else(|| panic!("no cause is {field}: {status}"));
        assert_eq!(cause["reason"], reason, "{status}");
        assert!(!cause["message"].as_str().unwrap().is_empty(), "{status}");
        assert!(status["message"].as_str().unwrap().contains(field), "{status}");
    }

    /// Deletes all that there is, for the next one.
    async fn clear(&self) {
        for collection in [self.collection(), self.elsewhere()] {
            self.client.delete(&collection).await.expect(200);
        }
        assert_eq!(self.names(&self.everywhere()).await, [""; 0]);
    }
}

/// Fails unless it is refused so; the `metav1.Status`. (That it is one, the client has seen.)
#[track_caller]
fn refused(answer: Exchange, code: u16, reason: &str) -> Value {
    let status = answer.expect(code).json();
    assert_eq!(status["reason"], reason, "{status}");
    status
}

/// The version of an object, or of a list: a number to all that there is of Kubernetes.
#[track_caller]
fn version(value: &Value) -> u64 {
    let version = value["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    version.unwrap_or_else(|| panic!("no resourceVersion: {value}"))
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}
