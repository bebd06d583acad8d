//! The permissions of the operator that only treatments, alerts and conflicts make use of: each is missed when it is not there, and
//! told. The others are tried by the tests of the chart.

use std::time::Duration;

use doctorkafka_api::KafkaReassignment;
use doctorkafka_testbed::{Process, wait_until};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::kubernetes::{Ward, kubectl};

const ROLE: &str = "doctorkafka-operator";

/// Takes verbs on a resource away from the role as `deploy/rbac` has it, and gives everything else back.
async fn take_away(ward: &Ward, permissions: &[(&str, &str)]) {
    let rbac = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rbac");
    kubectl(&ward.plane, &["apply", "--server-side", "--force-conflicts", "-f", rbac]).await;
    let role = kubectl(&ward.plane, &["get", "clusterrole", ROLE, "-o", "json"]).await;
    let role: Value = serde_json::from_str(&role).unwrap();
    let mut rules = role["rules"].clone();
    for (verb, resource) in permissions {
        let rule =
            rules.as_array_mut().unwrap().iter_mut().find(|rule| rule["resources"] == json!([resource]));
        let verbs = rule.unwrap()["verbs"].as_array_mut().unwrap();
        let before = verbs.len();
        verbs.retain(|given| given != verb);
        assert_eq!(verbs.len() + 1, before, "{verb} {resource} is not in the role");
    }
    rules.as_array_mut().unwrap().retain(|rule| rule["verbs"] != json!([]));
    let patch = json!({"rules": rules}).to_string();
    kubectl(&ward.plane, &["patch", "clusterrole", ROLE, "--type=merge", "-p", &patch]).await;
}

async fn until_refused(operator: &Process, verb: &str, resource: &str) {
    let refusal = format!("cannot {verb} resource \"{resource}\"");
    let what = format!("{refusal:?} in the log");
    let waited = wait_until(&what, Duration::from_secs(90), || async {
        log(operator).contains(&refusal).then_some(())
    });
    if let Err(error) = waited.await {
        panic!("{error}\n{}", log(operator));
    }
}

fn log(operator: &Process) -> String {
    std::fs::read_to_string(operator.log()).unwrap().replace("\\\"", "\"")
}

/// The one treatment, when it satisfies.
async fn treatment(ward: &Ward, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let waited = wait_until(what, Duration::from_secs(90), || async {
        let list = kubectl(&ward.plane, &["get", "kafkareassignments", "-n", "kafka", "-o", "json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        list["items"].as_array().unwrap().iter().find(|item| enough(item)).cloned()
    });
    waited.await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_a_treatment_needs_are_missed_and_told() {
    let ward = Ward::start_with(&[1, 2, 3]).await;
    take_away(&ward, &[("create", "events"), ("update", "kafkareassignments/status")]).await;
    let operator = ward.operator("one");
    ward.create_with("prod", json!({"mode": "Approve", "demote": {"brokers": [1]}})).await;
    until_refused(&operator, "create", "events").await;
    until_refused(&operator, "update", "kafkareassignments/status").await;

    take_away(&ward, &[]).await;
    let proposed =
        treatment(&ward, "the treatment to be proposed", |it| it["status"]["phase"] == "Proposed").await;

    // Somebody removes it, and puts another in its place that says something else.
    take_away(&ward, &[("create", "kafkareassignments"), ("delete", "kafkareassignments")]).await;
    let name = proposed["metadata"]["name"].as_str().unwrap();
    kubectl(&ward.plane, &["delete", "kafkareassignment", name, "-n", "kafka"]).await;
    until_refused(&operator, "create", "kafkareassignments").await;
    let mut forged = proposed.clone();
    let metadata = &proposed["metadata"];
    forged["metadata"] = json!({
        "name": name, "namespace": "kafka", "labels": metadata["labels"], "ownerReferences": metadata["ownerReferences"],
    });
    let changes = forged["spec"]["leadershipChanges"].as_array_mut().unwrap();
    assert!(changes.len() > 1, "{proposed}");
    changes.pop();
    forged.as_object_mut().unwrap().remove("status");
    let file = ward.kafka.folder.path().join("forged.json");
    std::fs::write(&file, forged.to_string()).unwrap();
    kubectl(&ward.plane, &["create", "-f", file.to_str().unwrap()]).await;
    until_refused(&operator, "delete", "kafkareassignments").await;

    take_away(&ward, &[]).await;
    treatment(&ward, "the doctor's own to be back", |it| it["spec"] == proposed["spec"]).await;
    assert!(!log(&operator).contains("panicked"), "{}", log(&operator));
}

/// Somebody else writes into a status all the time, until this is dropped.
struct Meddling(tokio::task::JoinHandle<()>);

impl Meddling {
    fn with<K>(api: Api<K>, name: &str, field: &'static str) -> Self
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        let name = name.to_owned();
        Self(tokio::spawn(async move {
            for number in 0.. {
                let patch = Patch::Merge(json!({"status": {field: format!("not the doctor's, {number}")}}));
                // A write may meet one of the operator's.
                let _ = api.patch_status(&name, &PatchParams::default(), &patch).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }))
    }
}

impl Drop for Meddling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_a_conflict_needs_are_missed_and_told() {
    let ward = Ward::start_with(&[1, 2, 3]).await;
    take_away(&ward, &[("get", "kafkahealthpolicies"), ("get", "kafkareassignments")]).await;
    let operator = ward.operator("one");
    ward.create_with("prod", json!({"mode": "Approve", "demote": {"brokers": [1]}})).await;
    let proposed =
        treatment(&ward, "the treatment to be proposed", |it| it["status"]["phase"] == "Proposed").await;

    let meddling = Meddling::with(ward.policies.clone(), "prod", "acting");
    until_refused(&operator, "get", "kafkahealthpolicies").await;
    drop(meddling);
    let treatments: Api<KafkaReassignment> = Api::namespaced(ward.policies.clone().into_client(), "kafka");
    let meddling = Meddling::with(treatments, proposed["metadata"]["name"].as_str().unwrap(), "message");
    until_refused(&operator, "get", "kafkareassignments").await;
    drop(meddling);

    take_away(&ward, &[]).await;
    let status = proposed["status"]["message"].clone();
    treatment(&ward, "the doctor's own status to be back", |it| it["status"]["message"] == status).await;
    assert!(!log(&operator).contains("panicked"), "{}", log(&operator));
}
