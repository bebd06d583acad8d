use super::*;
use doctorkafka_diagnosis::Moment;

fn diagnosis(state: BrokerState, reason: Reason) -> Diagnosis {
    Diagnosis {
        state,
        reason,
        since: Moment(0),
        message: reason.to_string(),
        evidence: Evidence::new(),
        resource: None,
    }
}

fn world(states: &[(BrokerState, Reason)]) -> BTreeMap<BrokerId, Diagnosis> {
    (1..).zip(states).map(|(id, (state, reason))| (BrokerId(id), diagnosis(*state, *reason))).collect()
}

fn record(draft: &Draft, epoch: u64) -> ActionRecord {
    ActionRecord {
        version: 1,
        id: ActionRecord::new_id(),
        time: Timestamp::UNIX_EPOCH,
        policy: "p".into(),
        cluster: "c".into(),
        epoch,
        kind: draft.kind,
        severity: draft.severity,
        broker: draft.broker,
        message: draft.message.clone(),
        outcome: draft.outcome,
        leadership: draft.leadership.clone(),
        digest: None,
        step: None,
        treatment: None,
        evidence: draft.evidence.clone(),
    }
}

const OK: (BrokerState, Reason) = (BrokerState::Healthy, Reason::WithinLimits);
const HOT: (BrokerState, Reason) = (BrokerState::Overloaded, Reason::CpuAbove);
const DOWN: (BrokerState, Reason) = (BrokerState::Unhealthy, Reason::ProcessDown);
const BLIND: (BrokerState, Reason) = (BrokerState::Unknown, Reason::AllSilent);
const NEW: (BrokerState, Reason) = (BrokerState::Unknown, Reason::NotSeenYet);

/// Every load is below every limit.
fn below(_: BrokerId, _: &str) -> bool {
    false
}

fn kinds(drafts: &[Draft]) -> Vec<(ActionKind, Option<i32>)> {
    drafts.iter().map(|d| (d.kind, d.broker.map(|b| b.0))).collect()
}

#[test]
fn each_change_is_told_once() {
    let now = Timestamp::UNIX_EPOCH;
    let mut alerts = Alerts::default();
    assert!(alerts.reconcile(&world(&[OK, OK]), now, 9, below).is_empty());
    assert_eq!(
        kinds(&alerts.reconcile(&world(&[OK, HOT]), now, 9, below)),
        [(ActionKind::AlertOverload, Some(2))]
    );
    assert!(alerts.reconcile(&world(&[OK, HOT]), now, 9, below).is_empty());
    assert_eq!(
        kinds(&alerts.reconcile(&world(&[OK, DOWN]), now, 9, below)),
        [(ActionKind::AlertUnhealthy, Some(2))]
    );
    assert_eq!(
        kinds(&alerts.reconcile(&world(&[OK, OK]), now, 9, below)),
        [(ActionKind::Recovered, Some(2))]
    );
}

#[test]
fn a_new_leader_repeats_nothing_and_misses_nothing() {
    let now = Timestamp::UNIX_EPOCH;
    let mut first = Alerts::default();
    let mut second = Alerts::default();
    for draft in first.reconcile(&world(&[HOT, DOWN, OK]), now, 9, below) {
        second.apply(&record(&draft, 4));
    }
    assert_eq!(second.epoch, 4);
    assert!(second.reconcile(&world(&[NEW, NEW, NEW]), now, 9, below).is_empty(), "nothing is known yet");
    assert!(second.reconcile(&world(&[HOT, DOWN, OK]), now, 9, below).is_empty());
    let drafts = second.reconcile(&world(&[OK, DOWN, DOWN]), now, 9, below);
    assert_eq!(kinds(&drafts), [(ActionKind::Recovered, Some(1)), (ActionKind::AlertUnhealthy, Some(3))]);
}

#[test]
fn blindness_is_one_alert() {
    let now = Timestamp::UNIX_EPOCH;
    let mut alerts = Alerts::default();
    assert_eq!(
        kinds(&alerts.reconcile(&world(&[BLIND, BLIND]), now, 9, below)),
        [(ActionKind::AlertUnknown, None)]
    );
    assert!(alerts.reconcile(&world(&[BLIND, BLIND]), now, 9, below).is_empty());
    assert!(alerts.reconcile(&world(&[OK, BLIND]), now, 9, below).is_empty());
    assert_eq!(kinds(&alerts.reconcile(&world(&[OK, OK]), now, 9, below)), [(ActionKind::Recovered, None)]);
}

#[test]
fn proposals_and_refusals_are_told_once_per_alert() {
    let now = Timestamp::UNIX_EPOCH;
    let mut alerts = Alerts::default();
    let plan = LeadershipPlan {
        from: BrokerId(1),
        moves: vec![LeadershipMove { topic: "t".into(), partition: 0, from: BrokerId(1), to: BrokerId(2) }],
    };
    assert!(alerts.propose(&plan).is_none(), "no alert, no treatment");
    alerts.reconcile(&world(&[HOT, OK]), now, 9, below);
    let refused = Refused { rule: doctorkafka_planner::Rule::UnderReplicated, message: "m".into() };
    let told = alerts.refuse(BrokerId(1), &refused).unwrap();
    assert!(alerts.refuse(BrokerId(1), &refused).is_none());
    let proposed = alerts.propose(&plan).unwrap();
    assert!(alerts.propose(&plan).is_none());
    let mut next = Alerts::default();
    let alert = Draft::new(ActionKind::AlertOverload, Severity::Warning, Some(BrokerId(1)), "");
    for draft in [&alert, &told, &proposed] {
        next.apply(&record(draft, 1));
    }
    assert!(
        next.propose(&plan).is_none() && next.refuse(BrokerId(1), &refused).is_none(),
        "nor by the next leader"
    );
}

