//! Status and conditions, by what a reader of `kubectl describe` sees.

use super::*;
use crate::{
    credentials::SecretReference,
    kubernetes::{claims::Claim, object::PolicyObject, secrets::SecretError, validate::Problem},
};
use doctorkafka_api::PAUSED_ANNOTATION;
use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_doctor::{
    Advice, Counters, Figures, KafkaView, PlatformView, Refusal, Role, Summary as ReportSummary,
};
use doctorkafka_wire::{ActionRecord, BrokerId, Evidence, Severity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DynamicObject;
use serde_json::json;
use std::sync::Arc;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap() + std::time::Duration::from_millis(417)
}

fn view(id: i32, state: BrokerState, reason: Reason, message: &str) -> BrokerView {
    BrokerView {
        id: BrokerId(id),
        host: format!("broker-{id}"),
        rack: Some(format!("rack-{id}")),
        pod: Some(format!("prod-broker-{id}")),
        node: None,
        state,
        reason,
        since: at(-40),
        message: message.into(),
        evidence: Evidence::new(),
        figures: Figures {
            cpu_percent: Some(91.4),
            disk_percent: Some(60.5),
            network_in: Some(1_234_567.8),
            last_heartbeat: Some(at(0)),
            ..Figures::default()
        },
        leaders: Some(23),
        replicas: Some(70),
    }
}

fn report(brokers: Vec<BrokerView>) -> DoctorReport {
    let count = |state| brokers.iter().filter(|broker| broker.state == state).count();
    DoctorReport {
        at: at(0),
        policy: "kafka/prod".into(),
        role: Role::Leading { epoch: 3 },
        kafka: KafkaView {
            reachable: Some(true),
            cluster_id: Some("4L6g3".into()),
            controller_id: Some(BrokerId(1)),
            ..KafkaView::default()
        },
        platform: PlatformView::default(),
        summary: ReportSummary {
            brokers: brokers.len(),
            healthy: count(BrokerState::Healthy),
            overloaded: count(BrokerState::Overloaded),
            unhealthy: count(BrokerState::Unhealthy),
            recovering: count(BrokerState::Recovering),
            maintenance: count(BrokerState::Maintenance),
            unknown: count(BrokerState::Unknown),
        },
        brokers,
        advice: Vec::new(),
        proposals: Vec::new(),
        treatment: None,
        refusals: Vec::new(),
        actions: Arc::from([]),
        counters: Counters::default(),
    }
}

fn healthy() -> DoctorReport {
    report((1..=3).map(|id| view(id, BrokerState::Healthy, Reason::WithinLimits, "all is well")).collect())
}

fn object(mode: &str) -> DynamicObject {
    let mut object = DynamicObject::new("prod", &PolicyObject::resource()).within("kafka");
    object.metadata.generation = Some(4);
    object.data = json!({"spec": {"kafka": {"bootstrapServers": "a:9092"}, "mode": mode}});
    object
}

fn facts(report: Option<DoctorReport>) -> Facts {
    Facts {
        object: Arc::new(PolicyObject::read(&object("Recommend")).unwrap()),
        report: report.map(Arc::new),
        problem: None,
        claim: Claim::Granted,
        fenced: None,
    }
}

fn fresh(facts: &Facts) -> KafkaHealthPolicyStatus {
    project(facts, &KafkaHealthPolicyStatus::default(), at(0))
}

fn condition<'a>(status: &'a KafkaHealthPolicyStatus, kind: &str) -> &'a Condition {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap_or_else(|| panic!("{kind} is missing"))
}

/// `Ready=True Watching: message`.
fn line(status: &KafkaHealthPolicyStatus, kind: &str) -> String {
    let Condition { status, reason, message, .. } = condition(status, kind);
    format!("{kind}={status} {reason}: {message}")
}

