//! Records made at random, of every shape that the types allow.

use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, BrokerReport, ConfigAsked, Cpu, ExporterMetrics, Goodbye,
    LeadershipMove, LogDir, Memory, Network, Outcome, PartitionChange, PartitionName, Pressure, Probe,
    Process, ProcessState, ReplicasAsked, Severity, StopDecision, TopicSeen, TreatmentCause, TreatmentDetail,
    TreatmentPlan,
};
use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Number, Value, json};

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn id() -> impl Strategy<Value = BrokerId> {
    (0..=i32::MAX).prop_map(BrokerId)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_000_i64)
        .prop_map(|millis| Timestamp::from_millisecond(millis).expect("before the year 2100"))
}

/// A figure with two decimals, which JSON carries exactly.
fn figure(max: u32) -> impl Strategy<Value = f64> {
    (0..=max * 100).prop_map(|hundredths| f64::from(hundredths) / 100.0)
}

fn process() -> impl Strategy<Value = Process> {
    let state = select(&[ProcessState::Running, ProcessState::Stopped, ProcessState::Absent]);
    (state, option::of(any::<i32>()), option::of(time()), any::<u32>())
        .prop_map(|(state, pid, started_at, restarts)| Process { state, pid, started_at, restarts })
}

fn probe() -> impl Strategy<Value = Probe> {
    (any::<bool>(), option::of(figure(60_000)), option::of(text()))
        .prop_map(|(ok, round_trip_ms, error)| Probe { ok, round_trip_ms, error })
}

fn cpu() -> impl Strategy<Value = Cpu> {
    (figure(10_000), figure(1_000), figure(1_000)).prop_map(|(percent, used_cores, limit_cores)| Cpu {
        percent,
        used_cores,
        limit_cores: limit_cores + 0.25,
    })
}

fn memory() -> impl Strategy<Value = Memory> {
    let bytes = || option::of(any::<u64>());
    (any::<u64>(), option::of(1..=u64::MAX), bytes(), bytes()).prop_map(
        |(rss_bytes, limit_bytes, heap_used_bytes, heap_max_bytes)| Memory {
            rss_bytes,
            limit_bytes,
            heap_used_bytes,
            heap_max_bytes,
        },
    )
}

fn network() -> impl Strategy<Value = Network> {
    (figure(10_000_000), figure(10_000_000), option::of(any::<u64>())).prop_map(
        |(in_bytes_per_sec, out_bytes_per_sec, capacity_bytes_per_sec)| Network {
            in_bytes_per_sec,
            out_bytes_per_sec,
            capacity_bytes_per_sec,
        },
    )
}

fn log_dir() -> impl Strategy<Value = LogDir> {
    (text(), any::<u64>(), any::<u64>()).prop_map(|(path, one, other)| LogDir {
        path,
        used_bytes: one.min(other),
        total_bytes: one.max(other),
    })
}

fn pressure() -> impl Strategy<Value = Pressure> {
    let share = || option::of(figure(100));
    (share(), share(), share()).prop_map(|(cpu_some_avg10, memory_some_avg10, io_some_avg10)| Pressure {
        cpu_some_avg10,
        memory_some_avg10,
        io_some_avg10,
    })
}

fn exporter() -> impl Strategy<Value = ExporterMetrics> {
    let rate = || option::of(figure(10_000_000));
    (option::of(figure(100)), option::of(any::<u64>()), rate(), rate(), rate()).prop_map(
        |(
            request_handler_idle_percent,
            under_replicated_partitions,
            messages_in_per_sec,
            bytes_in_per_sec,
            bytes_out_per_sec,
        )| ExporterMetrics {
            request_handler_idle_percent,
            under_replicated_partitions,
            messages_in_per_sec,
            bytes_in_per_sec,
            bytes_out_per_sec,
        },
    )
}

pub fn report() -> impl Strategy<Value = BrokerReport> {
    let origin = (id(), option::of(text()), text(), any::<u64>(), any::<u64>());
    let clock = (time(), any::<u64>(), 1..=3_600_000_u32);
    let resources = (option::of(cpu()), option::of(memory()), option::of(network()), vec(log_dir(), 0..4));
    let rest = (option::of(pressure()), option::of(exporter()), any::<bool>(), any::<bool>());
    (origin, clock, process(), option::of(probe()), resources, rest).prop_map(
        |(origin, clock, process, probe, resources, rest)| {
            let (broker_id, cluster_id, host, incarnation, sequence) = origin;
            let (sampled_at, uptime_ms, interval_ms) = clock;
            let (cpu, memory, network, log_dirs) = resources;
            let (pressure, exporter, simulated, goodbye) = rest;
            BrokerReport {
                version: BrokerReport::VERSION,
                broker_id,
                cluster_id,
                host,
                incarnation,
                sequence,
                sampled_at,
                uptime_ms,
                interval_ms,
                process,
                probe,
                cpu,
                memory,
                network,
                log_dirs,
                pressure,
                exporter,
                simulated,
                goodbye: goodbye.then_some(Goodbye::Terminated),
            }
        },
    )
}

