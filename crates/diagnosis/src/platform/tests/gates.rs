//! What forbids treatment.

use super::*;

fn waits(facts: PlatformFacts) -> Option<StandDown> {
    let (rule, message) = platform(facts, Moment(0)).reasons_to_wait(Moment(0)).into_iter().next()?;
    assert!(message.contains("; lifted "), "says what would lift it: {message}");
    Some(rule)
}

fn with(workload: Workload) -> PlatformFacts {
    PlatformFacts { workloads: vec![workload], ..facts() }
}

fn kafka() -> Workload {
    kafka_with(false, false, false, None)
}

fn kafka_with(
    paused: bool,
    unobserved: bool,
    cruise_control: bool,
    auto_rebalance: Option<&str>,
) -> Workload {
    let auto_rebalance = auto_rebalance.map(str::to_owned);
    Workload::Kafka { name: "prod".into(), paused, unobserved, cruise_control, auto_rebalance }
}

fn pod_set(current: i64, restart_asked: bool) -> Workload {
    Workload::StrimziPodSet { name: "prod-broker".into(), pods: 3, current, restart_asked }
}

#[test]
fn everyone_who_works_on_the_cluster_is_waited_for() {
    let unobserved = Workload::StatefulSet {
        name: "prod".into(),
        unobserved: true,
        to_update: 3,
        updated: 3,
        revisions_differ: false,
        rolls: true,
    };
    let on_delete = Workload::StatefulSet {
        name: "prod".into(),
        unobserved: false,
        to_update: 3,
        updated: 1,
        revisions_differ: true,
        rolls: false,
    };
    let rebalance = Workload::KafkaRebalance { name: "full".into(), state: "Rebalancing".into() };
    let cases = [
        (facts(), None),
        (with(stateful_set(2, true)), Some(StandDown::RollingUpdate)),
        (with(stateful_set(3, true)), None),
        (with(unobserved), Some(StandDown::RollingUpdate)),
        (with(on_delete), None),
        (with(pod_set(3, false)), None),
        (with(pod_set(2, false)), Some(StandDown::RollingUpdate)),
        (with(pod_set(3, true)), Some(StandDown::RollingUpdate)),
        (with(Workload::KafkaClusterRolling { name: "prod".into() }), Some(StandDown::RollingUpdate)),
        (with(kafka()), None),
        (with(kafka_with(false, true, false, None)), Some(StandDown::RollingUpdate)),
        (with(kafka_with(true, false, false, None)), Some(StandDown::StrimziPaused)),
        (with(kafka_with(true, true, false, None)), Some(StandDown::StrimziPaused)),
        (with(kafka_with(false, false, true, None)), Some(StandDown::CruiseControl)),
        (with(kafka_with(false, false, true, Some("RebalanceOnScaleUp"))), Some(StandDown::KafkaRebalance)),
        (with(rebalance), Some(StandDown::KafkaRebalance)),
        (changed(|pod| pod.deleting = Some(ago(-30))), Some(StandDown::RollingUpdate)),
        (changed(|pod| pod.deleting = Some(ago(299))), Some(StandDown::RollingUpdate)),
        (changed(|pod| pod.deleting = Some(ago(301))), None),
        (changed(|pod| pod.restart_asked = true), Some(StandDown::RollingUpdate)),
        (without_pod(), None),
        (with_node(NOT_READY), None),
    ];
    for (facts, expected) in cases {
        assert_eq!(waits(facts.clone()), expected, "{:?}", facts.workloads);
    }
}

