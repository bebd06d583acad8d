//! What the platform that brokers run on says of them: pods, nodes, volume claims and other operators' resources.
//!
//! Each is as it was last told. What could not be asked is absent and named in [`PlatformFacts::unknown`]: absent is
//! neither fine nor dead.

use std::collections::BTreeMap;

use doctorkafka_wire::BrokerId;
use jiff::Timestamp;

/// One look at everything that a policy's brokers run on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlatformFacts {
    /// Whether anything is to be known at all: the policy selects pods, and there is a platform to ask.
    pub asked: bool,
    /// When this was put together, by the clock of the machine that the doctor runs on.
    pub at: Timestamp,
    /// The pods that the policy selects, by name; `None` while they are not known.
    pub pods: Option<BTreeMap<String, PodFacts>>,
    /// The nodes that these pods run on, by name; one that is missing here is not known.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// The volume claims of the namespace, by name; `None` while they are not known.
    pub claims: Option<BTreeMap<String, ClaimPhase>>,
    /// What looks after these pods.
    pub workloads: Vec<Workload>,
    /// What is not known, and why.
    pub unknown: Vec<Unknown>,
}

/// Something that is asked for and not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What.
    pub source: Source,
    /// `cannot list pods in namespace kafka: ...`, with what to do where that is known.
    pub why: String,
}

/// Where platform facts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Pods of the brokers.
    Pods,
    /// Nodes that these run on.
    Nodes,
    /// PersistentVolumeClaims.
    Claims,
    /// StatefulSets that own the pods.
    StatefulSets,
    /// StrimziPodSets that own the pods.
    StrimziPodSets,
    /// Strimzi's Kafka resources.
    Kafkas,
    /// Strimzi's KafkaRebalance resources.
    KafkaRebalances,
    /// Koperator's KafkaCluster resources.
    KafkaClusters,
}

impl Source {
    /// Whether treatment waits while it is not known: it says whether somebody else works on the cluster.
    pub fn is_a_gate(self) -> bool {
        !matches!(self, Self::Nodes | Self::Claims)
    }
}

/// What matters of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Tells it from an earlier pod of the same name.
    pub uid: String,
    /// The host name that its processes see.
    pub hostname: String,
    /// Its addresses.
    pub ips: Vec<String>,
    /// The broker's `node.id` as the pod's labels and name give it, where an operator has put it there.
    pub broker: Option<BrokerId>,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// Whether all of it is ready.
    pub ready: bool,
    /// The node it was given to.
    pub node: Option<String>,
    /// The volume claims it uses.
    pub claims: Vec<String>,
    /// It is to be deleted, and should be gone at this time.
    pub deleting: Option<Timestamp>,
    /// Why it was evicted: the reason of its condition DisruptionTarget, or of its end.
    pub evicted: Option<String>,
    /// Why no node takes it.
    pub unschedulable: Option<String>,
    /// An annotation asks for its restart.
    pub restart_asked: bool,
    /// How often the broker's container was restarted.
    pub restarts: i32,
    /// Why the broker's container does not run now: `CrashLoopBackOff`, `ImagePullBackOff`.
    pub waiting: Option<Waiting>,
    /// How the broker's container last ended.
    pub ended: Option<Ending>,
}

/// A container that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// In one word.
    pub reason: String,
    /// In words, where there are any.
    pub message: String,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// `OOMKilled`, `Error`, `Completed`.
    pub reason: String,
    /// Its exit code.
    pub exit_code: i32,
    /// When, by the node's clock.
    pub at: Option<Timestamp>,
}

impl Ending {
    /// Whether the kernel ended it because it needed more memory than its limit allows.
    pub fn is_out_of_memory(&self) -> bool {
        self.reason == "OOMKilled"
    }
}

/// Where a pod is in its life (`status.phase`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodPhase {
    /// Not yet given to a node, or its images are not there.
    Pending,
    /// At least one of its containers runs or is restarted.
    Running,
    /// All containers have ended well.
    Succeeded,
    /// All containers have ended, one of them badly; an evicted pod, too.
    Failed,
    /// The node has not said.
    Unknown,
}

impl PodPhase {
    /// The name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

/// What matters of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeFacts {
    /// There is none of this name any more.
    Gone,
    /// It is there.
    There {
        /// Condition Ready; `None` when nobody has said, or the node is not heard of any more.
        ready: Option<bool>,
        /// No new pods (`spec.unschedulable`).
        cordoned: bool,
    },
}

impl NodeFacts {
    /// Whether pods cannot run there: it is gone, or NotReady. A node that is not heard of is NotReady (condition
    /// Ready is Unknown), too; one that has never said is not judged.
    pub fn is_down(self) -> bool {
        matches!(self, Self::Gone | Self::There { ready: Some(false), .. })
    }
}

/// Where a volume claim is (`status.phase`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimPhase {
    /// It has no volume yet.
    Pending,
    /// It has its volume.
    Bound,
    /// Its volume does not exist any more, with all that was on it.
    Lost,
}

/// A resource by which somebody looks after the brokers' pods or data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// A StatefulSet (apps/v1).
    StatefulSet {
        /// Its name.
        name: String,
        /// The spec has changed and its controller has not looked yet.
        unobserved: bool,
        /// Pods that it is to have and that its update concerns (without those below a partition).
        to_update: i32,
        /// Pods of the newest revision.
        updated: i32,
        /// Whether pods have different revisions.
        revisions_differ: bool,
        /// Whether its controller replaces pods by itself (strategy RollingUpdate).
        rolls: bool,
    },
    /// Strimzi's StrimziPodSet.
    StrimziPodSet {
        /// Its name.
        name: String,
        /// Pods that it is to have.
        pods: i64,
        /// Pods of the newest revision.
        current: i64,
        /// An annotation asks for a restart of all.
        restart_asked: bool,
    },
    /// Strimzi's Kafka.
    Kafka {
        /// Its name.
        name: String,
        /// Whether a person has paused its reconciliation.
        paused: bool,
        /// The spec has changed and Strimzi has not carried it out yet.
        unobserved: bool,
        /// Whether Strimzi runs Cruise Control for it.
        cruise_control: bool,
        /// The state of an automatic rebalance, unless it is Idle.
        auto_rebalance: Option<String>,
    },
    /// Strimzi's KafkaRebalance that moves replicas, or will without anybody being asked again.
    KafkaRebalance {
        /// Its name.
        name: String,
        /// Its state.
        state: String,
    },
    /// Koperator's KafkaCluster in the middle of a rolling upgrade.
    KafkaClusterRolling {
        /// Its name.
        name: String,
    },
}
