//! What is refused, and why.

use super::*;

#[test]
fn what_was_refused_first_is_proposed_when_it_becomes_possible() {
    let mut world = World::leading();
    let mut sick = orders();
    sick.partitions[0].isr.pop();
    world.topics = Some(vec![sick]);
    let told = world.seconds(20, HOT);
    assert_eq!(kinds(&told), [STARTED, ALERT, REFUSED]);
    let shown = world.shown();
    assert_eq!((shown.refusals[0].rule, shown.kafka.under_replicated), ("UnderReplicated", Some(1)));
    world.topics = Some(vec![orders()]);
    assert_eq!(kinds(&world.seconds(5, HOT)), [PROPOSAL]);
    assert!(world.shown().refusals.is_empty());
}

#[test]
fn nothing_is_planned_on_topics_that_were_never_read_or_are_out_of_date() {
    let mut world = World::leading();
    world.state.topics = None;
    world.topics = None;
    assert_eq!(kinds(&world.seconds(20, HOT)), [STARTED, ALERT, REFUSED]);
    let shown = world.shown();
    assert_eq!(shown.refusals[0].rule, "StaleData");
    assert_eq!((shown.kafka.under_replicated, shown.brokers[0].leaders), (None, None), "unknown is no zero");

    let mut world = World::leading();
    world.seconds(3, CALM);
    assert_eq!((world.shown().kafka.under_replicated, world.shown().brokers[0].leaders), (Some(0), Some(4)));
    world.topics = None;
    world.seconds(16, CALM);
    assert_eq!((world.shown().kafka.under_replicated, world.shown().brokers[0].leaders), (None, None));
    assert_eq!(kinds(&world.seconds(10, HOT)), [ALERT, REFUSED]);
}

#[test]
fn a_silent_broker_is_given_no_work_long_before_it_is_lost() {
    let mut world = World::leading();
    world.seconds(5, &[75.0, 10.0, 30.0]);
    world.seconds(4, &[75.0, f64::NAN, 30.0]);
    let told = world.seconds(5, &[95.0, f64::NAN, 30.0]);
    assert_eq!(kinds(&told), [ALERT, PROPOSAL]);
    assert!(told[1].leadership.iter().all(|change| change.to == BrokerId(3)), "{:?}", told[1].leadership);
    assert_eq!(world.shown().brokers[1].state, BrokerState::Healthy);
}

#[test]
fn a_hot_broker_that_falls_silent_is_not_relieved_of_a_load_of_the_past() {
    let mut world = World::leading();
    world.seconds(20, HOT);
    world.seconds(7, &[f64::NAN, 30.0, 30.0]);
    let shown = world.shown();
    assert_eq!((shown.summary.overloaded, shown.advice.len()), (1, 0));
    assert_eq!(shown.refusals[0].rule, "UnknownLoad");
}
