//! Many things at once: crashes in a row, lost calls, brokers that die and come back, at random and repeatable.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    simulation::{Fault, Point},
    *,
};

/// What goes wrong for one doctor, with the faults that the last of them does not survive.
fn faults() -> impl Strategy<Value = Vec<(Point, Fault)>> {
    let point = (0..60_usize, any::<bool>())
        .prop_map(|(n, before)| if before { Point::Before(n) } else { Point::After(n) });
    let lost = proptest::collection::vec(point.clone(), 0..4);
    (point, lost).prop_map(|(stop, lost)| {
        let lost = lost.into_iter().filter(|point| *point != stop).map(|point| (point, Fault::Lost));
        lost.chain([(stop, Fault::Stop)]).collect()
    })
}

/// A broker that dies and comes back, within the executor's patience.
fn outage() -> impl Strategy<Value = (i32, u64, u64)> {
    (1..=6_i32, 0..20_000_u64, 0..100_000_u64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn doctors_die_in_a_row_and_calls_come_late(
        doctors in proptest::collection::vec(faults(), 1..4),
        outages in proptest::collection::vec(outage(), 0..2),
        data in any::<bool>(),
    ) {
        let before = cluster();
        let treatment = if data { moves(&before) } else { leaderships(&before) };
        let mut world = before.clone();
        for (id, dies, down) in outages {
            let broker = world.brokers.get_mut(&id).unwrap();
            broker.dies = Some(Duration::from_millis(dies));
            broker.returns = Some(Duration::from_millis(dies + down + 1));
        }
        let cluster = SimCluster::new(world);
        let mut log = SimLog::new(Faults::default());
        let mut paused = Vec::new();
        for faults in doctors {
            log = log.take_over(Faults::all(faults));
            let Some(task) = task(&log, &treatment) else { break };
            let mut doctor = Box::pin(lead(cluster.clone(), log.clone(), task, told(Control::default())));
            let ended = work(doctor.as_mut(), log.faults());
            prop_assert!(matches!(ended, None | Some(Ended::Done { .. })), "{:?}", ended);
            paused.push((doctor, log.faults().clone(), ended.is_some()));
        }
        log = log.take_over(Faults::default());
        let begun = task(&log, &treatment);
        // All that were paused wake up in the middle of the last one's work.
        if let Some(task) = begun {
            let mut doctor = Box::pin(lead(cluster.clone(), log.clone(), task, told(Control::default())));
            let mut ended = None;
            for turn in 0..TURNS {
                ended = ended.or_else(|| poll(doctor.as_mut()));
                if turn == 10 {
                    for (doctor, faults, has_ended) in paused.drain(..).filter(|(.., has_ended)| !has_ended) {
                        prop_assert!(!has_ended);
                        let calls = faults.calls();
                        faults.release();
                        let ended = work(doctor, &faults);
                        prop_assert!(ended == Some(Ended::Fenced) || matches!(ended, Some(Ended::Done { .. })), "{:?}", ended);
                        prop_assert!(faults.calls() <= calls + 1);
                    }
                }
                if ended.is_some() && turn > 10 {
                    break;
                }
            }
            prop_assert!(matches!(ended, Some(Ended::Done { .. })), "{:?}", ended);
        }
        // Brokers that were down at the end, and calls that came late.
        cluster.world().advance(Duration::from_secs(200));
        let left: Vec<_> = recovery(&log).ended().cloned().collect();
        for ended in &left {
            prop_assert_eq!(super::crashes::sweep(&cluster, &log, ended), Ok(vec![]));
        }
        let world = cluster.world();
        let planned = planned(&before, &treatment);
        for (at, (replicas, _, moving)) in world.assignment() {
            prop_assert_eq!((&replicas, moving), (&planned[&at].0, 0), "{}", at);
        }
        prop_assert_eq!(world.throttles(), before.throttles());
        prop_assert_eq!(&world.violations, &Vec::<String>::new());
        prop_assert_eq!(log.without_end(), []);
    }
}
