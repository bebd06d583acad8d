//! What a policy's status said, from moment to moment: between two looks a broker may fall ill and get well again.

use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use doctorkafka_testbed::Node;
use serde::Deserialize;
use serde_json::Value;

use super::world::Broker;

/// A `kubectl get kafkahealth --watch` that is read as it writes. Dropping it ends it.
pub struct History {
    kubectl: Child,
    seen: Arc<Mutex<Vec<Broker>>>,
}

impl History {
    /// Begins to watch. The policy has to be there.
    pub fn of(node: &Node, namespace: &str, policy: &str) -> Result<Self> {
        let mut kubectl = node.kubectl();
        kubectl.args(["get", "kafkahealth", policy, "--namespace", namespace, "--watch", "--output=json"]);
        let mut kubectl = kubectl
            .into_std()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("kubectl cannot be run")?;
        let output = kubectl.stdout.take().context("kubectl writes nothing")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut now: Vec<Broker> = Vec::new();
            for policy in serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>() {
                let Ok(policy) = policy else { return };
                let brokers = policy.pointer("/status/brokers").map(Vec::<Broker>::deserialize);
                let Some(Ok(brokers)) = brokers else { continue };
                let changed =
                    brokers.iter().filter(|broker| !now.iter().any(|was| was.says_the_same(broker)));
                written.lock().unwrap_or_else(PoisonError::into_inner).extend(changed.cloned());
                now = brokers;
            }
        });
        Ok(Self { kubectl, seen })
    }

    /// How much has been seen until now.
    pub fn mark(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What has been seen since: of each broker every state, with its reason and message, in turn.
    pub fn since(&self, mark: usize) -> Vec<Broker> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(mark..).unwrap_or_default().to_vec()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.kubectl.kill().ok();
        self.kubectl.wait().ok();
    }
}
