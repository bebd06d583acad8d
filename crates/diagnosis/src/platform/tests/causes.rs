//! Causes of a broker that is down, and what is told of one that is not.

use super::*;

const NOW: Moment = Moment(20_000);

/// What is told of broker 4 when it is in this state for this reason.
fn told(facts: PlatformFacts, state: BrokerState, reason: Reason) -> Option<Diagnosis> {
    platform(facts, NOW).explain(FOUR, &diagnosis(state, reason), NOW)
}

fn lost(facts: PlatformFacts) -> (Reason, String) {
    let told = told(facts, BrokerState::Unhealthy, Reason::HeartbeatLost).unwrap();
    assert_eq!((told.state, told.since), (BrokerState::Unhealthy, Moment(0)), "a cause makes no state");
    (told.reason, told.message)
}

fn ended(reason: &str, exit_code: i32, seconds: i64) -> Option<Ending> {
    Some(Ending { reason: reason.into(), exit_code, at: Some(ago(seconds)) })
}

fn waiting(reason: &str) -> Option<Waiting> {
    Some(Waiting { reason: reason.into(), message: "why it waits".into() })
}

/// The facts, the cause, and words of its message.
type Case = (PlatformFacts, Reason, &'static str);

fn cases() -> Vec<Case> {
    let mut lost_volume = facts();
    lost_volume.claims.as_mut().unwrap().insert("data-prod-broker-4".into(), ClaimPhase::Lost);
    vec![
        (facts(), Reason::HeartbeatLost, "pod prod-broker-4 is Running and ready on node node-4"),
        (with_node(NOT_READY), Reason::NodeNotReady, "pod prod-broker-4 on node node-4, which is NotReady"),
        (with_node(NodeFacts::Gone), Reason::NodeGone, "node node-4, which does not exist any more"),
        (without_pod(), Reason::PodDeleted, "pod prod-broker-4 does not exist"),
        (changed(|pod| pod.deleting = Some(ago(-30))), Reason::PodDeleted, "is being deleted"),
        (
            changed(|pod| (pod.phase, pod.evicted) = (PodPhase::Failed, Some("Evicted".into()))),
            Reason::Evicted,
            "pod prod-broker-4 is evicted (Evicted)",
        ),
        (
            changed(|pod| {
                (pod.phase, pod.ready, pod.node) = (PodPhase::Pending, false, None);
                pod.unschedulable = Some("0/3 nodes are available".into());
            }),
            Reason::Unschedulable,
            "no node takes pod prod-broker-4: 0/3 nodes are available",
        ),
        (
            changed(|pod| {
                (pod.phase, pod.waiting) = (PodPhase::Pending, waiting("ImagePullBackOff"));
            }),
            Reason::ImagePullBackOff,
            "has no image to run (ImagePullBackOff): why it waits",
        ),
        (
            changed(|pod| {
                (pod.phase, pod.waiting) = (PodPhase::Pending, waiting("ContainerCreating"));
            }),
            Reason::PodPending,
            "pod prod-broker-4 is Pending (ContainerCreating)",
        ),
        (
            changed(|pod| {
                (pod.waiting, pod.ended) = (waiting("CrashLoopBackOff"), ended("Error", 1, 20));
                pod.restarts = 5;
            }),
            Reason::CrashLoopBackOff,
            "ends again and again, last with exit code 1 (Error), 5 restarts",
        ),
        (
            changed(|pod| {
                (pod.waiting, pod.ended) = (waiting("CrashLoopBackOff"), ended("OOMKilled", 137, 20));
                pod.restarts = 1;
            }),
            Reason::OomKilled,
            "was OOMKilled at 2026-11-22T13:59:40Z (exit code 137), 1 restart, CrashLoopBackOff",
        ),
        (
            changed(|pod| pod.ended = ended("OOMKilled", 137, 3_000)),
            Reason::HeartbeatLost,
            "is Running and ready",
        ),
        (lost_volume, Reason::VolumeLost, "volume claim data-prod-broker-4 of pod prod-broker-4 has lost"),
    ]
}

#[test]
fn every_cause_is_named_with_what_it_rests_on() {
    for (facts, reason, words) in cases() {
        let mut platform = platform(facts.clone(), Moment(0));
        platform.look(Arc::new(facts), &identities(), NOW);
        let base = diagnosis(BrokerState::Unhealthy, Reason::HeartbeatLost);
        let told = platform.explain(FOUR, &base, NOW).unwrap();
        assert_eq!(told.reason, reason, "{}", told.message);
        assert!(told.message.starts_with("no heartbeat for more than 10s; "), "{}", told.message);
        assert!(told.message.contains(words), "{} lacks {words}", told.message);
        assert_eq!(told.evidence["pod"], "prod-broker-4");
        assert_eq!((told.state, told.since), (base.state, base.since), "a cause makes no state");
    }
}

#[test]
fn whoever_still_reports_has_a_node_and_volumes() {
    let told = |facts, reason| told(facts, BrokerState::Unhealthy, reason).unwrap().reason;
    for reason in [Reason::ProcessDown, Reason::Unresponsive, Reason::Fenced] {
        assert_eq!(told(with_node(NOT_READY), reason), reason);
    }
    let killed = || changed(|pod| pod.ended = ended("OOMKilled", 137, 3));
    assert_eq!(told(killed(), Reason::ProcessDown), Reason::OomKilled);
    assert_eq!(told(killed(), Reason::Unresponsive), Reason::Unresponsive, "its process is there");
    let deleting = || changed(|pod| pod.deleting = Some(ago(-30)));
    assert_eq!(told(deleting(), Reason::Unresponsive), Reason::PodDeleted);
}

#[test]
fn a_healthy_broker_stays_healthy_whatever_is_said_of_its_pod() {
    for (facts, ..) in cases() {
        let told = told(facts, BrokerState::Healthy, Reason::WithinLimits);
        assert!(told.is_none_or(|told| {
            (told.state, told.reason) == (BrokerState::Healthy, Reason::WithinLimits)
        }));
    }
}

#[test]
fn an_end_for_want_of_memory_is_told_for_an_hour_after_the_return() {
    let back = |seconds| {
        let facts = changed(|pod| {
            pod.ended = ended("OOMKilled", 137, seconds);
            pod.restarts = 2;
        });
        told(facts, BrokerState::Healthy, Reason::WithinLimits)
    };
    let told = back(3_599).unwrap();
    assert!(told.message.ends_with("OOMKilled at 2026-11-22T13:00:01Z (exit code 137), 2 restarts"));
    assert_eq!(told.evidence["lastEnd"], "OOMKilled");
    assert_eq!(back(3_601), None);
}

#[test]
fn what_is_unknown_or_stale_is_no_cause() {
    let mut unknown = with_node(NOT_READY);
    unknown.pods = None;
    assert_eq!(told(unknown, BrokerState::Unhealthy, Reason::HeartbeatLost), None);
    let mut no_nodes = facts();
    no_nodes.nodes.clear();
    assert_eq!(lost(no_nodes).0, Reason::HeartbeatLost);
    let mut no_claims = facts();
    no_claims.claims = None;
    assert_eq!(lost(no_claims).0, Reason::HeartbeatLost);
    let platform = platform(with_node(NOT_READY), NOW);
    let base = diagnosis(BrokerState::Unhealthy, Reason::HeartbeatLost);
    let told = |later| platform.explain(FOUR, &base, NOW + later).map(|told| told.reason);
    assert_eq!(told(STALE), Some(Reason::NodeNotReady));
    assert_eq!(told(STALE + Duration::from_secs(1)), None);
}

#[test]
fn a_volume_claim_that_is_missing_is_believed_after_a_while() {
    let mut facts = facts();
    facts.claims.as_mut().unwrap().remove("data-prod-broker-4");
    let platform = platform(facts, NOW);
    let base = diagnosis(BrokerState::Unhealthy, Reason::HeartbeatLost);
    let told = |later| platform.explain(FOUR, &base, NOW + later).unwrap().reason;
    assert_eq!(told(Duration::from_secs(9)), Reason::HeartbeatLost);
    assert_eq!(told(Duration::from_secs(10)), Reason::VolumeLost);
}

#[test]
fn in_a_roll_a_broker_whose_pod_is_replaced_is_in_a_roll_and_not_dead() {
    let rolling = |mut facts: PlatformFacts| {
        facts.workloads = vec![stateful_set(1, true)];
        lost(facts)
    };
    let (reason, message) = rolling(changed(|pod| pod.deleting = Some(ago(-30))));
    assert_eq!(reason, Reason::RollingUpdate);
    assert!(message.ends_with("being rolled: 1 of 3 pods are of the new revision"), "{message}");
    assert_eq!(rolling(without_pod()).0, Reason::RollingUpdate);
    assert_eq!(rolling(changed(|pod| pod.phase = PodPhase::Pending)).0, Reason::RollingUpdate);
    // What goes wrong in a roll is told.
    assert_eq!(rolling(facts()).0, Reason::HeartbeatLost, "its turn has not come");
    assert_eq!(rolling(with_node(NOT_READY)).0, Reason::NodeNotReady);
    let crashing = changed(|pod| (pod.waiting, pod.ready) = (waiting("CrashLoopBackOff"), false));
    assert_eq!(rolling(crashing).0, Reason::CrashLoopBackOff);
    let no_image = changed(|pod| (pod.waiting, pod.ready) = (waiting("ErrImagePull"), false));
    assert_eq!(rolling(no_image).0, Reason::ImagePullBackOff);
}

/// Pods get their sidecars one after the other: brokers whose turn is still to come serve, and were never heard of.
#[test]
fn in_the_roll_that_brings_the_sidecars_a_broker_without_one_is_no_alarm() {
    let rolling = PlatformFacts { workloads: vec![stateful_set(1, true)], ..facts() };
    let told = |facts: &PlatformFacts, evidence: [(&str, serde_json::Value); 3], now: Moment| {
        let evidence = evidence.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let base = Diagnosis { evidence, ..diagnosis(BrokerState::Unhealthy, Reason::HeartbeatLost) };
        platform(facts.clone(), now).explain(FOUR, &base, now).unwrap().reason
    };
    let evidence = |reported: bool, fenced: bool, probe: &str| {
        [("reported", reported.into()), ("fenced", fenced.into()), ("directProbe", probe.into())]
    };
    let awaited = evidence(false, false, "answered");
    assert_eq!(told(&rolling, awaited.clone(), NOW), Reason::RollingUpdate);
    assert_eq!(told(&facts(), awaited.clone(), NOW), Reason::HeartbeatLost, "nothing is being rolled");
    for ill in [
        evidence(true, false, "answered"),
        evidence(false, true, "answered"),
        evidence(false, false, "silent"),
    ] {
        assert_eq!(told(&rolling, ill.clone(), NOW), Reason::HeartbeatLost, "{ill:?}");
    }
    let late = Moment(0) + ROLL_TAKES + Duration::from_secs(1);
    assert_eq!(told(&rolling, awaited, late), Reason::HeartbeatLost);
}

#[test]
fn a_roll_that_takes_too_long_is_no_excuse() {
    let mut facts = without_pod();
    facts.workloads = vec![stateful_set(1, true)];
    let mut platform = platform(facts.clone(), NOW);
    let base = diagnosis(BrokerState::Unhealthy, Reason::HeartbeatLost);
    let later = Moment(0) + ROLL_TAKES + Duration::from_secs(1);
    platform.look(Arc::new(facts), &identities(), later);
    assert_eq!(platform.explain(FOUR, &base, later).unwrap().reason, Reason::PodDeleted);
}

#[test]
fn an_eviction_is_remembered_until_the_successor_is_ready() {
    let mut platform = platform(changed(|pod| pod.evicted = Some("EvictionByEvictionAPI".into())), NOW);
    let base = diagnosis(BrokerState::Unhealthy, Reason::HeartbeatLost);
    let mut told = |facts: PlatformFacts| {
        platform.look(Arc::new(facts), &identities(), NOW);
        platform.explain(FOUR, &base, NOW).unwrap()
    };
    let gone = told(without_pod());
    assert_eq!(gone.reason, Reason::Evicted, "{}", gone.message);
    let successor = |ready, unschedulable: Option<&str>| {
        changed(|pod| {
            (pod.uid, pod.ready, pod.phase) = ("new".into(), ready, PodPhase::Pending);
            pod.unschedulable = unschedulable.map(str::to_owned);
        })
    };
    let waits = told(successor(false, Some("no room")));
    assert_eq!(waits.reason, Reason::Unschedulable);
    assert!(
        waits.message.ends_with("the one before was evicted (EvictionByEvictionAPI)"),
        "{}",
        waits.message
    );
    told(successor(true, None));
    assert_eq!(told(without_pod()).reason, Reason::PodDeleted, "that one was not evicted");
}
