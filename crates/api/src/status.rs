//! What the doctor says about a policy's cluster.

use crate::EffectiveMode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the doctor has found, and what it is doing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaHealthPolicyStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions: Ready (the doctor is at work), Reachable (Kafka answers), Healthy (every broker is), Acting (treatment
    /// is under way), PlatformKnown (pods and nodes are known, where the policy selects pods), Refused (treatment would help
    /// and a rule forbids it), Conflict (another policy watches this cluster).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The Kafka cluster itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaStatus>,
    /// How many brokers are in which state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The mode in effect: that of the spec, or Paused.
    // kube gives an optional enum the description of its type; this keeps the field's own.
    #[schemars(with = "EffectiveMode")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<EffectiveMode>,
    /// The treatment that is being carried out; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acting: Option<String>,
    /// Every broker of the cluster, by id.
    // Atomic on purpose: a list of type map would put the name of every field of every broker into managedFields, which
    // count towards the size of the object.
    #[schemars(length(max = Self::MAX_BROKERS), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<BrokerStatus>,
    /// Name of the KafkaReassignment that is proposed or being carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_plan: Option<String>,
    /// The newest record of the actions log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_action: Option<LastAction>,
}

/// The Kafka cluster itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaStatus {
    /// The cluster's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Id of the active controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller_id: Option<i32>,
}

/// How many brokers are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Brokers of the cluster.
    #[schemars(extend("format" = "int32"))]
    pub brokers: u32,
    /// Brokers that work and have room.
    #[schemars(extend("format" = "int32"))]
    pub healthy: u32,
    /// Brokers that work with one of their resources over its threshold.
    #[schemars(extend("format" = "int32"))]
    pub overloaded: u32,
    /// Brokers that do not do their work.
    #[schemars(extend("format" = "int32"))]
    pub unhealthy: u32,
    /// Brokers that have started again and are not yet back in service.
    #[schemars(extend("format" = "int32"))]
    pub recovering: u32,
    /// Brokers that the policy says to leave alone.
    #[schemars(extend("format" = "int32"))]
    pub maintenance: u32,
    /// Brokers of which the doctor cannot tell.
    #[schemars(extend("format" = "int32"))]
    pub unknown: u32,
}

/// One broker: what is wrong, since when, how it is known and what comes next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// The broker's node.id.
    pub id: i32,
    /// Host it advertises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The rack it says it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Name of its pod, where the policy selects pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Name of the node that its pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Healthy, Overloaded, Unhealthy, Recovering, Maintenance or Unknown.
    pub state: String,
    /// Since when it has been in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why, in one word such as HeartbeatLost.
    pub reason: String,
    /// What is wrong and how it is known, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What comes next: the treatment that is proposed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// CPU use as a share of the broker's own limit, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<i32>,
    /// Memory use as a share of its limit, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<i32>,
    /// Use of the fullest log directory, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_percent: Option<i32>,
    /// Bytes received a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_in: Option<i64>,
    /// Bytes sent a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_out: Option<i64>,
    /// Partitions it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaders: Option<i32>,
    /// Replicas it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// When its newest report was taken, by its sidecar's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat: Option<Time>,
    /// The figures that the state rests on, by name; names carry their unit, such as cpuPercent.
    #[schemars(schema_with = "evidence_schema")]
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub evidence: Map<String, Value>,
}

fn evidence_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// The newest record of the actions log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAction {
    /// When it was decided.
    pub time: Time,
    /// Kind of decision, such as ALERT_OVERLOAD.
    pub kind: String,
    /// The plain message, such as: CPU usage 95% > 80%.
    pub message: String,
}

impl KafkaHealthPolicyStatus {
    /// The most brokers that a status lists.
    pub const MAX_BROKERS: usize = 1_000;

    /// The most bytes of JSON that [`Self::bounded`] leaves. etcd takes 1.5 MiB for an object with its metadata.
    pub const MAX_BYTES: usize = 1_000_000;

