//! What is shown.

use super::*;

#[test]
fn a_report_carries_the_newest_actions_and_forgets_those_of_a_log_that_is_gone() {
    let mut writer = World::leading();
    let record = writer.seconds(1, CALM).remove(0);
    let mut world = World::new();
    for offset in 0..i64::try_from(DoctorReport::RECENT_ACTIONS).unwrap() + 5 {
        let record = Box::new(ActionRecord { id: offset.to_string(), ..record.clone() });
        world.state.log(LogEvent::Record { offset, record });
    }
    let shown = world.shown();
    assert_eq!(shown.actions.len(), DoctorReport::RECENT_ACTIONS);
    assert_eq!((shown.actions[0].id.as_str(), shown.actions[199].id.as_str()), ("5", "204"));
    assert!(Arc::ptr_eq(&shown.actions, &world.shown().actions), "not copied again without need");
    world.state.log(LogEvent::Restarted);
    assert!(world.shown().actions.is_empty());
}

#[test]
fn nothing_is_claimed_before_anything_was_seen() {
    let mut world = World::new();
    let shown = world.shown();
    assert_eq!((shown.kafka.reachable, shown.kafka.under_replicated, shown.summary.brokers), (None, None, 0));
    assert!(world.step().is_empty());
}

#[test]
fn one_failed_look_is_no_outage() {
    let mut world = World::new();
    let failed = || Sight::Cluster { at: Moment(0), description: Err("refused".into()), controller: None };
    world.seconds(1, CALM);
    world.now = world.now + Duration::from_secs(2);
    world.state.see(failed(), world.now);
    assert_eq!(world.shown().kafka.reachable, Some(true));
    world.now = world.now + Duration::from_secs(2);
    world.state.see(failed(), world.now);
    let kafka = world.shown().kafka;
    assert_eq!((kafka.reachable, kafka.error.as_deref()), (Some(false), Some("refused")));
    assert_eq!((kafka.cluster_id.as_deref(), kafka.controller_id), (Some("c1"), None));
    world.seconds(1, CALM);
    assert_eq!((world.shown().kafka.reachable, world.shown().kafka.error), (Some(true), None));
}

#[test]
fn another_cluster_under_the_same_address_is_not_taken_for_the_one_that_is_watched() {
    let mut world = World::leading();
    world.seconds(3, CALM);
    world.cluster = "c2";
    world.seconds(9, CALM);
    assert!(!world.state.is_replaced(world.now));
    let kafka = world.shown().kafka;
    assert_eq!((kafka.cluster_id.as_deref(), kafka.reachable), (Some("c1"), Some(false)));
    assert!(kafka.error.unwrap().contains("c2"));
    world.seconds(3, CALM);
    assert!(world.state.is_replaced(world.now));
    world.cluster = "c1";
    world.seconds(1, CALM);
    assert!(!world.state.is_replaced(world.now), "it was only away");
}

#[test]
fn reports_that_cannot_be_used_are_counted_by_reason() {
    let mut world = World::new();
    world.seconds(1, CALM);
    world.report(report(BrokerId(1), 1, 99.0));
    world.report(report(BrokerId(9), 1, 99.0));
    world.report(BrokerReport { cluster_id: Some("c2".into()), ..report(BrokerId(1), 99, 99.0) });
    let counters = world.shown().counters;
    let skipped =
        BTreeMap::from([(SkipReason::Repeated, 1), (SkipReason::UnknownBroker, 1), (SkipReason::Forged, 1)]);
    assert_eq!((counters.reports, counters.skipped), (3, skipped));
}

#[test]
fn figures_are_published_twice_a_second_and_changes_at_once() {
    let mut world = World::new();
    world.seconds(3, CALM);
    assert!(world.state.worth_publishing(world.now));
    let later = world.now + Duration::from_millis(100);
    assert!(!world.state.worth_publishing(later), "nothing new");
    world.state.begin_term();
    assert!(world.state.worth_publishing(later));
    assert!(!world.state.worth_publishing(later + Duration::from_millis(499)));
    assert!(world.state.worth_publishing(later + Duration::from_millis(500)));
}

#[test]
fn silent_brokers_are_worth_a_probe() {
    let mut world = World::new();
    world.seconds(3, CALM);
    assert!(world.state.worth_probing(world.now).is_empty());
    world.seconds(5, &[30.0, f64::NAN, 30.0]);
    let worth = BTreeMap::from([(BrokerId(2), "kafka-2:9092".to_owned())]);
    assert_eq!(world.state.worth_probing(world.now), worth);
}

#[test]
fn topics_that_cannot_be_created_are_shown_until_they_are() {
    let mut world = World::new();
    world.seconds(1, CALM);
    world.state.see(Sight::OwnTopics(Err("cannot create".into())), world.now);
    assert!(world.state.worth_publishing(world.now));
    world.seconds(2, CALM);
    assert_eq!(world.shown().kafka.topics_error.as_deref(), Some("cannot create"));
    world.state.see(Sight::OwnTopics(Ok(())), world.now);
    assert_eq!(world.shown().kafka.topics_error, None);
}

#[test]
fn a_log_that_cannot_be_written_is_shown_until_it_is_or_another_leads() {
    let failed = || TermEvent::Failed("cannot open".into());
    let error = |world: &mut World| world.shown().kafka.actions_log_error;
    let mut world = World::new();
    world.seconds(2, CALM);
    world.state.begin_term();
    world.state.hear_term(failed());
    assert_eq!(error(&mut world).as_deref(), Some("cannot open"));
    world.open(&[]);
    assert!(error(&mut world).is_some(), "opened is not written");
    world.state.hear_term(TermEvent::Committed(vec![ActionKind::LeaderStarted]));
    assert_eq!(error(&mut world), None);
    for end in [TermEvent::Fenced, TermEvent::Broken] {
        world.open(&[]);
        world.state.hear_term(failed());
        world.state.hear_term(end);
        world.state.stand_by();
        assert_eq!(error(&mut world), None, "it is another's log now");
    }
}
