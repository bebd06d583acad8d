//! Which pod is whose.

use super::*;

fn linked(pods: Vec<PodFacts>, brokers: &[Identity<'_>]) -> (Vec<(i32, String)>, Vec<i32>, Vec<i32>) {
    let pods = pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect();
    let links = link::link(&pods, brokers);
    (
        links.linked.iter().map(|(id, pod)| (id.0, pod.name.clone())).collect(),
        links.ambiguous.keys().map(|id| id.0).collect(),
        links.missing.keys().map(|id| id.0).collect(),
    )
}

fn unlabelled(name: &str) -> PodFacts {
    PodFacts { uid: name.to_owned(), phase: PodPhase::Running, ..Link::absent(name).pod }
}

fn identity<'a>(id: i32, advertised: &'a str, hostname: &'a str) -> Identity<'a> {
    let some = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    Identity { id: BrokerId(id), advertised: some(advertised), hostname: some(hostname) }
}

#[test]
fn each_way_alone_leads_to_the_pod() {
    let link = |pod: PodFacts, broker| linked(vec![pod, unlabelled("other")], &[broker]).0;
    let found = vec![(4, "kafka-0".to_owned())];
    assert_eq!(link(unlabelled("kafka-0"), identity(4, "kafka-0.kafka.ns.svc.cluster.local", "")), found);
    assert_eq!(link(unlabelled("kafka-0"), identity(4, "lb.example.com", "kafka-0")), found);
    let with_ip = PodFacts { ips: vec!["10.1.2.3".into()], ..unlabelled("kafka-0") };
    assert_eq!(link(with_ip, identity(4, "10.1.2.3", "")), found);
    let labelled = PodFacts { broker: Some(FOUR), ..unlabelled("kafka-0") };
    assert_eq!(link(labelled, identity(4, "127.0.0.1", "some-machine")), found);
    assert_eq!(
        link(unlabelled("kafka-4"), identity(4, "127.0.0.1", "")),
        vec![],
        "a number alone is no link"
    );
}

#[test]
fn ways_that_disagree_lead_nowhere() {
    let labelled = PodFacts { broker: Some(FOUR), ..unlabelled("kafka-1") };
    let pods = vec![unlabelled("kafka-0"), labelled];
    assert_eq!(linked(pods, &[identity(4, "", "kafka-0")]), (vec![], vec![4], vec![]));
}

#[test]
fn two_pods_of_one_broker_are_told_apart_by_which_stays() {
    let labelled = |name, phase| PodFacts { broker: Some(FOUR), phase, ..unlabelled(name) };
    let old = labelled("prod-4-abcde", PodPhase::Failed);
    let new = labelled("prod-4-vwxyz", PodPhase::Pending);
    let one = [identity(4, "", "")];
    assert_eq!(linked(vec![old.clone(), new.clone()], &one).0, vec![(4, "prod-4-vwxyz".to_owned())]);
    let both = vec![labelled("prod-4-abcde", PodPhase::Running), new];
    assert_eq!(linked(both, &one), (vec![], vec![4], vec![]));
    assert_eq!(linked(vec![old], &one).0, vec![(4, "prod-4-abcde".to_owned())]);
}

#[test]
fn a_pod_is_one_broker_s() {
    let brokers = [identity(1, "", "kafka-0"), identity(2, "", "kafka-0")];
    assert_eq!(linked(vec![unlabelled("kafka-0")], &brokers), (vec![], vec![1, 2], vec![]));
}

#[test]
fn a_pod_that_was_never_seen_is_missing_where_the_others_are_named_so() {
    let brokers = [identity(0, "kafka-0.kafka.svc", ""), identity(1, "kafka-1.kafka.svc", "")];
    let (found, _, missing) = linked(vec![unlabelled("kafka-0")], &brokers);
    assert_eq!((found.len(), missing), (1, vec![1]));
    let behind = [identity(0, "a.example.com", "kafka-0"), identity(1, "b.example.com", "")];
    assert_eq!(linked(vec![unlabelled("kafka-0")], &behind).2, Vec::<i32>::new());
}

#[test]
fn host_names_are_cut_as_the_kernel_does() {
    let name = format!("{}-0", "a".repeat(70));
    let brokers = [identity(4, "", &name[..63])];
    assert_eq!(linked(vec![unlabelled(&name)], &brokers).0, vec![(4, name)]);
}

#[test]
fn links_outlive_a_time_in_which_nothing_is_known_and_end_with_the_policy_s_selector() {
    let mut unknown = facts();
    unknown.pods = None;
    let mut platform = platform(unknown, Moment(1_000));
    assert_eq!(platform.pod(FOUR).unwrap().name, "prod-broker-4");
    platform.look(Arc::default(), &identities(), Moment(2_000));
    assert_eq!(platform.pod(FOUR), None);
    assert!(!platform.is_asked());
}