#[test]
fn a_healthy_cluster() {
    let status = fresh(&facts(Some(healthy())));
    assert_eq!(line(&status, "Ready"), "Ready=True Watching: watching the 3 brokers of Kafka cluster 4L6g3");
    assert_eq!(line(&status, "Reachable"), "Reachable=True Answering: Kafka answers");
    assert_eq!(line(&status, "Healthy"), "Healthy=True AllBrokersHealthy: all 3 brokers are healthy");
    assert_eq!(
        line(&status, "Acting"),
        "Acting=False RecommendOnly: mode Recommend: says what would help and does nothing"
    );
    assert_eq!(status.conditions.len(), 4, "neither Refused nor Conflict");
    assert_eq!(status.observed_generation, Some(4));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(4)));
    assert_eq!(status.mode, Some(EffectiveMode::Recommend));
    let summary = status.summary.unwrap();
    assert_eq!((summary.brokers, summary.healthy, summary.unhealthy), (3, 3, 0));
}

#[test]
fn each_ill_broker_is_named_with_what_comes_next() {
    let mut report = report(vec![
        view(1, BrokerState::Healthy, Reason::WithinLimits, "all is well"),
        view(4, BrokerState::Unhealthy, Reason::ProcessDown, "the process is gone"),
        view(7, BrokerState::Overloaded, Reason::CpuAbove, "CPU 91% of its limit for 40 s"),
    ]);
    let message = "move leadership of 12 partitions from broker 7 to 1 (12); no data moves".to_owned();
    report.advice.push(Advice { broker: BrokerId(7), message, moves: Vec::new() });
    report.refusals.push(Refusal {
        broker: Some(BrokerId(4)),
        rule: "HealBeforeBalance",
        message: "3 partitions are under-replicated".into(),
    });
    let status = fresh(&facts(Some(report)));
    assert_eq!(
        line(&status, "Healthy"),
        "Healthy=False BrokersUnhealthy: broker 4 is Unhealthy (ProcessDown); broker 7 is Overloaded (CpuAbove)"
    );
    assert_eq!(
        line(&status, "Refused"),
        "Refused=True HealBeforeBalance: broker 4: 3 partitions are under-replicated"
    );
    let seven = &status.brokers[2];
    assert_eq!(
        seven.next.as_deref(),
        Some("Recommended: move leadership of 12 partitions from broker 7 to 1 (12); no data moves")
    );
    assert_eq!(seven.message.as_deref(), Some("CPU 91% of its limit for 40 s"));
    assert_eq!((seven.cpu_percent, seven.disk_percent, seven.memory_percent), (Some(91), Some(61), None));
    assert_eq!(seven.network_in, Some(1_234_568));
    assert_eq!(seven.since.as_ref().unwrap().0.subsec_nanosecond(), 0);
}

#[test]
fn whether_pods_are_known_is_told_where_the_policy_selects_them() {
    let with = |unknown: &[&str], unlinked: &[i32]| {
        let platform = PlatformView {
            asked: true,
            unknown: unknown.iter().map(|why| (*why).to_owned()).collect(),
            unlinked: unlinked.iter().map(|id| (BrokerId(*id), "no pod".to_owned())).collect(),
        };
        fresh(&facts(Some(DoctorReport { platform, ..healthy() })))
    };
    let known = with(&[], &[]);
    assert_eq!(line(&known, "PlatformKnown"), "PlatformKnown=True Linked: all 3 brokers are linked to pods");
    assert_eq!(known.brokers[0].pod.as_deref(), Some("prod-broker-1"));
    assert_eq!(
        line(&with(&[], &[2]), "PlatformKnown"),
        "PlatformKnown=False BrokersUnlinked: broker 2: no pod"
    );
    let forbidden = with(&["cannot list pods in namespace kafka: no"], &[1, 2, 3]);
    assert_eq!(
        line(&forbidden, "PlatformKnown"),
        "PlatformKnown=False Unknown: health goes on without: cannot list pods in namespace kafka: no"
    );
    assert_eq!(condition(&forbidden, "Healthy").status, "True");
}

#[test]
fn many_ill_brokers_are_counted() {
    let brokers = (1..=25).map(|id| view(id, BrokerState::Unknown, Reason::AllSilent, "silent")).collect();
    let status = fresh(&facts(Some(report(brokers))));
    let healthy = condition(&status, "Healthy");
    assert_eq!((healthy.status.as_str(), healthy.reason.as_str()), ("Unknown", "BrokersUnknown"));
    assert!(
        healthy.message.ends_with("broker 10 is Unknown (AllSilent); and 15 more"),
        "{}",
        healthy.message
    );
}

