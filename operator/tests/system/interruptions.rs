//! Doctors die, or sleep past their turn, again and again in the middle of one treatment with many moves. It ends as if none
//! had.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use doctorkafka_testbed::wait_until;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome};

use crate::{
    moves::{topics, until, until_unthrottled, whole},
    treatment::ends,
    world::{Doctor, World},
};

/// So many leaders are lost on the way.
const LOSSES: u64 = 8;

/// The session of a doctor that was killed, or sleeps, is over after so long, and more.
const SLEEP: Duration = Duration::from_secs(9);

/// The records that begin a treatment.
fn begun(actions: &[ActionRecord]) -> Vec<&ActionRecord> {
    let whole = actions.iter().filter(|a| a.kind == ActionKind::ReassignPartitions && a.step.is_none());
    whole.filter(|a| a.outcome == Some(Outcome::Intended)).collect()
}

/// A pause of up to two seconds, another one each time.
fn pause(loss: u64) -> Duration {
    Duration::from_millis(RandomState::new().hash_one(loss) % 2_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_die_or_sleep_in_the_middle_of_a_treatment_change_nothing_of_it() {
    let world = World::of(4, &[1, 2, 3, 4]).await;
    world.kafka.create_topic("payments", 40, 2).await.unwrap();
    let policy = |more: &str| {
        world.policy(&format!(
            "{{}}\n  mode: Auto\n  limits: {{replicationThrottle: 10MB/s, movesPerBroker: 1, movesPerCluster: 1, maxDisk: 98}}{more}"
        ))
    };
    let file = policy("");
    let mut doctors = Vec::new();
    for name in ["first", "second"] {
        let doctor = Doctor::start(name, &file, world.folder.path());
        doctor.until_healthy(4).await;
        doctors.push(doctor);
    }
    until(&world, "everything to be in place", 4, |holds, _| holds >= 20).await;

    policy("\n  drain: {brokers: [4]}");
    let mut lost = 0;
    while lost < LOSSES {
        let is_under_way = || async {
            let leader = doctors.iter().position(|doctor| doctor.role() == "leading")?;
            Some(leader).filter(|leader| !doctors[*leader].watch.newest()["treatment"].is_null())
        };
        let is_over = || async { whole(&world, 4).await.is_some_and(|(holds, _)| holds == 0) };
        let next = wait_until("a treatment to be under way", Duration::from_secs(90), || async {
            match is_under_way().await {
                Some(leader) => Some(Some(leader)),
                None => is_over().await.then_some(None),
            }
        });
        // The treatment is long enough for all losses; were it not, the test would be told so below.
        let Some(leader) = next.await.unwrap() else { break };
        tokio::time::sleep(pause(lost)).await;
        let doctor = doctors.remove(leader);
        lost += 1;
        if lost % 3 == 0 {
            doctor.process.pause().unwrap();
            tokio::time::sleep(SLEEP).await;
            doctor.process.resume().unwrap();
            doctors.push(doctor);
        } else {
            doctor.process.kill().await.unwrap();
            doctors.push(Doctor::start(&format!("successor-{lost}"), &file, world.folder.path()));
        }
    }
    assert!(lost >= LOSSES / 2, "the treatment was over after {lost} losses");
    until(&world, "the broker to be drained", 4, |holds, _| holds == 0).await;
    let actions = world.actions_until("the treatment to end", |actions| !ends(actions).is_empty()).await;
    eprintln!("{lost} leaders lost, {} records", actions.len());

    let begun = begun(&actions);
    for treatment in &begun {
        eprintln!("epoch {}: {}", treatment.epoch, treatment.message);
    }
    let digests: BTreeSet<_> = begun.iter().filter_map(|a| a.digest.as_ref()).collect();
    assert_eq!(digests.len(), begun.len(), "each treatment is begun once: {begun:#?}");
    assert_eq!(ends(&actions), vec![Outcome::Done; begun.len()], "and ends once");
    assert!(actions.iter().map(|a| a.epoch).is_sorted(), "nothing of an older leader after a newer one");
    let leaders: BTreeSet<u64> =
        actions.iter().filter(|a| a.digest == begun[0].digest).map(|a| a.epoch).collect();
    assert!(leaders.len() > 2, "several doctors had a hand in it: {leaders:?}");
    // What came out is what was planned, to the order of the replicas.
    let now = topics(&world).await;
    let plan = begun[0].treatment.as_ref().unwrap().plan.as_ref().unwrap();
    assert!(plan.changes.len() >= 20, "{}", plan.changes.len());
    for change in &plan.changes {
        let topic = now.iter().find(|topic| topic.name == change.topic).unwrap();
        let partition = topic.partitions.iter().find(|p| p.partition == change.partition).unwrap();
        assert_eq!(partition.replicas, change.to, "{}-{}", change.topic, change.partition);
        assert!(!partition.replicas.contains(&BrokerId(4)) && change.from.len() == change.to.len());
    }
    until_unthrottled(&world, &[1, 2, 3, 4]).await;
}
