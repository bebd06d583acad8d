//! The alerts before Prometheus' own judge: each fires when it should, with the words it should, and else not.

use super::{Alert, RUNBOOKS, table::GROUPS, yaml};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, process::Command};

/// What is given to Prometheus, and what comes of one alert.
struct Case {
    alert: &'static str,
    /// When it is looked at, minutes from the start.
    at: u32,
    /// Series and their values every 30 s, in promtool's notation.
    series: Vec<(String, &'static str)>,
    /// The labels (without the common ones) and the value with which it fires; `None` when it must not.
    fires: Option<(&'static [(&'static str, &'static str)], &'static str)>,
}

/// Of an operator's instance, about the policy.
fn of_policy(instance: &str, metric: &str, more: &str) -> String {
    format!(
        "doctorkafka_{metric}{{namespace=\"doctorkafka\",job=\"operator\",instance=\"{instance}\",policy=\"kafka/prod\"{}}}",
        comma(more)
    )
}

/// Of an operator's instance, about itself.
fn of_doctor(instance: &str, metric: &str) -> String {
    format!("doctorkafka_{metric}{{namespace=\"doctorkafka\",job=\"operator\",instance=\"{instance}\"}}")
}

/// Of the sidecar of a broker; with `instance` where it runs, which changes with its pod.
fn of_sidecar(broker: i32, instance: &str, metric: &str, more: &str) -> String {
    format!(
        "doctorkafka_sidecar_{metric}{{namespace=\"kafka\",job=\"sidecars\",pod=\"kafka-{broker}\",instance=\"{instance}\"{}}}",
        comma(more)
    )
}

fn comma(more: &str) -> String {
    if more.is_empty() { String::new() } else { format!(",{more}") }
}

const POLICY: &[(&str, &str)] =
    &[("namespace", "doctorkafka"), ("job", "operator"), ("policy", "kafka/prod")];
const DOCTOR: &[(&str, &str)] = &[("namespace", "doctorkafka"), ("job", "operator")];

fn brokers(instance: &str, states: [(&str, &'static str); 2]) -> Vec<(String, &'static str)> {
    let of =
        |(state, values): (&str, _)| (of_policy(instance, "brokers", &format!("state=\"{state}\"")), values);
    states.map(of).into()
}

fn state(alert: &'static str, state: &'static str, after: u32) -> Vec<Case> {
    let label = format!("state=\"{state}\"");
    let series = |a, b| vec![(of_policy("a", "brokers", &label), a), (of_policy("b", "brokers", &label), b)];
    vec![
        // Both operators see it, and it is told once.
        Case { alert, at: after + 2, series: series("0 0 1x200", "0 0 1x200"), fires: Some((POLICY, "1")) },
        Case { alert, at: after + 2, series: series("0x200", "0x200"), fires: None },
        // It comes and goes.
        Case { alert, at: after - 1, series: series("0 0 1x200", "0 0 1x200"), fires: None },
        Case { alert, at: after + 2, series: series("1 0x200", "1 0x200"), fires: None },
    ]
}

/// A figure of the policy that is wrong while it is `bad`, and right while it is `good`, on all operators.
fn figure(
    alert: &'static str,
    metric: &str,
    bad: &'static str,
    good: &'static str,
    at: u32,
    value: &'static str,
) -> Vec<Case> {
    let series = |values| vec![(of_policy("a", metric, ""), values), (of_policy("b", metric, ""), values)];
    vec![
        Case { alert, at, series: series(bad), fires: Some((POLICY, value)) },
        Case { alert, at, series: series(good), fires: None },
    ]
}

/// Who is replaced in a rolling update counts no more.
fn unhealthy() -> Vec<Case> {
    let alert = "DoctorKafkaBrokerUnhealthy";
    let rolling = |a, b| {
        ["a", "b"]
            .into_iter()
            .zip([a, b])
            .map(|(instance, values)| (of_policy(instance, "brokers_rolling", ""), values))
    };
    let mut cases = state(alert, "Unhealthy", 1);
    cases.iter_mut().for_each(|case| case.series.extend(rolling("0x200", "0x200")));
    let down = |values| {
        ["a", "b"].map(|instance| (of_policy(instance, "brokers", "state=\"Unhealthy\""), values)).to_vec()
    };
    let mut planned = Case { alert, at: 4, series: down("1x200"), fires: None };
    planned.series.extend(rolling("1x200", "1x200"));
    let mut another = Case { alert, at: 4, series: down("2x200"), fires: Some((POLICY, "1")) };
    another.series.extend(rolling("1x200", "1x200"));
    cases.extend([planned, another]);
    cases
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        unhealthy(),
        state("DoctorKafkaBrokerOverloaded", "Overloaded", 15),
        state("DoctorKafkaBrokerRecovering", "Recovering", 30),
        figure("DoctorKafkaRollingUpdateStuck", "brokers_rolling", "1x200", "1 1 0 1 1 0 1 0x200", 16, "1"),
        figure("DoctorKafkaUnderReplicated", "under_replicated_partitions", "7x200", "0x200", 31, "7"),
        figure("DoctorKafkaKafkaUnreachable", "kafka_reachable", "0x200", "1x200", 3, "0"),
        figure("DoctorKafkaPolicyRefused", "policy_refused", "1x200", "0x200", 6, "1"),
        figure("DoctorKafkaPolicyConflict", "policy_conflict", "1x200", "0x200", 6, "1"),
        figure("DoctorKafkaTopicsFailing", "topics_failing", "1x200", "0x200", 6, "1"),
        figure("DoctorKafkaActionsLogStuck", "actions_log_failing", "1x200", "0x200", 6, "1"),
        figure("DoctorKafkaActionsLogStuck", "outbox_records", "3x200", "3 3 0x200", 11, "3"),
        figure("DoctorKafkaAdviceWaiting", "advice", "2x200", "0x200", 61, "2"),
        figure("DoctorKafkaTreatmentHeld", "treatment_held", "1x200", "0x200", 31, "1"),
        figure("DoctorKafkaThrottleLeft", "throttles_left", "2x200", "0x200", 16, "2"),
    ]
    .into_iter()
    .flatten()
    .collect();
    cases.extend(of_the_doctor());
    cases.extend(of_treatment());
    cases.extend(of_sidecars());
    cases.extend(of_injection());
    cases
}

fn of_the_doctor() -> Vec<Case> {
    let silent = "DoctorKafkaAllSilent";
    let unknown = "DoctorKafkaBrokerUnknown";
    let all = |a, b| [brokers("a", a), brokers("b", b)].concat();
    let none_known = [("Healthy", "0x200"), ("Unknown", "3x200")];
    let one_unknown = [("Healthy", "2x200"), ("Unknown", "1x200")];
    let all_known = [("Healthy", "3x200"), ("Unknown", "0x200")];
    let with = |mut series: Vec<(String, &'static str)>, metric: &str, values| {
        series.push((of_policy("a", metric, ""), values));
        series
    };
    let leaders = |a: &'static str, b: &'static str| {
        let mut series =
            vec![(of_doctor("a", "build_info"), "1x200"), (of_doctor("b", "build_info"), "1x200")];
        series.extend(
            [("a", a), ("b", b)]
                .into_iter()
                .filter(|(_, values)| !values.is_empty())
                .map(|(instance, values)| (of_doctor(instance, "leader"), values)),
        );
        series
    };
    let skipped = |reason: &str, values| {
        vec![(of_policy("a", "reports_skipped_total", &format!("reason=\"{reason}\"")), values)]
    };
    let malformed: &[(&str, &str)] = &[
        ("namespace", "doctorkafka"),
        ("job", "operator"),
        ("policy", "kafka/prod"),
        ("reason", "malformed"),
    ];
    vec![
        Case {
            alert: silent,
            at: 4,
            series: with(all(none_known, none_known), "kafka_reachable", "1x200"),
            fires: Some((POLICY, "3")),
        },
        // One operator alone hears nothing: that is its own trouble.
        Case { alert: silent, at: 4, series: all(none_known, all_known), fires: None },
        Case { alert: silent, at: 4, series: all(one_unknown, one_unknown), fires: None },
        // That is another alert.
        Case {
            alert: silent,
            at: 4,
            series: with(all(none_known, none_known), "kafka_reachable", "0x200"),
            fires: None,
        },
        Case { alert: unknown, at: 17, series: all(one_unknown, one_unknown), fires: Some((POLICY, "1")) },
        Case { alert: unknown, at: 17, series: all(one_unknown, all_known), fires: None },
        Case { alert: unknown, at: 17, series: all(none_known, none_known), fires: None },
        Case {
            alert: "DoctorKafkaDown",
            at: 12,
            series: vec![(of_doctor("a", "build_info"), "1 1 _x200")],
            fires: Some((&[], "1")),
        },
        Case {
            alert: "DoctorKafkaDown",
            at: 12,
            series: vec![(of_doctor("a", "build_info"), "1x200")],
            fires: None,
        },
        Case {
            alert: "DoctorKafkaNoLeader",
            at: 4,
            series: leaders("0x200", "0x200"),
            fires: Some((DOCTOR, "2")),
        },
        // The election has not said anything yet.
        Case { alert: "DoctorKafkaNoLeader", at: 4, series: leaders("", ""), fires: Some((DOCTOR, "2")) },
        Case { alert: "DoctorKafkaNoLeader", at: 4, series: leaders("1x200", "0x200"), fires: None },
        Case {
            alert: "DoctorKafkaManyLeaders",
            at: 3,
            series: leaders("1x200", "1x200"),
            fires: Some((DOCTOR, "2")),
        },
        Case { alert: "DoctorKafkaManyLeaders", at: 3, series: leaders("1x200", "0x200"), fires: None },
        Case {
            alert: "DoctorKafkaNoStandby",
            at: 17,
            series: vec![(of_doctor("a", "build_info"), "1x200")],
            fires: Some((DOCTOR, "1")),
        },
        Case { alert: "DoctorKafkaNoStandby", at: 17, series: leaders("1x200", "0x200"), fires: None },
        Case {
            alert: "DoctorKafkaRecordsDropped",
            at: 20,
            series: vec![(of_policy("a", "outbox_dropped_total", ""), "0x10 5x200")],
            fires: Some((POLICY, "5.128205128205128")),
        },
        Case {
            alert: "DoctorKafkaRecordsDropped",
            at: 20,
            series: vec![(of_policy("a", "outbox_dropped_total", ""), "5x200")],
            fires: None,
        },
        Case {
            alert: "DoctorKafkaPoisonRecords",
            at: 20,
            series: skipped("malformed", "0+3x200"),
            fires: Some((malformed, "0.1")),
        },
        // Reports that come twice, after a retry, are in order.
        Case {
            alert: "DoctorKafkaPoisonRecords",
            at: 20,
            series: skipped("repeated", "0+3x200"),
            fires: None,
        },
        Case {
            alert: "DoctorKafkaPoisonRecords",
            at: 20,
            series: skipped("malformed", "0 0 3x200"),
            fires: None,
        },
    ]
}

fn of_treatment() -> Vec<Case> {
    let refused: &[(&str, &str)] = &[
        ("namespace", "doctorkafka"),
        ("job", "operator"),
        ("policy", "kafka/prod"),
        ("rule", "TooManyOverloaded"),
    ];
    let refusals = |values| vec![(of_policy("a", "refusals", "rule=\"TooManyOverloaded\""), values)];
    let ended =
        |end: &str| vec![(of_policy("a", "treatments_total", &format!("end=\"{end}\"")), "0x20 1x200")];
    vec![
        Case {
            alert: "DoctorKafkaTreatmentRefused",
            at: 61,
            series: refusals("1x200"),
            fires: Some((refused, "1")),
        },
        Case { alert: "DoctorKafkaTreatmentRefused", at: 61, series: refusals("1x60 _x200"), fires: None },
        Case {
            alert: "DoctorKafkaTreatmentGivenUp",
            at: 15,
            series: ended("given_up"),
            fires: Some((POLICY, "1.0344827586206897")),
        },
        Case { alert: "DoctorKafkaTreatmentGivenUp", at: 15, series: ended("done"), fires: None },
        Case { alert: "DoctorKafkaTreatmentGivenUp", at: 55, series: ended("given_up"), fires: None },
    ]
}

fn of_sidecars() -> Vec<Case> {
    let info =
        |instance: &str, values| (of_sidecar(2, instance, "info", "broker=\"2\",version=\"1\""), values);
    let figure = |metric: &str, values| (of_sidecar(2, "x", metric, ""), values);
    let pod: &[(&str, &str)] =
        &[("namespace", "kafka"), ("job", "sidecars"), ("pod", "kafka-2"), ("broker", "2")];
    let sidecar: &[(&str, &str)] = &[
        ("namespace", "kafka"),
        ("job", "sidecars"),
        ("pod", "kafka-2"),
        ("instance", "x"),
        ("broker", "2"),
        ("version", "1"),
    ];
    let acknowledged = "records_acknowledged_total";
    vec![
        Case {
            alert: "DoctorKafkaSidecarDown",
            at: 20,
            series: vec![info("x", "1x10 _x200")],
            fires: Some((pod, "1")),
        },
        Case { alert: "DoctorKafkaSidecarDown", at: 20, series: vec![info("x", "1x200")], fires: None },
        // Its pod came back at another address.
        Case {
            alert: "DoctorKafkaSidecarDown",
            at: 20,
            series: vec![info("x", "1x10 _x200"), info("y", "_x12 1x200")],
            fires: None,
        },
        Case {
            alert: "DoctorKafkaSidecarNotPublishing",
            at: 20,
            series: vec![info("x", "1x200"), figure(acknowledged, "0+30x5 150x200")],
            fires: Some((sidecar, "1")),
        },
        Case {
            alert: "DoctorKafkaSidecarNotPublishing",
            at: 20,
            series: vec![info("x", "1x200"), figure(acknowledged, "0+30x200")],
            fires: None,
        },
        Case {
            alert: "DoctorKafkaSidecarBlind",
            at: 12,
            series: vec![info("x", "1x200"), figure("broker_running", "1x200")],
            fires: Some((sidecar, "1")),
        },
        Case {
            alert: "DoctorKafkaSidecarBlind",
            at: 12,
            series: vec![
                info("x", "1x200"),
                figure("broker_running", "1x200"),
                figure("cpu_percent", "40x200"),
            ],
            fires: None,
        },
        // A broker that does not run has no CPU.
        Case {
            alert: "DoctorKafkaSidecarBlind",
            at: 12,
            series: vec![info("x", "1x200"), figure("broker_running", "0x200")],
            fires: None,
        },
    ]
}

fn of_injection() -> Vec<Case> {
    let review = |instance: &str, outcome: &str| {
        let metric = of_doctor(instance, "injection_reviews_total");
        format!("{},outcome=\"{outcome}\"}}", metric.trim_end_matches('}'))
    };
    let reviews =
        |outcome: &str, values| vec![(review("a", outcome), values), (review("b", outcome), "0x200")];
    let end = |instance: &str, values| {
        (of_doctor(instance, "injection_certificate_expiry_timestamp_seconds"), values)
    };
    let ends = |a, b| {
        let served = ["a", "b"].map(|instance| (review(instance, "injected"), "3x200"));
        [served.into(), vec![end("a", a), end("b", b)]].concat()
    };
    let missed: &[(&str, &str)] =
        &[("namespace", "doctorkafka"), ("job", "operator"), ("outcome", "no_policy")];
    let missing = "DoctorKafkaPodsWithoutSidecar";
    let certificate = "DoctorKafkaInjectionCertificate";
    vec![
        Case {
            alert: missing,
            at: 20,
            series: reviews("no_policy", "0x10 1x200"),
            fires: Some((missed, "1.0256410256410255")),
        },
        Case { alert: missing, at: 20, series: reviews("injected", "0x10 1x200"), fires: None },
        Case { alert: missing, at: 80, series: reviews("no_policy", "0x10 1x200"), fires: None },
        // The clock begins at 0: one ends after 10 days, the other after 40.
        Case {
            alert: certificate,
            at: 20,
            series: ends("864000x200", "3456000x200"),
            fires: Some((DOCTOR, "862800")),
        },
        Case { alert: certificate, at: 20, series: ends("3456000x200", "3456000x200"), fires: None },
        // One operator has none.
        Case { alert: certificate, at: 20, series: ends("_x200", "3456000x200"), fires: Some((DOCTOR, "0")) },
        // It has been renewed by now.
        Case {
            alert: certificate,
            at: 20,
            series: ends("864000x10 9504000x200", "9504000x200"),
            fires: None,
        },
    ]
}

fn alert(name: &str) -> &'static Alert {
    GROUPS.iter().flat_map(|group| group.alerts).find(|alert| alert.name == name).unwrap()
}

/// A template as Prometheus fills it in.
fn filled(template: &str, labels: &[(&str, &str)], value: &str) -> String {
    let text = template.replace("{{ $value }}", value);
    labels
        .iter()
        .fold(text, |text, (label, value)| text.replace(&format!("{{{{ $labels.{label} }}}}"), value))
}

fn test_of(case: &Case) -> Value {
    let alert = alert(case.alert);
    let fired = case.fires.map(|(labels, value)| {
        let severity = ("severity", alert.severity.as_str());
        let all: BTreeMap<_, _> = labels.iter().copied().chain([severity]).collect();
        json!({
            "exp_labels": all,
            "exp_annotations": {
                "summary": filled(alert.summary, labels, value),
                "description": filled(alert.description, labels, value),
                "runbook_url": format!("{RUNBOOKS}{}.md", alert.name),
            },
        })
    });
    let series = |(series, values): &(String, &str)| json!({"series": series, "values": values});
    json!({
        "interval": "30s",
        "input_series": case.series.iter().map(series).collect::<Vec<_>>(),
        "alert_rule_test": [{
            "eval_time": format!("{}m", case.at),
            "alertname": case.alert,
            "exp_alerts": fired.into_iter().collect::<Vec<_>>(),
        }],
    })
}

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).output();
    let output = output.expect(
        "promtool not found: on Debian apt-get install prometheus; elsewhere https://prometheus.io/download",
    );
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {}:\n{said}", arguments.join(" "));
    said
}

#[test]
fn every_alert_fires_when_it_should_and_else_not() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    fs::write(&rules, yaml()).unwrap();
    promtool(&["check", "rules", rules.to_str().unwrap()]);

    let cases = cases();
    for Alert { name, .. } in GROUPS.iter().flat_map(|group| group.alerts) {
        let of = |fires: bool| cases.iter().any(|case| case.alert == *name && case.fires.is_some() == fires);
        assert!(of(true) && of(false), "{name} needs a case in which it fires and one in which it does not");
    }
    let tests: Vec<Value> = cases.iter().map(test_of).collect();
    let file = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": tests});
    let tests = folder.path().join("tests.yaml");
    // JSON is YAML.
    fs::write(&tests, file.to_string()).unwrap();
    promtool(&["test", "rules", tests.to_str().unwrap()]);
}
