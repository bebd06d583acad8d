//! What is alerted and proposed, and that an outbox without room loses nothing of it.

use super::*;

#[test]
fn an_overload_is_alerted_proposed_and_recovered_once() {
    let mut world = World::leading();
    assert_eq!(kinds(&world.seconds(3, CALM)), [STARTED]);
    let told = world.seconds(20, HOT);
    assert_eq!(kinds(&told), [ALERT, PROPOSAL]);
    assert_eq!(told[0].message, "CPU usage 95% > 80%");
    assert_eq!(told[1].outcome, Some(Outcome::Proposed));
    assert!(!told[1].leadership.is_empty());
    assert!(told[1].leadership.iter().all(|change| change.from == BrokerId(1) && change.to != BrokerId(1)));
    assert_eq!((told[0].epoch, told[0].cluster.as_str(), told[0].policy.as_str()), (1, "c1", "kafka/prod"));
    let shown = world.shown();
    assert_eq!((shown.summary.overloaded, shown.summary.healthy, shown.advice.len()), (1, 2, 1));
    assert_eq!(kinds(&world.seconds(5, CALM)), [RECOVERED]);
    let shown = world.shown();
    assert!(shown.advice.is_empty() && shown.refusals.is_empty());
}

#[test]
fn a_standby_concludes_the_same_and_writes_nothing() {
    let mut world = World::new();
    assert!(world.seconds(20, HOT).is_empty());
    let shown = world.shown();
    assert_eq!((&shown.role, shown.summary.overloaded, shown.advice.len()), (&Role::Standby, 1, 1));
}

#[test]
fn what_came_up_while_nobody_led_is_told_by_the_next_leader() {
    let mut world = World::new();
    world.seconds(10, HOT);
    world.open(&[]);
    assert_eq!(kinds(&world.step()), [STARTED, ALERT, PROPOSAL]);
}

#[test]
fn what_only_a_stand_by_has_seen_is_told_when_it_takes_over() {
    let mut world = World::new();
    world.seconds(10, HOT);
    world.seconds(20, CALM);
    // The leader was lost with both records.
    world.open(&[]);
    let told = world.step();
    assert_eq!(kinds(&told), [STARTED, ALERT, RECOVERED]);
    let alert = &told[1];
    assert!(alert.message.starts_with("CPU usage 95% > 80%; seen 2023-"), "{}", alert.message);
    assert_eq!(alert.severity, doctorkafka_wire::Severity::Info, "it is over");
    assert_eq!(alert.evidence["reason"], "CpuAbove");
    let found: Timestamp = alert.evidence["foundAt"].as_str().unwrap().parse().unwrap();
    assert!(found < wall(world.now) - Duration::from_secs(20) && alert.time == wall(world.now));
    // It is told once, also by who has seen it too and takes over from this one.
    let log = world.written.clone();
    world.state.hear_term(TermEvent::Broken);
    world.open(&log);
    assert_eq!(kinds(&world.step()), [STARTED]);
}

/// So many seconds in which broker 1's process is absent, or has started and does not answer.
fn not_serving(world: &mut World, seconds: u32, state: ProcessState) {
    for _ in 0..seconds {
        let started_at = (state == ProcessState::Running).then_some(Timestamp::UNIX_EPOCH);
        let process = Process { state, pid: started_at.map(|_| 2), started_at, restarts: 1 };
        let probe = Some(Probe { ok: false, round_trip_ms: None, error: Some("connection refused".into()) });
        world.report(BrokerReport { process, probe, ..report(BrokerId(1), world.sequence + 1, 30.0) });
        world.seconds(1, &[f64::NAN, 30.0, 30.0]);
    }
}

#[test]
fn who_takes_over_while_a_broker_is_on_its_way_back_tells_that_it_was_gone() {
    let mut world = World::new();
    world.seconds(10, CALM);
    not_serving(&mut world, 3, ProcessState::Absent);
    assert_eq!(world.shown().brokers[0].state, BrokerState::Unhealthy);
    not_serving(&mut world, 3, ProcessState::Running);
    assert_eq!(world.shown().brokers[0].state, BrokerState::Recovering);
    // The leader was lost with its record.
    world.open(&[]);
    let told = world.step();
    assert_eq!(kinds(&told), [STARTED, (ActionKind::AlertUnhealthy, Some(1))]);
    assert_eq!(told[1].evidence["reason"], "ProcessDown");
    assert_eq!(kinds(&world.seconds(5, CALM)), [RECOVERED]);
}

