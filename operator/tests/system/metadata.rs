//! What Kafka's own controllers have written down of reassignments: what was really done, whoever says so.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::world::World;

/// How often data was begun to be copied to new replicas, by topic id and partition: records of the metadata log that
/// give a partition replicas to be added. Asked for again while it runs, a reassignment makes no record.
pub async fn moves_begun(world: &World) -> BTreeMap<(String, i64), usize> {
    let segment = world.kafka.broker(1).log_dir().join("__cluster_metadata-0/00000000000000000000.log");
    let mut dump = world.kafka.tool("org.apache.kafka.tools.DumpLogSegments");
    dump.arg("--cluster-metadata-decoder").arg("--files").arg(segment);
    let output = dump.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let records = text.lines().filter_map(|line| line.split_once("payload: "));
    let records: Vec<Value> = records.filter_map(|(_, json)| serde_json::from_str(json).ok()).collect();
    assert!(!records.is_empty(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let mut begun = BTreeMap::new();
    for record in records.iter().filter(|record| record["type"] == "PARTITION_CHANGE_RECORD") {
        let data = &record["data"];
        if data["addingReplicas"].as_array().is_some_and(|adding| !adding.is_empty()) {
            let at = (data["topicId"].as_str().unwrap().to_owned(), data["partitionId"].as_i64().unwrap());
            *begun.entry(at).or_default() += 1;
        }
    }
    begun
}