#[test]
fn kafka_that_cannot_be_reached() {
    let mut down = healthy();
    down.kafka.reachable = Some(false);
    down.kafka.error = Some("a:9092: connection refused".into());
    let status = fresh(&facts(Some(down)));
    assert_eq!(line(&status, "Reachable"), "Reachable=False Unreachable: a:9092: connection refused");
    assert_eq!(condition(&status, "Ready").status, "False");
}

#[test]
fn before_the_first_answer_nothing_is_claimed() {
    let mut early = report(Vec::new());
    early.kafka = KafkaView::default();
    let status = fresh(&facts(Some(early)));
    for kind in ["Ready", "Reachable", "Healthy"] {
        assert_eq!(condition(&status, kind).status, "Unknown", "{kind}");
    }
}

#[test]
fn a_leader_without_its_log_is_not_ready() {
    let mut early = healthy();
    early.role = Role::TakingOver;
    assert_eq!(
        line(&fresh(&facts(Some(early))), "Ready"),
        "Ready=False OpeningActionsLog: the actions log is not open for writing yet"
    );
}

#[test]
fn topics_that_cannot_be_created_and_a_log_that_cannot_be_written_are_told() {
    let mut refused = healthy();
    refused.kafka.topics_error = Some("cannot create the doctor's topics".into());
    refused.kafka.actions_log_error = Some("opening actions log: denied".into());
    let ready = |report: &DoctorReport| line(&fresh(&facts(Some(report.clone()))), "Ready");
    assert_eq!(ready(&refused), "Ready=False TopicsMissing: cannot create the doctor's topics");
    refused.kafka.topics_error = None;
    assert_eq!(ready(&refused), "Ready=False ActionsLogUnavailable: opening actions log: denied");
    refused.kafka.actions_log_error = None;
    assert!(ready(&refused).starts_with("Ready=True Watching"));
}

#[test]
fn a_missing_secret() {
    let reference = SecretReference {
        field: "spec.kafka.tls.trustedCertificates[0]".into(),
        secret: "prod-ca".into(),
        key: "ca.crt".into(),
    };
    let mut facts = facts(None);
    facts.problem = Some(SecretError::NotFound { namespace: "kafka".into(), reference }.into());
    let status = fresh(&facts);
    let ready = condition(&status, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "SecretNotFound"));
    assert!(ready.message.contains("Secret kafka/prod-ca, key ca.crt"), "{}", ready.message);
    assert_eq!(line(&status, "Reachable"), "Reachable=Unknown NotTried: no connection has been tried");
    assert_eq!(condition(&status, "Acting").reason, "NotReady");
}

#[test]
fn a_policy_that_cannot_be_while_the_last_one_is_in_force() {
    let mut facts = facts(Some(healthy()));
    facts.problem = Some(Problem::Unreadable("spec.mode: unknown variant `Eager`".into()));
    let status = fresh(&facts);
    assert_eq!(
        line(&status, "Ready"),
        "Ready=False Invalid: spec.mode: unknown variant `Eager`; the last version that was valid stays in force"
    );
    assert_eq!(status.brokers.len(), 3);
}

#[test]
fn the_younger_of_two_policies_says_so_and_nothing_else() {
    let message =
        "Kafka cluster 4L6g3 is already watched by policy other/prod since 2026-11-01; delete one of them";
    let mut facts = facts(Some(healthy()));
    facts.claim = Claim::Refused(message.into());
    let status = fresh(&facts);
    assert_eq!(line(&status, "Conflict"), format!("Conflict=True AlreadyWatched: {message}"));
    assert_eq!(line(&status, "Ready"), format!("Ready=False Conflict: {message}"));
    assert!(status.brokers.is_empty() && status.summary.is_none());
    assert_eq!(status.kafka.unwrap().cluster_id.as_deref(), Some("4L6g3"));
}

#[test]
fn a_fenced_doctor_is_not_ready() {
    let mut facts = facts(Some(healthy()));
    facts.fenced = Some("another doctor has opened the actions log".into());
    assert_eq!(
        line(&fresh(&facts), "Ready"),
        "Ready=False Fenced: another doctor has opened the actions log"
    );
}

