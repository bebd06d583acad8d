//! The first rung: hand leaderships of a hot broker to in-sync replicas elsewhere. No data moves.

use std::{cmp::Ordering, collections::BTreeMap};

use doctorkafka_wire::{BrokerId, LeadershipMove};

use crate::{Cluster, Partition, Refused, Rule};

/// Leaderships to hand over, in the order in which to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadershipPlan {
    /// The broker to relieve.
    pub from: BrokerId,
    /// The changes, sorted by topic and partition.
    pub moves: Vec<LeadershipMove>,
}

impl LeadershipPlan {
    /// How many leaderships each broker is given.
    pub fn given(&self) -> BTreeMap<BrokerId, usize> {
        let mut given = BTreeMap::new();
        for change in &self.moves {
            *given.entry(change.to).or_default() += 1;
        }
        given
    }

    /// `move leadership of 12 partitions from broker 2 to 1 (7) and 3 (5); no data moves`.
    pub fn sentence(&self) -> String {
        let to: Vec<String> = self.given().iter().map(|(id, count)| format!("{id} ({count})")).collect();
        let to = match to.as_slice() {
            [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
            all => all.join(", "),
        };
        format!(
            "move leadership of {} from broker {} to {to}; no data moves",
            count(self.moves.len(), "partition"),
            self.from
        )
    }
}

/// Plans the relief of the CPU of `hot`, down to `target_percent`.
///
/// Without figures per partition every leadership is taken to cause an equal share of the broker's CPU. A partition goes
/// to the healthy in-sync replica with the lowest CPU after the change, and only where that stays below `target_percent`,
/// so that relief here makes no new hot broker there.
///
/// # Errors
/// [`Refused`], with the rule that forbids a plan.
pub fn relieve(cluster: &Cluster, hot: BrokerId, target_percent: f64) -> Result<LeadershipPlan, Refused> {
    let cpu = permitted(cluster, hot)?;
    let led = cluster.leaders(hot);
    let mut movable: Vec<&Partition> =
        cluster.partitions.iter().filter(|p| p.movable && p.leader == Some(hot)).collect();
    movable.sort_by(|a, b| (&a.topic, a.number).cmp(&(&b.topic, b.number)));
    if movable.is_empty() {
        return Err(Refused::new(
            Rule::NothingToMove,
            format!(
                "broker {hot} leads {}, none of which may be moved for load: its load is not leadership",
                count(led, "partition")
            ),
        ));
    }

    let share = cpu / led as f64;
    let wanted = (((cpu - target_percent) / share).ceil().max(1.0) as usize).min(movable.len());
    let mut load: BTreeMap<BrokerId, f64> = cluster
        .brokers
        .iter()
        .filter(|(id, broker)| **id != hot && broker.healthy && !broker.overloaded)
        .filter_map(|(id, broker)| Some((*id, broker.cpu_percent?)))
        .collect();

    let mut moves = Vec::new();
    for partition in &movable {
        if moves.len() == wanted {
            break;
        }
        let Some(to) = best_target(partition, &load, share, target_percent) else { continue };
        if let Some(cpu) = load.get_mut(&to) {
            *cpu += share;
        }
        moves.push(LeadershipMove {
            topic: partition.topic.clone(),
            partition: partition.number,
            from: hot,
            to,
        });
    }
    if moves.is_empty() {
        return Err(Refused::new(
            Rule::NoEligibleTarget,
            format!(
                "none of the {} that broker {hot} leads has an in-sync replica on a healthy broker that would stay \
                 below {target_percent:.0}% CPU with {share:.1}% more; brokers with room, or replicas in sync, would lift this",
                count(movable.len(), "movable partition")
            ),
        ));
    }
    Ok(LeadershipPlan { from: hot, moves })
}

/// Checks the rules that hold for any load move; gives the CPU of the hot broker.
fn permitted(cluster: &Cluster, hot: BrokerId) -> Result<f64, Refused> {
    let overloaded = cluster.brokers.values().filter(|broker| broker.overloaded).count();
    if overloaded * 2 > cluster.brokers.len() {
        return Err(Refused::new(
            Rule::TooManyOverloaded,
            format!(
                "{overloaded} of {} brokers are overloaded, more than half: that is a lack of capacity, which moving work \
                 around does not cure; add brokers or reduce the load",
                cluster.brokers.len()
            ),
        ));
    }
    let under_replicated = cluster.under_replicated();
    if under_replicated > 0 {
        return Err(Refused::new(
            Rule::UnderReplicated,
            format!(
                "{} under-replicated: healing comes before balance; lifted when every replica is in sync",
                if under_replicated == 1 {
                    "1 partition is".to_owned()
                } else {
                    format!("{under_replicated} partitions are")
                }
            ),
        ));
    }
    cluster.brokers.get(&hot).and_then(|broker| broker.cpu_percent).filter(|cpu| *cpu > 0.0).ok_or_else(
        || {
            Refused::new(
                Rule::UnknownLoad,
                format!("the CPU use of broker {hot} is not known, so nothing is moved"),
            )
        },
    )
}

fn best_target(
    partition: &Partition,
    load: &BTreeMap<BrokerId, f64>,
    share: f64,
    limit: f64,
) -> Option<BrokerId> {
    partition
        .replicas
        .iter()
        .filter(|id| partition.isr.contains(id))
        .filter_map(|id| load.get(id).map(|cpu| (*id, cpu + share)))
        .filter(|(_, after)| *after < limit)
        .min_by(|(a, x), (b, y)| match x.total_cmp(y) {
            Ordering::Equal => a.cmp(b),
            order => order,
        })
        .map(|(id, _)| id)
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Broker;
    use proptest::prelude::*;

    fn cluster(cpus: &[f64], partitions: &[(&[i32], &[i32])]) -> Cluster {
        Cluster {
            brokers: (1..)
                .zip(cpus)
                .map(|(id, cpu)| {
                    let overloaded = *cpu > 80.0;
                    (BrokerId(id), Broker { healthy: !overloaded, overloaded, cpu_percent: Some(*cpu) })
                })
                .collect(),
            partitions: (0..)
                .zip(partitions)
                .map(|(number, (replicas, isr))| Partition {
                    topic: "orders".into(),
                    number,
                    leader: replicas.first().map(|id| BrokerId(*id)),
                    replicas: replicas.iter().map(|id| BrokerId(*id)).collect(),
                    isr: isr.iter().map(|id| BrokerId(*id)).collect(),
                    movable: true,
                })
                .collect(),
        }
    }

    const ALL: &[i32] = &[1, 2, 3];

    #[test]
    fn moves_no_more_than_needed_to_the_coolest() {
        let hot_leads: Vec<(&[i32], &[i32])> = vec![(ALL, ALL); 10];
        let plan = relieve(&cluster(&[95.0, 30.0, 40.0], &hot_leads), BrokerId(1), 70.0).unwrap();
        assert_eq!(plan.given(), BTreeMap::from([(BrokerId(2), 2), (BrokerId(3), 1)]));
        assert_eq!(
            plan.sentence(),
            "move leadership of 3 partitions from broker 1 to 2 (2) and 3 (1); no data moves"
        );
    }

    #[test]
    fn a_replica_out_of_sync_makes_the_cluster_heal_first() {
        let refused =
            relieve(&cluster(&[95.0, 30.0, 40.0], &[(ALL, &[1, 2])]), BrokerId(1), 70.0).unwrap_err();
        assert_eq!(refused.rule, Rule::UnderReplicated);
    }

    #[test]
    fn most_hot_is_a_lack_of_capacity() {
        let refused = relieve(&cluster(&[95.0, 90.0, 40.0], &[(ALL, ALL)]), BrokerId(1), 70.0).unwrap_err();
        assert_eq!(refused.rule, Rule::TooManyOverloaded);
    }

    #[test]
    fn unknown_cpu_gets_no_work() {
        let mut cluster = cluster(&[95.0, 30.0, 40.0], &[(ALL, ALL); 10]);
        cluster.brokers.get_mut(&BrokerId(2)).unwrap().cpu_percent = None;
        let plan = relieve(&cluster, BrokerId(1), 70.0).unwrap();
        assert!(plan.moves.iter().all(|m| m.to == BrokerId(3)));
        cluster.brokers.get_mut(&BrokerId(1)).unwrap().cpu_percent = None;
        assert_eq!(relieve(&cluster, BrokerId(1), 70.0).unwrap_err().rule, Rule::UnknownLoad);
    }

    #[test]
    fn internal_topics_stay() {
        let mut cluster = cluster(&[95.0, 30.0, 40.0], &[(ALL, ALL)]);
        cluster.partitions[0].movable = false;
        assert_eq!(relieve(&cluster, BrokerId(1), 70.0).unwrap_err().rule, Rule::NothingToMove);
    }

    #[test]
    fn no_room_elsewhere() {
        let refused =
            relieve(&cluster(&[95.0, 69.0, 69.0], &[(ALL, ALL); 10]), BrokerId(1), 70.0).unwrap_err();
        assert_eq!(refused.rule, Rule::NoEligibleTarget);
    }

    proptest! {
        #[test]
        fn plans_keep_every_rule(
            cpus in proptest::collection::vec(0.0..100.0_f64, 2..8),
            shapes in proptest::collection::vec((0..8_usize, 1..4_usize), 1..40),
        ) {
            let n = cpus.len();
            let sets: Vec<Vec<i32>> = shapes
                .iter()
                .map(|(start, rf)| (0..(*rf).min(n)).map(|i| i32::try_from((start + i) % n + 1).unwrap()).collect())
                .collect();
            let parts: Vec<(&[i32], &[i32])> = sets.iter().map(|s| (s.as_slice(), s.as_slice())).collect();
            let cluster = cluster(&cpus, &parts);
            let hot = BrokerId(1);
            let plan = relieve(&cluster, hot, 70.0);
            prop_assert_eq!(&plan, &relieve(&cluster, hot, 70.0), "deterministic");
            if let Ok(plan) = plan {
                let share = cpus[0] / cluster.leaders(hot) as f64;
                for change in &plan.moves {
                    let p = cluster.partitions.iter().find(|p| p.number == change.partition).unwrap();
                    prop_assert!(p.isr.contains(&change.to) && change.to != hot && p.leader == Some(hot));
                    prop_assert!(cluster.brokers[&change.to].healthy);
                }
                for (to, given) in plan.given() {
                    let after = cluster.brokers[&to].cpu_percent.unwrap() + share * given as f64;
                    prop_assert!(after < 70.0 + 1e-6, "no new hot broker");
                }
            }
        }
    }
}
