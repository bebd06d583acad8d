//! Doctors die, or sleep past their turn, again and again in the middle of one treatment with many moves. It ends as if none
//! had.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use doctorkafka_testbed::wait_until;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome};
use serde_json::Value;

use crate::{
    approval::{Assignment, assignment},
    chance::Chance,
    metadata::moves_begun,
    moves::{until, until_unthrottled},
    treatment::ends,
    world::{Doctor, World},
};

/// How a leader is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Killed; the election notices it at once, so that what it had asked for last may still be under way.
    Killed,
    /// Killed; the election notices it when its session is over.
    KilledInSilence,
    /// Stopped, and taken for dead at once; it goes on in the middle of its successor's work, and by its own clock it still
    /// leads.
    Stopped,
    /// Stopped until its session is over, and longer.
    Asleep,
}

/// Every leader is lost at a moment of its own by chance.
const LOSSES: [(Loss, usize); 4] =
    [(Loss::Killed, 12), (Loss::KilledInSilence, 2), (Loss::Stopped, 5), (Loss::Asleep, 2)];

/// The longest that a leader works before it is lost; a move takes a third of it, with some four calls and commits.
const TURN: Duration = Duration::from_millis(1_500);

/// The session of a doctor is over after 6 s.
const SLEEP: Duration = Duration::from_secs(9);

const DRAIN: &str = "\n  drain: {brokers: [4]}";

/// The records that begin a treatment.
fn begun(actions: &[ActionRecord]) -> Vec<&ActionRecord> {
    let whole = actions.iter().filter(|a| a.kind == ActionKind::ReassignPartitions && a.step.is_none());
    whole.filter(|a| a.outcome == Some(Outcome::Intended)).collect()
}

/// The doctors of one cluster.
struct Ward<'a> {
    world: &'a World,
    policy: PathBuf,
    group: String,
    doctors: Vec<Doctor>,
    started: usize,
}

