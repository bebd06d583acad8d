//! What a scrape shows, and that it stays small.

#![allow(clippy::unwrap_used)]

mod common;

use common::{broker, fleet_of, full_report, healthy, insert, report};
use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_doctor::Role;
use doctorkafka_operator::{fleet::Fleet, metrics};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

fn scrape(fleet: &Fleet) -> Vec<String> {
    let text = metrics::render(&fleet.view(), Timestamp::now()).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn value(lines: &[String], series: &str) -> Option<f64> {
    let rest = lines.iter().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    rest.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn shows_what_the_report_says() {
    let (fleet, _engine) = fleet_of(full_report("kafka/prod"));
    fleet.set_leading(true);
    fleet.count_status_write("kafka/prod");
    fleet.count_status_write("kafka/prod");
    let lines = scrape(&fleet);
    for (series, expected) in [
        ("doctorkafka_leader", 1.0),
        ("doctorkafka_kafka_reachable{policy=\"kafka/prod\"}", 1.0),
        ("doctorkafka_brokers{policy=\"kafka/prod\",state=\"Healthy\"}", 2.0),
        ("doctorkafka_brokers{policy=\"kafka/prod\",state=\"Overloaded\"}", 1.0),
        ("doctorkafka_brokers{policy=\"kafka/prod\",state=\"Unhealthy\"}", 0.0),
        ("doctorkafka_brokers_rolling{policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_reports_total{policy=\"kafka/prod\"}", 1_000.0),
        ("doctorkafka_reports_skipped_total{policy=\"kafka/prod\",reason=\"malformed\"}", 7.0),
        ("doctorkafka_reports_skipped_total{policy=\"kafka/prod\",reason=\"forged\"}", 0.0),
        ("doctorkafka_actions_total{kind=\"ALERT_OVERLOAD\",policy=\"kafka/prod\"}", 2.0),
        ("doctorkafka_actions_total{kind=\"RECOVERED\",policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_advice{policy=\"kafka/prod\"}", 1.0),
        ("doctorkafka_refusals{policy=\"kafka/prod\",rule=\"TooManyHot\"}", 1.0),
        ("doctorkafka_outbox_records{policy=\"kafka/prod\"}", 1.0),
        ("doctorkafka_outbox_dropped_total{policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_status_writes_total{policy=\"kafka/prod\"}", 2.0),
        ("doctorkafka_under_replicated_partitions{policy=\"kafka/prod\"}", 3.0),
        ("doctorkafka_policy_refused{policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_policy_conflict{policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_topics_failing{policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_actions_log_failing{policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_treatment_partitions{policy=\"kafka/prod\",progress=\"done\"}", 3.0),
        ("doctorkafka_treatment_partitions{policy=\"kafka/prod\",progress=\"waiting\"}", 4.0),
        ("doctorkafka_treatment_held{policy=\"kafka/prod\"}", 1.0),
        ("doctorkafka_treatments_total{end=\"given_up\",policy=\"kafka/prod\"}", 1.0),
        ("doctorkafka_treatments_total{end=\"done\",policy=\"kafka/prod\"}", 0.0),
        ("doctorkafka_throttles_left{policy=\"kafka/prod\"}", 0.0),
    ] {
        assert_eq!(value(&lines, series), Some(expected), "{series}");
    }
    let age = value(&lines, "doctorkafka_heartbeat_age_max_seconds{policy=\"kafka/prod\"}").unwrap();
    assert!((1.0..60.0).contains(&age), "{age}");
}

#[tokio::test]
async fn what_is_wrong_with_the_doctor_itself_is_shown() {
    let mut ill = report("prod", vec![]);
    ill.role = Role::Conflict { message: "watched by another".to_owned() };
    ill.kafka.topics_error = Some("not authorized".to_owned());
    ill.kafka.actions_log_error = Some("not authorized".to_owned());
    ill.counters.throttles_left = 2;
    let (fleet, _engine) = fleet_of(ill);
    let lines = scrape(&fleet);
    for (name, expected) in [
        ("policy_conflict", 1.0),
        ("topics_failing", 1.0),
        ("actions_log_failing", 1.0),
        ("throttles_left", 2.0),
        ("treatment_held", 0.0),
    ] {
        let series = format!("doctorkafka_{name}{{policy=\"prod\"}}");
        assert_eq!(value(&lines, &series), Some(expected), "{series}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_absent() {
    let mut unknown = report("prod", vec![]);
    unknown.kafka = Default::default();
    let (fleet, _engine) = fleet_of(unknown);
    let lines = scrape(&fleet);
    for name in [
        "doctorkafka_leader",
        "doctorkafka_kafka_reachable",
        "doctorkafka_under_replicated",
        "doctorkafka_heartbeat",
    ] {
        assert!(!lines.iter().any(|line| line.starts_with(name)), "{name} is in {lines:?}");
    }
}

#[tokio::test]
async fn the_number_of_series_does_not_grow_with_the_brokers() {
    let series = |fleet: &Fleet| -> BTreeSet<String> {
        scrape(fleet).iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let (small, _engine) = fleet_of(report("prod", vec![healthy(1)]));
    let states = [
        (BrokerState::Healthy, Reason::WithinLimits),
        (BrokerState::Unhealthy, Reason::HeartbeatLost),
        (BrokerState::Overloaded, Reason::DiskAbove),
    ];
    let thousand = (0..1_000)
        .map(|id| {
            let (state, reason) = states[id as usize % states.len()];
            broker(id, state, reason, &format!("message {id}"))
        })
        .collect();
    let (large, _engine) = fleet_of(report("prod", thousand));

    let series_of_large = series(&large);
    assert_eq!(series(&small), series_of_large);
    assert!(series_of_large.len() < 80, "{} series", series_of_large.len());
    assert!(!series_of_large.iter().any(|series| series.contains("broker-") || series.contains("message")));
}

#[tokio::test]
async fn a_removed_policy_leaves_no_series_behind() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let _other = insert(&fleet, full_report("gone"));
    fleet.set_problem("gone", Some("spec.topics: nonsense".to_owned()));
    assert_eq!(value(&scrape(&fleet), "doctorkafka_policy_refused{policy=\"gone\"}"), Some(1.0));
    fleet.remove("gone");
    assert!(!scrape(&fleet).iter().any(|line| line.contains("gone")));
}

#[tokio::test]
async fn a_heartbeat_from_the_future_has_no_age() {
    let mut ahead = healthy(1);
    ahead.figures.last_heartbeat = Some(Timestamp::now() + SignedDuration::from_hours(1));
    let (fleet, _engine) = fleet_of(report("prod", vec![ahead]));
    let series = "doctorkafka_heartbeat_age_max_seconds{policy=\"prod\"}";
    assert_eq!(value(&scrape(&fleet), series), Some(0.0));
}
