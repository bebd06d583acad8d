//! Reports made by hand, as an engine would publish them.

// Each test binary uses some of these.
#![allow(dead_code, clippy::unwrap_used)]

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_doctor::{
    Advice, BrokerView, Counters, DoctorReport, Figures, KafkaView, PlatformView, Proposed, Refusal, Role,
    SkipReason, Summary, TreatmentEnd, TreatmentView, execute::Treatment,
};
use doctorkafka_operator::fleet::Fleet;
use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, Evidence, LeadershipMove, Outcome, PartitionChange, Severity,
    TreatmentCause,
};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use tokio::sync::watch;

/// A broker in a state, heard a second ago.
pub fn broker(id: i32, state: BrokerState, reason: Reason, message: &str) -> BrokerView {
    let now = Timestamp::now();
    BrokerView {
        id: BrokerId(id),
        host: format!("broker-{id}.example"),
        rack: Some(format!("rack-{id}")),
        pod: None,
        node: None,
        state,
        reason,
        since: now - SignedDuration::from_secs(192),
        message: message.to_owned(),
        evidence: Evidence::new(),
        figures: Figures {
            cpu_percent: Some(41.4),
            memory_percent: Some(63.0),
            disk_percent: Some(12.0),
            network_in: Some(1_234_567.0),
            network_out: None,
            last_heartbeat: Some(now - SignedDuration::from_secs(1)),
            simulated: false,
        },
        leaders: Some(12),
        replicas: Some(36),
    }
}

/// A broker in order.
pub fn healthy(id: i32) -> BrokerView {
    broker(id, BrokerState::Healthy, Reason::WithinLimits, "every figure is within its limit")
}

/// An overloaded broker under simulated load.
pub fn overloaded(id: i32) -> BrokerView {
    let mut view = broker(id, BrokerState::Overloaded, Reason::CpuAbove, "CPU usage 95% > 80% for 3 s");
    view.figures.cpu_percent = Some(95.2);
    view.figures.simulated = true;
    view
}

/// A record of the actions log.
pub fn action(kind: ActionKind, broker: i32, message: &str) -> ActionRecord {
    ActionRecord {
        version: ActionRecord::VERSION,
        id: ActionRecord::new_id(),
        time: Timestamp::now(),
        policy: "prod".to_owned(),
        cluster: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        epoch: 12,
        kind,
        severity: Severity::Warning,
        broker: Some(BrokerId(broker)),
        message: message.to_owned(),
        outcome: Some(Outcome::Proposed),
        leadership: Vec::new(),
        digest: None,
        step: None,
        treatment: None,
        evidence: Evidence::new(),
    }
}

/// A leading engine's report of these brokers.
pub fn report(policy: &str, brokers: Vec<BrokerView>) -> DoctorReport {
    let count = |state| brokers.iter().filter(|broker| broker.state == state).count();
    DoctorReport {
        at: Timestamp::now(),
        policy: policy.to_owned(),
        role: Role::Leading { epoch: 12 },
        kafka: KafkaView {
            reachable: Some(true),
            cluster_id: Some("4L6g3nShT-eMCtK--X86sw".to_owned()),
            controller_id: Some(BrokerId(2)),
            under_replicated: Some(3),
            ..KafkaView::default()
        },
        platform: PlatformView::default(),
        summary: Summary {
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
        counters: Counters {
            reports: 1_000,
            skipped: [(SkipReason::Malformed, 7)].into(),
            actions: [(ActionKind::AlertOverload, 2)].into(),
            outbox: 1,
            outbox_dropped: 0,
            treatments: [(TreatmentEnd::GivenUp, 1)].into(),
            throttles_left: 0,
        },
    }
}

/// A treatment of one partition.
pub fn treatment() -> Treatment {
    let cause = TreatmentCause {
        broker: Some(BrokerId(2)),
        reason: "LeadershipRelief".to_owned(),
        message: "broker 2 is overloaded".to_owned(),
    };
    let change = PartitionChange {
        topic: "orders".to_owned(),
        partition: 4,
        from: vec![BrokerId(2), BrokerId(1)],
        to: vec![BrokerId(1), BrokerId(2)],
        bytes: 0,
    };
    Treatment::new(cause, vec![change], None).expect("it breaks no rule")
}

/// A report with something in every part of it.
pub fn full_report(policy: &str) -> DoctorReport {
    let mut report = report(policy, vec![healthy(1), overloaded(2), healthy(3)]);
    report.advice = vec![Advice {
        broker: BrokerId(2),
        message: "move leadership of 1 partition from broker 2 to 1 (1); no data moves".to_owned(),
        moves: vec![LeadershipMove {
            topic: "orders".to_owned(),
            partition: 4,
            from: BrokerId(2),
            to: BrokerId(1),
        }],
    }];
    report.treatment = Some(TreatmentView {
        digest: "55b6b6c0f20e5f3c2943fc2b012d33bef4f57c3aa284d9d57278bd9315878852".to_owned(),
        message: "moving the leadership of 7 partitions".to_owned(),
        done: 3,
        partitions: 7,
        bytes: 0,
        bytes_done: 0,
        bytes_per_second: None,
        seconds_left: None,
        slowest_bytes_left: None,
        hold: Some("Paused: not begun until it is lifted".to_owned()),
        treatment: Arc::new(treatment()),
    });
    report.proposals = vec![Arc::new(proposed("replicas-2", "broker 2 is overloaded: CPU usage 95% > 80%"))];
    report.refusals = vec![Refusal {
        broker: Some(BrokerId(2)),
        rule: "TooManyHot",
        message: "2 of 3 brokers are overloaded (limit 50%)".to_owned(),
    }];
    report.actions = Arc::from([
        action(ActionKind::AlertOverload, 2, "CPU usage 95% > 80%"),
        action(ActionKind::ReassignPartitions, 2, "Moving leadership of 1 partition to healthy brokers"),
    ]);
    report
}

/// A proposal that moves one partition of a topic.
pub fn proposed(topic: &str, cause: &str) -> Proposed {
    let change = PartitionChange {
        topic: topic.to_owned(),
        partition: 7,
        from: vec![BrokerId(2), BrokerId(1)],
        to: vec![BrokerId(3), BrokerId(1)],
        bytes: 1_500_000,
    };
    let cause = TreatmentCause {
        broker: Some(BrokerId(2)),
        reason: "ReplicaRelief".to_owned(),
        message: cause.to_owned(),
    };
    Proposed {
        treatment: Treatment::new(cause, vec![change], None).unwrap(),
        why: vec!["takes 12% of its CPU along".to_owned()],
        since: Timestamp::UNIX_EPOCH,
        mode: EffectiveMode::Approve,
        rules: Vec::new(),
    }
}

/// A fleet with one engine, and the engine's end of the channel.
pub fn fleet_of(report: DoctorReport) -> (Fleet, watch::Sender<Arc<DoctorReport>>) {
    let fleet = Fleet::new();
    let engine = insert(&fleet, report);
    (fleet, engine)
}

/// Adds an engine to a fleet.
pub fn insert(fleet: &Fleet, report: DoctorReport) -> watch::Sender<Arc<DoctorReport>> {
    let name = report.policy.clone();
    let (engine, reports) = watch::channel(Arc::new(report));
    fleet.insert(&name, reports);
    engine
}