#[test]
fn what_cannot_be_told_lets_nothing_begin() {
    for (source, expected) in [
        (Source::Pods, Some(StandDown::PlatformUnknown)),
        (Source::StatefulSets, Some(StandDown::PlatformUnknown)),
        (Source::KafkaRebalances, Some(StandDown::PlatformUnknown)),
        (Source::Nodes, None),
        (Source::Claims, None),
    ] {
        let mut facts = facts();
        facts.unknown.push(Unknown { source, why: "cannot list them".into() });
        assert_eq!(waits(facts), expected, "{source:?}");
    }
    let platform = platform(facts(), Moment(0));
    assert_eq!(platform.reasons_to_wait(Moment(0) + STALE), []);
    let later = Moment(0) + STALE + Duration::from_secs(1);
    assert_eq!(platform.reasons_to_wait(later)[0].0, StandDown::PlatformUnknown);
    assert_eq!(platform.unknown(later).len(), 1);
}

#[test]
fn whoever_is_not_asked_for_forbids_nothing() {
    let platform = Platform::default();
    assert_eq!(platform.reasons_to_wait(Moment(1_000_000)), []);
    assert!(platform.unknown(Moment(1_000_000)).is_empty());
    assert!(platform.unfit_destinations(Moment(0)).is_empty());
}

#[test]
fn brokers_on_nodes_that_take_nothing_get_nothing() {
    let cordoned = NodeFacts::There { ready: Some(true), cordoned: true };
    let not_said = NodeFacts::There { ready: None, cordoned: false };
    let unfit = |facts| platform(facts, Moment(0)).unfit_destinations(Moment(0));
    for (node, words) in
        [(cordoned, "is cordoned"), (NOT_READY, "is NotReady"), (NodeFacts::Gone, "does not exist")]
    {
        let unfit = unfit(with_node(node));
        assert_eq!(unfit.len(), 1);
        assert!(unfit[&FOUR].contains(words), "{unfit:?}");
    }
    assert!(unfit(with_node(not_said)).is_empty());
    assert!(unfit(facts()).is_empty());
    assert_eq!(unfit(changed(|pod| pod.deleting = Some(ago(0)))).len(), 1);
    let stale = platform(with_node(cordoned), Moment(0));
    assert!(stale.unfit_destinations(Moment(0) + STALE + STALE).is_empty());
}

#[test]
fn a_pod_does_not_return_when_it_has_looked_so_for_a_minute() {
    let mut lost = facts();
    lost.claims.as_mut().unwrap().remove("data-prod-broker-4");
    let hopeless = [
        without_pod(),
        with_node(NOT_READY),
        with_node(NodeFacts::Gone),
        lost,
        changed(|pod| pod.unschedulable = Some("no room".into())),
        changed(|pod| pod.phase = PodPhase::Failed),
    ];
    for facts in hopeless {
        let mut platform = platform(facts.clone(), Moment(1_000));
        let before = Moment(60_999);
        platform.look(Arc::new(facts.clone()), &identities(), before);
        assert_eq!(platform.will_not_return(FOUR, before), None, "not settled: {facts:?}");
        assert!(platform.will_not_return(FOUR, Moment(61_000)).is_some(), "{facts:?}");
        assert_eq!(platform.will_not_return(FOUR, Moment(61_000) + STALE), None, "stale");
        assert_eq!(platform.will_not_return(BrokerId(5), Moment(61_000)), None, "another is well");
        platform.look(Arc::new(self::facts()), &identities(), Moment(62_000));
        assert_eq!(platform.will_not_return(FOUR, Moment(62_000)), None, "it is back");
    }
    let waits = Waiting { reason: "CrashLoopBackOff".into(), message: String::new() };
    let mut may = platform(changed(|pod| pod.waiting = Some(waits.clone())), Moment(0));
    may.look(Arc::new(changed(|pod| pod.waiting = Some(waits))), &identities(), Moment(70_000));
    assert_eq!(may.will_not_return(FOUR, Moment(70_000)), None, "its data is there, and it may be helped");
}

#[test]
fn what_is_not_known_any_more_is_not_hopeless() {
    let mut platform = platform(with_node(NOT_READY), Moment(0));
    let mut unknown = with_node(NOT_READY);
    unknown.pods = None;
    platform.look(Arc::new(unknown), &identities(), Moment(61_000));
    assert_eq!(platform.will_not_return(FOUR, Moment(61_000)), None);
}
