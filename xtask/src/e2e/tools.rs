//! Kafka's own tools, each in a pod.

use doctorkafka_testbed::KAFKA_IMAGE;
use serde_json::{Value, json};

use super::world::KAFKA;

/// A pod that runs a tool of Kafka's once, under Pod Security `restricted`.
pub fn tool(name: &str, arguments: &[&str]) -> Value {
    let java =
        ["java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "/opt/kafka/libs/*"];
    let command = [java.as_slice(), arguments].concat();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": KAFKA },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": name, "image": KAFKA_IMAGE, "imagePullPolicy": "Never", "command": command,
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}
