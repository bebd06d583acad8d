//! The examples for each distribution.

use crate::world::{World, kubectl};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// What is handed out for each distribution: the API server takes what it knows, and rights are spelled as Strimzi spells them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_are_accepted() {
    let world = World::start().await;
    world.namespace("kafka", &["pod-security.kubernetes.io/enforce=restricted"]).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for distribution in ["strimzi", "koperator", "bitnami", "statefulset"] {
        for entry in std::fs::read_dir(folder.join(distribution)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            for object in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
                let (kind, group) = (object["kind"].as_str(), object["apiVersion"].as_str());
                *seen.entry(kind.unwrap_or("values").to_owned()).or_default() += 1;
                match (kind, group.unwrap_or_default()) {
                    (Some("KafkaUser"), "kafka.strimzi.io/v1") => check_rights(&object),
                    // Their definitions are not ours to install.
                    (Some("KafkaNodePool" | "KafkaCluster") | None, _) => {}
                    _ => {
                        let file = world.folder.path().join("example.json");
                        std::fs::write(&file, object.to_string()).unwrap();
                        let file = file.to_str().unwrap();
                        let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", file];
                        let said = kubectl(&world.plane, &arguments).await;
                        assert!(!said.contains("Warning"), "{}: {said}", path.display());
                    }
                }
            }
        }
    }
    for (kind, least) in
        [("KafkaHealthPolicy", 3), ("NetworkPolicy", 3), ("KafkaUser", 4), ("Job", 4), ("StatefulSet", 1)]
    {
        assert!(seen.get(kind).is_some_and(|number| *number >= least), "{kind}: {seen:?}");
    }
}

/// Strimzi's words for operations and resources (`AclRule`, `StrimziAclOperation`).
fn check_rights(user: &Value) {
    let operations = [
        "Read",
        "Write",
        "Create",
        "Delete",
        "Alter",
        "Describe",
        "ClusterAction",
        "AlterConfigs",
        "DescribeConfigs",
        "IdempotentWrite",
        "All",
    ];
    let rules = user["spec"]["authorization"]["acls"].as_array().unwrap();
    assert!(!rules.is_empty());
    for rule in rules {
        let kind = rule["resource"]["type"].as_str().unwrap();
        assert!(["topic", "group", "cluster", "transactionalId"].contains(&kind), "{rule}");
        assert_eq!(rule["resource"]["name"].is_string(), kind != "cluster", "{rule}");
        let wanted = rule["operations"].as_array().unwrap();
        assert!(wanted.iter().all(|operation| operations.contains(&operation.as_str().unwrap())), "{rule}");
    }
}
