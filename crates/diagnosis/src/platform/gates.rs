//! What forbids treatment: somebody else works on the cluster, or might and it cannot be told.

use jiff::{SignedDuration, Timestamp};

use super::facts::{PlatformFacts, PodFacts, Source, Workload};

/// A pod that should have been gone for longer than this hangs, on a node that does not answer. Nobody works on it.
const DELETION_HANGS: SignedDuration = SignedDuration::from_mins(5);

/// Why the doctor stands down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StandDown {
    /// Brokers are being restarted one after another.
    RollingUpdate,
    /// Strimzi's Cruise Control moves replicas.
    KafkaRebalance,
    /// A person has taken the cluster out of Strimzi's hands.
    StrimziPaused,
    /// Cruise Control looks after the cluster, and cancels reassignments that it did not start.
    CruiseControl,
    /// It cannot be told whether somebody else works on the cluster.
    PlatformUnknown,
}

impl StandDown {
    /// The name in conditions, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RollingUpdate => "RollingUpdate",
            Self::KafkaRebalance => "KafkaRebalance",
            Self::StrimziPaused => "StrimziPaused",
            Self::CruiseControl => "CruiseControl",
            Self::PlatformUnknown => "PlatformUnknown",
        }
    }
}

/// The reasons to begin nothing, one of each kind of source, with what would lift each.
pub(super) fn reasons_to_wait(facts: &PlatformFacts) -> Vec<(StandDown, String)> {
    let rolling = rolling_update(facts).map(|what| {
        (StandDown::RollingUpdate, format!("{what}; lifted when that is over or has been taken back"))
    });
    let pods = facts.pods.iter().flat_map(|pods| pods.values());
    let restarting = || {
        let mut pods = pods.filter(|pod| is_being_replaced(pod, facts.at));
        pods.next().map(|pod| {
            let what = if pod.deleting.is_some() { "is being deleted" } else { "is to be restarted" };
            (StandDown::RollingUpdate, format!("pod {} {what}; lifted when that is done", pod.name))
        })
    };
    let standing_down = facts.workloads.iter().find_map(stand_down);
    [rolling.or_else(restarting), standing_down, unknown(facts)].into_iter().flatten().collect()
}

/// The rolling update that is under way, for people.
pub(super) fn rolling_update(facts: &PlatformFacts) -> Option<String> {
    facts.workloads.iter().find_map(rolling)
}

fn rolling(workload: &Workload) -> Option<String> {
    match workload {
        Workload::StatefulSet { name, unobserved: true, rolls: true, .. } => {
            Some(format!("StatefulSet {name} has been changed and its controller is about to roll it"))
        }
        Workload::StatefulSet { name, to_update, updated, revisions_differ: true, rolls: true, .. }
            if updated < to_update =>
        {
            Some(format!(
                "StatefulSet {name} is being rolled: {updated} of {to_update} pods are of the new revision"
            ))
        }
        Workload::StrimziPodSet { name, restart_asked: true, .. } => {
            Some(format!("a restart of all pods of StrimziPodSet {name} is asked for by its annotation"))
        }
        Workload::StrimziPodSet { name, pods, current, .. } if current < pods => Some(format!(
            "StrimziPodSet {name} is being rolled: {current} of {pods} pods are of the new revision"
        )),
        Workload::Kafka { name, unobserved: true, paused: false, .. } => {
            Some(format!("Kafka {name} has been changed and Strimzi has not carried that out yet"))
        }
        Workload::KafkaClusterRolling { name } => {
            Some(format!("KafkaCluster {name} is in a rolling upgrade"))
        }
        _ => None,
    }
}

fn stand_down(workload: &Workload) -> Option<(StandDown, String)> {
    match workload {
        Workload::KafkaRebalance { name, state } => Some((
            StandDown::KafkaRebalance,
            format!(
                "KafkaRebalance {name} is {state}, and two must not move replicas at once; lifted when it is Ready, Stopped \
                 or deleted"
            ),
        )),
        Workload::Kafka { name, auto_rebalance: Some(state), .. } => Some((
            StandDown::KafkaRebalance,
            format!(
                "Strimzi rebalances Kafka {name} by itself ({state}); lifted when its status.autoRebalance is Idle"
            ),
        )),
        Workload::Kafka { name, paused: true, .. } => Some((
            StandDown::StrimziPaused,
            format!(
                "Strimzi's reconciliation of Kafka {name} is paused, so somebody works on it by hand; lifted when the \
                 annotation strimzi.io/pause-reconciliation is removed"
            ),
        )),
        Workload::Kafka { name, cruise_control: true, .. } => Some((
            StandDown::CruiseControl,
            format!(
                "Cruise Control looks after Kafka {name} (spec.cruiseControl), and cancels what it did not start; lifted when \
                 it is taken out"
            ),
        )),
        _ => None,
    }
}

/// Whether a pod is about to be replaced by another.
pub(super) fn is_being_replaced(pod: &PodFacts, at: Timestamp) -> bool {
    let hangs = |gone_at: Timestamp| at.duration_since(gone_at) > DELETION_HANGS;
    pod.restart_asked || pod.deleting.is_some_and(|gone_at| !hangs(gone_at))
}

fn unknown(facts: &PlatformFacts) -> Option<(StandDown, String)> {
    let unknown = facts.unknown.iter().find(|unknown| unknown.source.is_a_gate())?;
    let without = match unknown.source {
        Source::Pods => "lifted when they are known, or without spec.brokers.podSelector",
        _ => "lifted when they are known",
    };
    Some((
        StandDown::PlatformUnknown,
        format!("it cannot be told whether somebody else works on this cluster: {}; {without}", unknown.why),
    ))
}
