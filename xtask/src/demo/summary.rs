//! What was seen in the whole of a demo.

use super::reading::Report;
use anyhow::bail;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Collected from everything a leading doctor said.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// States of each broker in the order of their first appearance; the last one seen.
    brokers: BTreeMap<i32, (Vec<String>, Option<String>)>,
    /// Kinds of records in the actions log, by record id, so that none counts twice.
    actions: BTreeMap<String, String>,
    ended: BTreeSet<String>,
}

impl Summary {
    /// Nothing seen yet of brokers 1 to `brokers`.
    pub fn new(brokers: i32) -> Self {
        Self { brokers: (1..=brokers).map(|id| (id, Default::default())).collect(), ..Self::default() }
    }

    /// Takes in what a doctor says.
    pub fn note(&mut self, report: &Report) {
        for broker in &report.brokers {
            let (seen, last) = self.brokers.entry(broker.id).or_default();
            if !seen.contains(&broker.state) {
                seen.push(broker.state.clone());
            }
            *last = Some(broker.state.clone());
        }
        self.actions.extend(report.actions.iter().map(|action| (action.id.clone(), action.kind.clone())));
    }

    /// Takes in that a part has ended by itself; true the first time.
    pub fn note_ended(&mut self, name: &str) -> bool {
        self.ended.insert(name.to_owned())
    }

    /// Prints it.
    pub fn print(&self, after: Duration) {
        println!("\n  after {} s\n\n  broker   now          seen as", after.as_secs());
        for (id, (seen, last)) in &self.brokers {
            let last = last.as_deref().unwrap_or("never seen").to_uppercase();
            println!("  {id:<8} {last:<12} {}", seen.join(", ").to_uppercase());
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for kind in self.actions.values() {
            *kinds.entry(kind).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        println!("\n  actions log   {} records: {}", self.actions.len(), kinds.join(", "));
    }

    /// Fails unless every broker was diagnosed, and everything that was started ran to the end.
    ///
    /// # Errors
    /// What was missing.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let undiagnosed = self.brokers.iter().filter_map(|(id, (seen, _))| match seen.as_slice() {
            [] => Some(format!("broker {id} was never seen")),
            [only] if only == "Unknown" => Some(format!("broker {id} was seen and never diagnosed")),
            _ => None,
        });
        let ended = self.ended.iter().map(|name| format!("{name} ended by itself"));
        let missing: Vec<String> = undiagnosed.chain(ended).collect();
        if !missing.is_empty() {
            bail!("the demo did not show what it should: {}", missing.join("; "));
        }
        println!("\n  all {} brokers were seen and diagnosed", self.brokers.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(brokers: &[(i32, &str)]) -> Report {
        let brokers: Vec<_> = brokers
            .iter()
            .map(|(id, state)| {
                json!({"id": id, "state": state, "reason": "x", "since": "2026-11-22T14:02:11Z", "message": ""})
            })
            .collect();
        serde_json::from_value(json!({
            "role": {"state": "leading", "epoch": 1}, "kafka": {"reachable": true}, "brokers": brokers,
            "advice": [], "refusals": [], "actions": [{"id": "01A", "kind": "LEADER_STARTED"}],
        }))
        .unwrap()
    }

    #[test]
    fn every_broker_must_have_been_diagnosed() {
        let mut summary = Summary::new(2);
        assert!(summary.verdict().unwrap_err().to_string().contains("broker 1 was never seen"));
        summary.note(&report(&[(1, "Healthy"), (2, "Unknown")]));
        assert!(summary.verdict().unwrap_err().to_string().contains("broker 2 was seen and never diagnosed"));
        summary.note(&report(&[(1, "Unknown"), (2, "Unhealthy")]));
        assert!(summary.verdict().is_ok(), "diagnosed once is enough");
        assert_eq!(summary.actions.len(), 1, "a record counts once");
    }

    #[test]
    fn what_ends_by_itself_is_told_once_and_fails_the_demo() {
        let mut summary = Summary::new(1);
        summary.note(&report(&[(1, "Healthy")]));
        assert!(summary.note_ended("sidecar 1"));
        assert!(!summary.note_ended("sidecar 1"));
        assert!(summary.verdict().unwrap_err().to_string().contains("sidecar 1 ended by itself"));
    }
}