impl Ward<'_> {
    fn start_doctor(&mut self) {
        self.started += 1;
        let name = format!("doctor-{}", self.started);
        self.doctors.push(Doctor::start(&name, &self.policy, self.world.folder.path()));
    }

    /// Which doctor has the treatment under way.
    fn at_work(&self) -> Option<usize> {
        let is =
            |doctor: &Doctor| doctor.role() == "leading" && !doctor.watch.newest()["treatment"].is_null();
        self.doctors.iter().position(is)
    }

    /// Waits until a doctor is at work; gives it, and its name in the election.
    async fn until_at_work(&self) -> (usize, String) {
        let waited = wait_until("a doctor to be at work", Duration::from_secs(90), || async {
            let leader = self.at_work()?;
            let member = self.world.kafka.only_holder(&self.group).await.ok()??;
            Some((leader, member))
        });
        match waited.await {
            Ok(found) => found,
            Err(error) => panic!("{error}: {:#?}", self.world.actions().await),
        }
    }

    async fn lose(&mut self, loss: Loss, chance: &mut Chance) {
        let (leader, member) = self.until_at_work().await;
        chance.pause(TURN).await;
        let doctor = self.doctors.remove(leader);
        let dies = matches!(loss, Loss::Killed | Loss::KilledInSilence);
        if dies {
            doctor.process.kill().await.unwrap();
        } else {
            doctor.process.pause().unwrap();
        }
        if matches!(loss, Loss::Killed | Loss::Stopped) {
            self.world.kafka.expel(&self.group, &member).await.unwrap();
        }
        if dies {
            self.start_doctor();
            return;
        }
        if loss == Loss::Asleep {
            tokio::time::sleep(SLEEP).await;
        }
        self.until_at_work().await;
        chance.pause(TURN / 2).await;
        doctor.process.resume().unwrap();
        let stands_by = |report: &Value| report["role"]["state"] == "standby";
        doctor.watch.until("the one that slept stands by", 60, stands_by).await;
        self.doctors.push(doctor);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_die_or_sleep_in_the_middle_of_a_treatment_change_nothing_of_it() {
    let mut chance = Chance::new();
    let world = World::of(4, &[1, 2, 3, 4]).await;
    world.kafka.create_topic("payments", 240, 2).await.unwrap();
    let policy = |moves: usize, more: &str| {
        world.policy(&format!(
            "{{}}\n  mode: Auto\n  limits: {{replicationThrottle: 10MB/s, movesPerBroker: {moves}, movesPerCluster: {moves}, \
             maxDisk: 98}}{more}"
        ))
    };
    let group = format!("doctorkafka-{}", world.kafka.cluster_id());
    let mut ward = Ward { world: &world, policy: policy(1, ""), group, doctors: Vec::new(), started: 0 };
    for _ in 0..3 {
        ward.start_doctor();
    }
    ward.doctors[0].until_healthy(4).await;
    // With the first record all topics of Kafka's and the doctors' own are there.
    let leads = |actions: &[ActionRecord]| actions.iter().any(|a| a.kind == ActionKind::LeaderStarted);
    world.actions_until("a leader", leads).await;
    until(&world, "everything to be in place", 4, |holds, _| holds >= 60).await;
    let before = assignment(&world).await;

    policy(1, DRAIN);
    let mut losses: Vec<Loss> = LOSSES.iter().flat_map(|(loss, times)| vec![*loss; *times]).collect();
    chance.shuffle(&mut losses);
    for (number, loss) in losses.iter().enumerate() {
        ward.lose(*loss, &mut chance).await;
        let holds = assignment(&world).await.values().filter(|replicas| replicas.contains(&4)).count();
        eprintln!("{}: {loss:?}, {holds} replicas left to move", number + 1);
        assert!(holds > 0, "the treatment was over after {} of {} losses", number + 1, losses.len());
    }
    policy(20, DRAIN);
    until(&world, "the broker to be drained", 4, |holds, _| holds == 0).await;
    let actions = world.actions_until("the treatment to end", |actions| !ends(actions).is_empty()).await;
    eprintln!("{} leaders lost, {} records", losses.len(), actions.len());

    // Each treatment and each of its steps is begun by one leader, and none speaks after its successor.
    let begun = begun(&actions);
    let digests: BTreeSet<_> = begun.iter().filter_map(|a| a.digest.as_ref()).collect();
    assert_eq!(digests.len(), begun.len(), "each treatment is begun once: {begun:#?}");
    assert_eq!(ends(&actions), vec![Outcome::Done; begun.len()], "and ends once");
    assert!(actions.iter().map(|a| a.epoch).is_sorted(), "nothing of an older leader after a newer one");
    let steps = |outcome| {
        let steps = actions
            .iter()
            .filter(move |a| a.step.is_some() && (a.outcome == Some(Outcome::Intended)) == outcome);
        steps.map(|a| (a.digest.as_deref(), a.step)).collect::<Vec<_>>()
    };
    let (intended, answered) = (steps(true), steps(false));
    let unique: BTreeSet<_> = intended.iter().collect();
    assert_eq!(unique.len(), intended.len(), "a step was begun twice: {actions:#?}");
    assert_eq!(intended, answered, "every step has one answer, before the next");
    let leaders: BTreeSet<u64> =
        actions.iter().filter(|a| a.digest == begun[0].digest).map(|a| a.epoch).collect();
    assert!(leaders.len() > losses.len() / 2, "several doctors had a hand in it: {leaders:?}");

    // What came out is what was planned, to the order of the replicas, and nothing else was touched: as without any loss.
    let mut planned = before.clone();
    let mut moves = 0;
    for plan in begun.iter().map(|a| a.treatment.as_ref().unwrap().plan.as_ref().unwrap()) {
        for change in &plan.changes {
            let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect::<Vec<_>>();
            let was = planned.insert((change.topic.clone(), change.partition), ids(&change.to));
            assert_eq!(was, Some(ids(&change.from)));
            moves += 1;
        }
    }
    assert!(moves >= 20, "{moves}");
    let after = assignment(&world).await;
    assert_eq!(after, planned);
    let factors = |of: &Assignment| of.values().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(factors(&after), factors(&before));
    until_unthrottled(&world, &[1, 2, 3, 4]).await;
    // Kafka has begun each move once, so that no leader did again what another had done.
    let copied = moves_begun(&world).await;
    assert_eq!(copied.values().copied().collect::<BTreeSet<_>>(), BTreeSet::from([1]), "{copied:?}");
    assert_eq!(copied.len(), moves);
}
