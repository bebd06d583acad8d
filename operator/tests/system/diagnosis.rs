//! One broker at a time: overload, a lost collector, a dead process, a hung process.

use std::time::{Duration, Instant};

use doctorkafka_kafka::{Connection, ReportPublisher};
use doctorkafka_wire::{ActionKind, BrokerId, BrokerReport, Cpu, Probe, Process, ProcessState};
use jiff::Timestamp;

use crate::world::{World, alerts, of_kind, state_of};

/// Speaks for a broker's sidecar, with the CPU that the test wants.
pub struct Reporter {
    publisher: ReportPublisher,
    broker: BrokerId,
    sequence: u64,
    started: Instant,
}

impl Reporter {
    pub fn new(world: &World, id: i32) -> Self {
        let connection = Connection::new(&world.kafka.bootstrap(), "test").unwrap();
        let publisher = ReportPublisher::start(&connection, "_doctor_metrics", BrokerId(id)).unwrap();
        Self { publisher, broker: BrokerId(id), sequence: 0, started: Instant::now() }
    }

    /// Sends `times` reports of this CPU, one a second; gives the moment of the last.
    pub async fn report(&mut self, cpu: f64, times: u32) -> Instant {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.tick().await;
        for _ in 0..times {
            tick.tick().await;
            self.sequence += 1;
            let report = BrokerReport {
                version: 1,
                broker_id: self.broker,
                cluster_id: None,
                host: "test".into(),
                incarnation: 7,
                sequence: self.sequence,
                sampled_at: Timestamp::now(),
                uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap(),
                interval_ms: 1000,
                process: Process {
                    state: ProcessState::Running,
                    pid: Some(1),
                    started_at: None,
                    restarts: 0,
                },
                probe: Some(Probe { ok: true, round_trip_ms: Some(0.4), error: None }),
                cpu: Some(Cpu { percent: cpu, used_cores: cpu / 100.0, limit_cores: 1.0 }),
                memory: None,
                network: None,
                log_dirs: vec![],
                pressure: None,
                exporter: None,
                simulated: false,
                goodbye: None,
            };
            self.publisher.publish(&report, false);
        }
        Instant::now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_broker_is_told_with_advice_and_its_recovery() {
    let world = World::start(&[1, 3]).await;
    let doctor = world.start_doctor("doctor");
    doctor.until_leading().await;
    let mut reporter = Reporter::new(&world, 2);
    reporter.report(40.0, 4).await;
    doctor.until_all_healthy().await;

    reporter.report(95.2, 2).await;
    assert_eq!(state_of(&doctor.watch.newest(), 2).0, "Healthy", "two seconds are not three");
    let needed = reporter.report(95.2, 1).await;
    let (_, told) = tokio::join!(reporter.report(95.2, 3), doctor.until_state(2, "Overloaded", 10));
    assert!(
        told - needed < Duration::from_secs(3),
        "overload told {:?} after the last needed report",
        told - needed
    );
    reporter.report(75.0, 3).await;
    assert_eq!(state_of(&doctor.watch.newest(), 2).0, "Overloaded", "75% is not below 70%");
    let ((), _) = tokio::join!(
        async {
            reporter.report(41.0, 8).await;
        },
        doctor.until_state(2, "Healthy", 10)
    );

    let actions = world
        .actions_until("the recovery in the log", |a| !of_kind(a, ActionKind::Recovered, Some(2)).is_empty())
        .await;
    assert_eq!(world.actions_by_console().await, actions, "any consumer reads the same");
    let alert = of_kind(&actions, ActionKind::AlertOverload, Some(2));
    assert_eq!(alert.len(), 1, "{actions:#?}");
    assert_eq!(alert[0].message, "CPU usage 95% > 80%");
    assert_eq!(alert[0].evidence["cpuPercent"], 95.2);
    assert_eq!(alert[0].evidence["reports"], 3);
    let advice = of_kind(&actions, ActionKind::ReassignPartitions, Some(2));
    assert_eq!(advice.len(), 1, "{actions:#?}");
    assert!(!advice[0].leadership.is_empty());
    for change in &advice[0].leadership {
        assert_eq!((change.topic.as_str(), change.from), ("orders", BrokerId(2)));
        assert!([BrokerId(1), BrokerId(3)].contains(&change.to));
    }
    assert!(advice[0].time.duration_since(alert[0].time).as_secs() < 3);
    assert_eq!(of_kind(&actions, ActionKind::Recovered, Some(2)).len(), 1);
    // Nobody reports for the broker any more, so what comes after is another story.
    let until = actions.iter().position(|action| action.kind == ActionKind::Recovered).unwrap();
    assert_eq!(alerts(&actions[..until]).len(), 1, "nothing else was alerted: {actions:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_collector_a_dead_process_and_a_hung_one_are_told_apart() {
    let mut world = World::start(&[1, 2, 3]).await;
    let doctor = world.start_doctor("doctor");
    doctor.until_leading().await;
    doctor.until_all_healthy().await;
    let begin = Instant::now();

    // The collector of broker 2 dies.
    let killed = Instant::now();
    world.kill_sidecar(2).await;
    let told = doctor.until_state(2, "Unhealthy", 20).await - killed;
    assert_eq!(state_of(&doctor.watch.newest(), 2).1, "HeartbeatLost");
    assert!(told > Duration::from_secs(10) && told < Duration::from_secs(14), "told after {told:?}");
    world.start_sidecar(2);
    doctor.until_state(2, "Healthy", 20).await;

    // The process of broker 3 dies; its collector lives.
    let killed = Instant::now();
    world.kafka.kill(3).await.unwrap();
    let told = doctor.until_state(3, "Unhealthy", 20).await - killed;
    assert_eq!(state_of(&doctor.watch.newest(), 3).1, "ProcessDown");
    assert!(told < Duration::from_secs(4), "told after {told:?}");
    world.kafka.start(3).await.unwrap();
    doctor.until_state(3, "Healthy", 60).await;

    // Broker 1 hangs.
    world.kafka.pause(1).unwrap();
    doctor.until_state(1, "Unhealthy", 20).await;
    assert_eq!(state_of(&doctor.watch.newest(), 1).1, "Unresponsive");
    world.kafka.resume(1).unwrap();
    doctor.until_state(1, "Healthy", 60).await;

    let unhealthy: Vec<i32> = doctor.watch.unhealthy_since(begin).iter().map(|seen| seen.broker).collect();
    assert_eq!(unhealthy.iter().filter(|id| **id == 2).count(), 1, "{unhealthy:?}");
    assert_eq!(unhealthy.iter().filter(|id| **id == 3).count(), 1, "{unhealthy:?}");
    let actions = world
        .actions_until("three recoveries", |a| {
            a.iter().filter(|a| a.kind == ActionKind::Recovered).count() >= 3
        })
        .await;
    let unhealthy = |id| (ActionKind::AlertUnhealthy, Some(BrokerId(id)));
    assert_eq!(alerts(&actions), [2, 3, 1].map(unhealthy), "{actions:#?}");
}