#[test]
fn a_new_leader_repeats_nothing_that_the_log_says() {
    let mut first = World::leading();
    first.seconds(20, HOT);
    let mut log = first.written;
    log.iter_mut().for_each(|record| record.time -= Duration::from_secs(3_600));
    let mut second = World::new();
    second.open(&log);
    assert_eq!(kinds(&second.seconds(20, HOT)), [STARTED]);
    assert_eq!(second.shown().role, Role::Leading { epoch: 2 });
    let alert = log.iter().find(|record| record.kind == ActionKind::AlertOverload).unwrap();
    assert_eq!(second.shown().brokers[0].since, alert.time);
    let told = second.seconds(5, CALM);
    assert_eq!((kinds(&told), told[0].epoch), (vec![RECOVERED], 2));
}

#[test]
fn a_new_leader_tells_of_a_recovery_only_below_its_limit() {
    let mut first = World::leading();
    first.seconds(20, HOT);
    let mut second = World::new();
    second.open(&first.written);
    assert_eq!(
        kinds(&second.seconds(20, &[75.0, 30.0, 30.0])),
        [STARTED],
        "neither overloaded nor recovered"
    );
    assert_eq!(kinds(&second.seconds(2, CALM)), [RECOVERED]);
}

#[test]
fn observing_and_paused_doctors_propose_nothing_until_asked_to() {
    for quiet in [EffectiveMode::Observe, EffectiveMode::Paused] {
        let mut world = World::leading();
        world.set_mode(quiet);
        assert_eq!(kinds(&world.seconds(20, HOT)), [STARTED, ALERT], "{quiet:?}");
        assert!(world.shown().advice.is_empty());
        // Level, not edge: the overload is there when recommending is switched on.
        world.set_mode(EffectiveMode::Recommend);
        assert_eq!(kinds(&world.step()), [PROPOSAL], "{quiet:?}");
        world.set_mode(quiet);
        world.step();
        assert!(world.shown().advice.is_empty(), "{quiet:?} takes the advice back");
        world.set_mode(EffectiveMode::Recommend);
        assert!(world.seconds(5, HOT).is_empty(), "the same proposal is told once");
        assert_eq!(world.shown().advice.len(), 1);
    }
}

#[test]
fn a_broker_in_maintenance_is_not_treated_and_is_given_no_work() {
    let mut world = World::leading();
    let mut policy = policy(EffectiveMode::Recommend);
    policy.detection.maintenance = [BrokerId(2)].into_iter().collect();
    world.state.set_policy(Arc::new(policy.clone()));
    let told = world.seconds(20, &[95.0, 99.0, 30.0]);
    assert_eq!(kinds(&told), [STARTED, ALERT, PROPOSAL]);
    assert!(told[2].leadership.iter().all(|change| change.to == BrokerId(3)));
    assert_eq!(world.shown().summary.maintenance, 1);
}

#[test]
fn a_threshold_edited_over_the_load_ends_the_overload() {
    let mut world = World::leading();
    world.seconds(20, HOT);
    let mut policy = policy(EffectiveMode::Recommend);
    policy.detection.cpu.overloaded_above = 99.0;
    policy.detection.cpu.recovered_below = 97.0;
    world.state.set_policy(Arc::new(policy));
    assert_eq!(kinds(&world.seconds(5, HOT)), [RECOVERED]);
    assert!(world.shown().advice.is_empty());
}

#[test]
fn a_full_outbox_loses_nothing() {
    let mut world = World::leading();
    world.room = 0;
    assert!(world.seconds(20, HOT).is_empty());
    world.room = 1;
    assert_eq!(kinds(&world.step()), [STARTED]);
    assert_eq!(kinds(&world.step()), [ALERT]);
    assert_eq!(kinds(&world.seconds(5, HOT)), [PROPOSAL]);
    assert!(world.seconds(5, HOT).is_empty());
}

#[test]
fn what_the_term_writes_and_leaves_out_is_counted() {
    let mut world = World::leading();
    world.state.hear_term(TermEvent::Committed(vec![ActionKind::LeaderStarted, ActionKind::AlertOverload]));
    world.state.hear_term(TermEvent::Committed(vec![ActionKind::AlertOverload]));
    world.state.hear_term(TermEvent::LeftOut);
    world.state.set_waiting(3);
    let counters = world.shown().counters;
    let actions = BTreeMap::from([(ActionKind::LeaderStarted, 1), (ActionKind::AlertOverload, 2)]);
    assert_eq!((counters.actions, counters.outbox, counters.outbox_dropped), (actions, 3, 1));
}