fn leadership() -> impl Strategy<Value = LeadershipMove> {
    (text(), any::<i32>(), id(), id()).prop_map(|(topic, partition, from, to)| LeadershipMove {
        topic,
        partition,
        from,
        to,
    })
}

fn partition() -> impl Strategy<Value = PartitionName> {
    (text(), any::<i32>()).prop_map(|(topic, partition)| PartitionName { topic, partition })
}

fn config() -> impl Strategy<Value = ConfigAsked> {
    (option::of(id()), option::of(text()), text(), option::of(text()))
        .prop_map(|(broker, topic, name, value)| ConfigAsked { broker, topic, name, value })
}

fn plan() -> impl Strategy<Value = TreatmentPlan> {
    let change =
        (partition(), vec(id(), 0..4), vec(id(), 0..4), any::<u64>()).prop_map(|(at, from, to, bytes)| {
            PartitionChange { topic: at.topic, partition: at.partition, from, to, bytes }
        });
    let cause = (option::of(id()), text(), text()).prop_map(|(broker, reason, message)| TreatmentCause {
        broker,
        reason,
        message,
    });
    let topics = vec((text(), text()).prop_map(|(topic, id)| TopicSeen { topic, id }), 0..4);
    (cause, vec(change, 0..4), option::of(any::<u64>()), topics, vec(config(), 0..4), vec(id(), 0..2))
        .prop_map(|(cause, changes, throttle, topics, throttles_before, unread)| TreatmentPlan {
            cause,
            changes,
            throttle,
            topics,
            throttles_before,
            unread,
        })
}

fn treatment() -> impl Strategy<Value = Box<TreatmentDetail>> {
    let asked = (partition(), vec(id(), 0..4)).prop_map(|(at, replicas)| ReplicasAsked {
        topic: at.topic,
        partition: at.partition,
        replicas,
    });
    let ending = select(&[Outcome::Aborted, Outcome::Failed]);
    let stop = (ending, text(), text(), any::<bool>())
        .prop_map(|(ending, rule, message, restore)| StopDecision { ending, rule, message, restore });
    let some = || vec(partition(), 0..3);
    let steps = (vec(asked, 0..3), some(), some(), vec(config(), 0..3), some());
    (option::of(plan()), steps, option::of(stop), vec(id(), 0..2)).prop_map(|(plan, steps, stop, owed)| {
        let (reassign, cancel, elect, configs, skipped) = steps;
        Box::new(TreatmentDetail { plan, reassign, cancel, elect, configs, skipped, stop, owed })
    })
}

pub fn record() -> impl Strategy<Value = ActionRecord> {
    let kind = select(&[
        ActionKind::AlertOverload,
        ActionKind::AlertUnhealthy,
        ActionKind::AlertUnknown,
        ActionKind::Recovered,
        ActionKind::ReassignPartitions,
        ActionKind::ElectLeaders,
        ActionKind::Throttle,
        ActionKind::Cancel,
        ActionKind::Refused,
        ActionKind::LeaderStarted,
    ]);
    let severity = select(&[Severity::Info, Severity::Warning, Severity::Critical]);
    let outcome =
        select(&[Outcome::Proposed, Outcome::Intended, Outcome::Done, Outcome::Failed, Outcome::Aborted]);
    let who = (time(), text(), text(), any::<u64>());
    let what = (kind, severity, option::of(id()), text());
    let step = (option::of(text()), option::of(any::<u32>()), option::of(treatment()));
    let how = (option::of(outcome), vec(leadership(), 0..4), step);
    let evidence = vec((text(), json_value()), 0..4);
    (who, what, how, evidence).prop_map(|(who, what, how, evidence)| {
        let (time, policy, cluster, epoch) = who;
        let (kind, severity, broker, message) = what;
        let (outcome, leadership, (digest, step, treatment)) = how;
        ActionRecord {
            version: ActionRecord::VERSION,
            id: ActionRecord::new_id(),
            time,
            policy,
            cluster,
            epoch,
            kind,
            severity,
            broker,
            message,
            outcome,
            leadership,
            digest,
            step,
            treatment,
            evidence: evidence.into_iter().collect(),
        }
    })
}

/// Any JSON value.
pub fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        figure(1_000_000).prop_map(Value::from),
        text().prop_map(Value::from),
        select(vec![
            json!(-1),
            json!(0),
            json!(-0.5),
            json!(f64::MAX),
            json!(f64::MIN),
            json!(u64::MAX),
            json!(1e300)
        ]),
        any::<f64>().prop_map(|float| Number::from_f64(float).map_or(Value::Null, Value::Number)),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