    /// The same, cut to what the API server and etcd take, whatever was put in: texts are shortened, and of a cluster so
    /// large and so ill that even that is too much, the details of each broker go before its state and figures.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.brokers.truncate(Self::MAX_BROKERS);
        for condition in &mut self.conditions {
            clip(&mut condition.message, 2_048);
        }
        clip_option(&mut self.acting, 253);
        if let Some(action) = &mut self.last_action {
            clip(&mut action.kind, 64);
            clip(&mut action.message, 1_024);
        }
        for broker in &mut self.brokers {
            broker.clip();
        }
        if self.size() > Self::MAX_BYTES {
            self.brokers.iter_mut().for_each(|broker| broker.evidence.clear());
        }
        if self.size() > Self::MAX_BYTES {
            for broker in &mut self.brokers {
                broker.next = None;
                broker.node = None;
                clip_option(&mut broker.message, 80);
            }
        }
        self
    }

    fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len())
    }
}

impl BrokerStatus {
    const MAX_EVIDENCE: usize = 16;

    fn clip(&mut self) {
        // DNS and pod names have at most 253 characters, racks are zones.
        for name in [&mut self.host, &mut self.rack, &mut self.pod, &mut self.node] {
            clip_option(name, 253);
        }
        clip(&mut self.state, 32);
        clip(&mut self.reason, 64);
        clip_option(&mut self.message, 512);
        clip_option(&mut self.next, 512);
        let mut kept = 0;
        self.evidence.retain(|name, value| {
            kept += 1;
            if let Value::String(text) = value {
                clip(text, 128);
            }
            let small = serde_json::to_vec(value).is_ok_and(|json| json.len() <= 512);
            kept <= Self::MAX_EVIDENCE && name.len() <= 64 && small
        });
    }
}

fn clip_option(text: &mut Option<String>, bytes: usize) {
    if let Some(text) = text {
        clip(text, bytes);
    }
}

/// Shortens a text to so many bytes, an ellipsis included.
fn clip(text: &mut String, bytes: usize) {
    const ELLIPSIS: char = '…';
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes.saturating_sub(ELLIPSIS.len_utf8())));
        text.push(ELLIPSIS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(id: i32, text: usize) -> BrokerStatus {
        let long = || "ä".repeat(text);
        BrokerStatus {
            id,
            host: Some("h".repeat(253)),
            rack: Some("eu-central-1a".into()),
            pod: Some("p".repeat(253)),
            node: Some("n".repeat(253)),
            state: "Unhealthy".into(),
            since: None,
            reason: "HeartbeatLost".into(),
            message: Some(long()),
            next: Some(long()),
            cpu_percent: Some(100),
            memory_percent: Some(100),
            disk_percent: Some(100),
            network_in: Some(i64::MAX),
            network_out: Some(i64::MAX),
            leaders: Some(i32::MAX),
            replicas: Some(i32::MAX),
            last_heartbeat: None,
            evidence: (0..40).map(|n| (format!("figure{n}"), Value::String(long()))).collect(),
        }
    }

    #[test]
    fn a_thousand_of_the_worst_brokers_fit() {
        let status = KafkaHealthPolicyStatus {
            brokers: (0..1_100).map(|id| broker(id, 600)).collect(),
            ..Default::default()
        };
        let bounded = status.bounded();
        assert_eq!(bounded.brokers.len(), 1_000);
        assert!(bounded.size() <= KafkaHealthPolicyStatus::MAX_BYTES, "{} bytes", bounded.size());
        assert!(
            bounded
                .brokers
                .iter()
                .all(|broker| broker.state == "Unhealthy" && broker.cpu_percent == Some(100))
        );
    }

    #[test]
    fn a_usual_status_stays_as_it_is() {
        let mut usual = broker(1, 20);
        usual.evidence = Map::from_iter([("cpuPercent".to_owned(), 95.2.into())]);
        let status = KafkaHealthPolicyStatus { brokers: vec![usual], ..Default::default() };
        assert_eq!(status.clone().bounded(), status);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for bytes in 3..12 {
            let mut text = "äöüäöü€".to_owned();
            clip(&mut text, bytes);
            assert!(text.len() <= bytes && text.ends_with('…'), "{text}");
        }
    }
}