#[test]
fn acting_says_how_far_the_doctor_goes() {
    for (mode, reason, word) in [
        ("Observe", "ObserveOnly", "recommends nothing"),
        ("Approve", "NothingToDo", "what a person approves"),
        ("Auto", "NothingToDo", "without asking"),
    ] {
        let mut facts = facts(Some(healthy()));
        facts.object = Arc::new(PolicyObject::read(&object(mode)).unwrap());
        let status = fresh(&facts);
        let acting = condition(&status, "Acting");
        assert_eq!((acting.status.as_str(), acting.reason.as_str()), ("False", reason), "{mode}");
        assert!(acting.message.contains(word), "{}", acting.message);
    }
}

#[test]
fn what_waits_for_approval_is_told_and_named() {
    let treatment = super::reassignments::example();
    let name = format!("prod-{}", &treatment.digest()[..12]);
    let proposed = doctorkafka_doctor::Proposed {
        treatment,
        why: Vec::new(),
        since: at(0),
        mode: EffectiveMode::Approve,
        rules: Vec::new(),
    };
    let status = fresh(&facts(Some(DoctorReport { proposals: vec![Arc::new(proposed)], ..healthy() })));
    let told = "Acting=False WaitingForApproval: one treatment waits for approval: kubectl get kafkareassignments -n kafka";
    assert_eq!(line(&status, "Acting"), told);
    assert_eq!(status.active_plan, Some(name));
}

#[test]
fn a_paused_policy() {
    let mut paused = object("Auto");
    paused.metadata.annotations = Some([(PAUSED_ANNOTATION.to_owned(), "true".to_owned())].into());
    let mut facts = facts(Some(healthy()));
    facts.object = Arc::new(PolicyObject::read(&paused).unwrap());
    let status = fresh(&facts);
    assert_eq!(condition(&status, "Acting").reason, "Paused");
    assert_eq!(status.mode, Some(EffectiveMode::Paused));
    assert_eq!(condition(&status, "Ready").status, "True", "diagnosis goes on");
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let first = fresh(&facts(Some(healthy())));
    let mut ill = healthy();
    ill.brokers[0].state = BrokerState::Unhealthy;
    let second = project(&facts(Some(ill.clone())), &first, at(60));
    assert_eq!(condition(&second, "Healthy").last_transition_time, whole(at(60)));
    assert_eq!(condition(&second, "Ready").last_transition_time, whole(at(0)));
    ill.brokers[0].state = BrokerState::Overloaded;
    let third = project(&facts(Some(ill)), &second, at(90));
    assert_eq!(condition(&third, "Healthy").reason, "BrokersOverloaded");
    assert_eq!(condition(&third, "Healthy").last_transition_time, whole(at(60)), "False before and after");
}

#[test]
fn the_last_action_is_a_decision_and_not_a_change_of_leader() {
    let record = |kind, message: &str| ActionRecord {
        version: 1,
        id: "01K".into(),
        time: at(5),
        policy: "kafka/prod".into(),
        cluster: "4L6g3".into(),
        epoch: 3,
        kind,
        severity: Severity::Info,
        broker: Some(BrokerId(2)),
        message: message.into(),
        outcome: None,
        leadership: Vec::new(),
        digest: None,
        step: None,
        treatment: None,
        evidence: Evidence::new(),
    };
    let mut report = healthy();
    report.actions = Arc::from([
        record(ActionKind::AlertOverload, "CPU usage 95% > 80%"),
        record(ActionKind::LeaderStarted, "leading"),
    ]);
    let last = fresh(&facts(Some(report))).last_action.unwrap();
    assert_eq!(
        (last.kind.as_str(), last.message.as_str()),
        ("ALERT_OVERLOAD", "broker 2: CPU usage 95% > 80%")
    );
    assert_eq!(last.time, whole(at(5)));
}

#[test]
fn what_is_written_reads_back_the_same() {
    let status = fresh(&facts(Some(healthy())));
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<KafkaHealthPolicyStatus>(&text).unwrap(), status);
}
