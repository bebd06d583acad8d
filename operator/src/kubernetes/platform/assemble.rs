//! From all that is followed to what the engine gets. Pure.

use super::{follow::Seen, nodes::Nodes, pods::SeenPod, workloads::SeenWorkload};
use doctorkafka_diagnosis::{ClaimPhase, PlatformFacts, Source, Unknown, Workload};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

/// Everything that is followed, as it is at one moment.
pub(super) struct Sources<'a, P, C, N, W> {
    /// Why no pods can be selected.
    pub no_selector: Option<&'a str>,
    pub pods: Option<P>,
    pub claims: C,
    pub nodes: N,
    pub workloads: BTreeMap<Source, W>,
    /// Kind and name of the resources that own pods.
    pub owners: &'a BTreeSet<(String, String)>,
    /// Clusters of Strimzi's that pods belong to.
    pub clusters: &'a BTreeSet<String>,
}

/// What pods show to be needed beside them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub nodes: BTreeSet<String>,
    pub owners: BTreeSet<(String, String)>,
    pub clusters: BTreeSet<String>,
    pub sources: BTreeSet<Source>,
}

/// What else is to be known for these pods.
pub(super) fn wanted(pods: &BTreeMap<String, SeenPod>) -> Wanted {
    let mut wanted = Wanted::default();
    for pod in pods.values() {
        wanted.nodes.extend(pod.facts.node.clone());
        wanted.clusters.extend(pod.strimzi.clone());
        if let Some(owner) = &pod.owner {
            if owner.0 == "StatefulSet" {
                wanted.sources.insert(Source::StatefulSets);
            }
            wanted.owners.insert(owner.clone());
        }
        if pod.strimzi.is_some() {
            wanted.sources.extend([Source::StrimziPodSets, Source::Kafkas, Source::KafkaRebalances]);
        }
        if let Some(cluster) = &pod.koperator {
            wanted.owners.insert(("KafkaCluster".to_owned(), cluster.clone()));
            wanted.sources.insert(Source::KafkaClusters);
        }
    }
    wanted
}

/// Puts all of it together.
pub(super) fn assemble<P, C, N, W>(sources: &Sources<'_, P, C, N, W>, at: Timestamp) -> PlatformFacts
where
    P: Deref<Target = Seen<SeenPod>>,
    C: Deref<Target = Seen<ClaimPhase>>,
    N: Deref<Target = Nodes>,
    W: Deref<Target = Seen<SeenWorkload>>,
{
    let mut unknown = Vec::new();
    let mut note = |source, why: Option<String>| {
        unknown.extend(why.map(|why| Unknown { source, why }));
    };
    note(Source::Pods, sources.no_selector.map(str::to_owned));
    let pods = sources.pods.as_deref();
    note(Source::Pods, pods.and_then(|pods| why_not(pods, "pods")));
    note(Source::Claims, why_not(&sources.claims, "persistentvolumeclaims"));
    note(Source::Nodes, sources.nodes.why.clone());
    let mut workloads = Vec::new();
    for (source, seen) in &sources.workloads {
        note(*source, why_not(seen, "what looks after the pods"));
        let seen = seen.known().into_iter().flat_map(BTreeMap::values);
        workloads.extend(seen.filter(|seen| is_theirs(seen, sources)).map(|seen| seen.workload.clone()));
    }
    let facts = |pods: &BTreeMap<String, SeenPod>| {
        pods.iter().map(|(name, pod)| (name.clone(), pod.facts.clone())).collect()
    };
    PlatformFacts {
        asked: true,
        at,
        pods: pods.and_then(Seen::known).map(facts),
        nodes: sources.nodes.known.clone(),
        claims: sources.claims.known().cloned(),
        workloads,
        unknown,
    }
}

/// Why something is not known.
fn why_not<T>(seen: &Seen<T>, what: &str) -> Option<String> {
    match seen {
        Seen::Known(_) => None,
        Seen::NotYet => Some(format!("{what} have not been listed yet")),
        Seen::Unknown(why) => Some(why.clone()),
    }
}

/// Whether a workload looks after the pods that the policy selects, and not after others of the namespace.
fn is_theirs<P, C, N, W>(seen: &SeenWorkload, sources: &Sources<'_, P, C, N, W>) -> bool {
    let owns = |kind: &str, name: &str| sources.owners.contains(&(kind.to_owned(), name.to_owned()));
    match &seen.workload {
        Workload::StatefulSet { name, .. } => owns("StatefulSet", name),
        Workload::KafkaClusterRolling { name } => owns("KafkaCluster", name),
        Workload::StrimziPodSet { .. } | Workload::Kafka { .. } | Workload::KafkaRebalance { .. } => {
            seen.strimzi.as_ref().is_some_and(|cluster| sources.clusters.contains(cluster))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, labels: Value, owner: Option<&str>) -> SeenPod {
        let owner = owner.map(
            |kind| json!([{"apiVersion": "v1", "kind": kind, "name": "set", "uid": "1", "controller": true}]),
        );
        let pod = json!({"metadata": {"name": name, "labels": labels, "ownerReferences": owner},
            "spec": {"containers": [{"name": "kafka"}], "nodeName": "node-1"}});
        super::super::pods::read(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn kafka(name: &str) -> (String, SeenWorkload) {
        let workload = Workload::KafkaRebalance { name: name.into(), state: "Rebalancing".into() };
        (name.to_owned(), SeenWorkload { workload, strimzi: Some(name.to_owned()) })
    }

    #[test]
    fn pods_show_what_else_is_to_be_known() {
        let of = |pod: SeenPod| wanted(&[(pod.facts.name.clone(), pod)].into());
        let plain = of(pod("a", json!({}), None));
        assert!(plain.sources.is_empty() && plain.nodes.contains("node-1"));
        let set = of(pod("a", json!({}), Some("StatefulSet")));
        assert_eq!(set.sources, [Source::StatefulSets].into());
        let strimzi = of(pod("a", json!({"strimzi.io/cluster": "prod"}), Some("StrimziPodSet")));
        let all = [Source::StrimziPodSets, Source::Kafkas, Source::KafkaRebalances].into();
        assert_eq!((strimzi.sources, strimzi.clusters), (all, ["prod".to_owned()].into()));
        let koperator = of(pod("a", json!({"kafka_cr": "prod"}), None));
        assert_eq!(koperator.sources, [Source::KafkaClusters].into());
        assert!(koperator.owners.contains(&("KafkaCluster".to_owned(), "prod".to_owned())));
    }

    #[test]
    fn others_of_the_namespace_are_left_out_and_what_is_not_known_is_named() {
        let sources = Sources {
            no_selector: None,
            pods: Some(Box::new(Seen::NotYet)),
            claims: Box::new(Seen::Unknown("cannot list claims".into())),
            nodes: Box::new(Nodes { why: Some("cannot read nodes".into()), ..Nodes::default() }),
            workloads: [
                (Source::KafkaRebalances, Box::new(Seen::Known([kafka("prod"), kafka("other")].into()))),
                (Source::Kafkas, Box::new(Seen::NotYet)),
            ]
            .into(),
            owners: &BTreeSet::new(),
            clusters: &["prod".to_owned()].into(),
        };
        let facts = assemble(&sources, Timestamp::UNIX_EPOCH);
        assert_eq!(facts.workloads, [kafka("prod").1.workload]);
        assert_eq!((facts.asked, facts.pods, facts.claims), (true, None, None));
        let unknown: Vec<_> = facts.unknown.iter().map(|unknown| unknown.source).collect();
        assert_eq!(unknown, [Source::Pods, Source::Claims, Source::Nodes, Source::Kafkas]);
    }
}