#[test]
fn a_broker_that_left_the_cluster_leaves_no_alert() {
    let now = Timestamp::UNIX_EPOCH;
    let mut alerts = Alerts::default();
    alerts.reconcile(&world(&[OK, DOWN]), now, 9, below);
    assert!(alerts.reconcile(&BTreeMap::new(), now, 9, below).is_empty(), "not looked yet");
    assert_eq!(kinds(&alerts.reconcile(&world(&[OK]), now, 9, below)), [(ActionKind::Recovered, Some(2))]);
}

#[test]
fn what_does_not_fit_is_told_when_there_is_room() {
    let now = Timestamp::UNIX_EPOCH;
    let mut alerts = Alerts::default();
    assert!(alerts.reconcile(&world(&[DOWN, HOT, BLIND]), now, 0, below).is_empty());
    let first = alerts.reconcile(&world(&[DOWN, HOT, BLIND]), now, 2, below);
    assert_eq!(kinds(&first), [(ActionKind::AlertUnknown, None), (ActionKind::AlertUnhealthy, Some(1))]);
    let second = alerts.reconcile(&world(&[DOWN, HOT, BLIND]), now, 9, below);
    assert_eq!(kinds(&second), [(ActionKind::AlertOverload, Some(2))]);
    assert!(alerts.reconcile(&world(&[DOWN, HOT, BLIND]), now, 9, below).is_empty());
    let gone = |alerts: &mut Alerts, room| kinds(&alerts.reconcile(&world(&[DOWN]), now, room, below)).len();
    assert_eq!((gone(&mut alerts, 1), gone(&mut alerts, 1), gone(&mut alerts, 1)), (1, 1, 0));
}

#[test]
fn whatever_stands_in_the_log_costs_bounded_memory() {
    let mut alerts = Alerts::default();
    let alert = |id| Draft::new(ActionKind::AlertUnhealthy, Severity::Critical, Some(BrokerId(id)), "");
    for id in 0..i32::try_from(MOST_OPEN).unwrap() + 100 {
        alerts.apply(&record(&alert(id), 1));
    }
    assert_eq!(alerts.brokers.len(), MOST_OPEN);
    for rule in 0..MOST_RULES + 100 {
        let mut refused = Draft::new(ActionKind::Refused, Severity::Warning, Some(BrokerId(1)), "");
        refused.evidence.insert(RULE.into(), json!(rule.to_string()));
        alerts.apply(&record(&refused, 1));
    }
    assert_eq!(alerts.of(BrokerId(1)).map(|alert| alert.refused.len()), Some(MOST_RULES));
}

/// Evidence of an alert: which reason it gives.
fn reasons(drafts: &[Draft]) -> Vec<(Severity, &str)> {
    drafts.iter().map(|draft| (draft.severity, draft.evidence[REASON].as_str().unwrap())).collect()
}

#[test]
fn a_cause_that_the_platform_tells_later_is_told_once() {
    let now = Timestamp::UNIX_EPOCH;
    let mut alerts = Alerts::default();
    let mut told = |reason| {
        let drafts = alerts.reconcile(&world(&[(BrokerState::Unhealthy, reason)]), now, 9, below);
        drafts.iter().map(|draft| draft.severity).collect::<Vec<_>>()
    };
    assert_eq!(told(Reason::HeartbeatLost), [Severity::Critical]);
    assert_eq!(told(Reason::NodeNotReady), [Severity::Critical]);
    assert_eq!(told(Reason::NodeNotReady), []);
    assert_eq!(told(Reason::HeartbeatLost), [], "the cause is not known any more");
    assert_eq!(told(Reason::NodeNotReady), [], "it is known again");
    assert_eq!(told(Reason::ProcessDown), [], "no cause of the platform");
    assert_eq!(told(Reason::Evicted), [Severity::Critical]);
}

#[test]
fn nobody_is_woken_for_a_roll_unless_the_broker_stays_down() {
    let now = Timestamp::UNIX_EPOCH;
    let mut alerts = Alerts::default();
    let down = |reason| world(&[(BrokerState::Unhealthy, reason)]);
    let rolling = alerts.reconcile(&down(Reason::RollingUpdate), now, 9, below);
    assert_eq!(reasons(&rolling), [(Severity::Info, "RollingUpdate")]);
    let lost = alerts.reconcile(&down(Reason::HeartbeatLost), now, 9, below);
    assert_eq!(reasons(&lost), [(Severity::Critical, "HeartbeatLost")]);
    assert!(alerts.reconcile(&down(Reason::ProcessDown), now, 9, below).is_empty());
    let well = alerts.reconcile(&world(&[OK]), now, 9, below);
    assert_eq!(kinds(&well), [(ActionKind::Recovered, Some(1))]);
}

#[test]
fn a_new_leader_repeats_no_cause_and_keeps_since_when() {
    let now = Timestamp::UNIX_EPOCH;
    let mut before = Alerts::default();
    let mut after = Alerts::default();
    for (second, reason) in [(10, Reason::HeartbeatLost), (50, Reason::NodeNotReady)] {
        for draft in before.reconcile(&world(&[(BrokerState::Unhealthy, reason)]), now, 9, below) {
            let time = Timestamp::from_second(second).unwrap();
            after.apply(&ActionRecord { time, ..record(&draft, 1) });
        }
    }
    let down = world(&[(BrokerState::Unhealthy, Reason::NodeNotReady)]);
    assert!(after.reconcile(&down, now, 9, below).is_empty());
    assert_eq!(after.of(BrokerId(1)).unwrap().since, Timestamp::from_second(10).unwrap());
}
