//! The first rung: hand leaderships of a hot broker to in-sync replicas elsewhere. No data moves.

use std::{cmp::Ordering, collections::BTreeMap};

use doctorkafka_wire::{BrokerId, LeadershipMove};

use crate::{Cluster, Health, Partition, Refused, Rule, WORTH_IT};

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

/// What a plan is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal<'a> {
    /// The resource, for people: `CPU usage`.
    pub resource: &'a str,
    /// The broker is relieved when its load is down to this, percent; no other broker is brought up to it.
    pub percent: f64,
}

/// Leaderships that one plan hands over at the most. Larger work comes in waves, and a record of so many moves fits into
/// one message of Kafka (1 MB) however long the topics' names are.
pub const MAX_MOVES: usize = 2_000;

/// A relieved broker is brought to this share of the threshold at which it counts as recovered: load is uneven, and a little too
/// much left is another treatment.
pub const BELOW: f64 = 0.97;

/// Plans the relief of the broker `hot`.
///
/// Without figures per partition every leadership is taken to cause an equal share of the broker's load. A partition goes
/// to the healthy in-sync replica with the lowest load after the change, and only where that stays below the goal, so that
/// relief here makes no new hot broker there.
///
/// # Errors
/// [`Refused`], with the rule that forbids a plan.
pub fn relieve(cluster: &Cluster, hot: BrokerId, goal: &Goal<'_>) -> Result<LeadershipPlan, Refused> {
    let hot_load = permitted(cluster, hot, goal)?;
    let led = cluster.leaders(hot);
    let mut movable: Vec<&Partition> =
        cluster.partitions.iter().filter(|p| p.movable && p.leader == Some(hot)).collect();
    movable.sort_by(|a, b| (&a.topic, a.number).cmp(&(&b.topic, b.number)));
    let Some(share) = cluster.share(hot).filter(|_| !movable.is_empty()) else {
        return Err(Refused::new(
            Rule::NothingToMove,
            match led {
                0 => format!("broker {hot} leads no partition: its load is not leadership"),
                led => format!(
                    "broker {hot} leads {}, none of which may be moved for load: its load is not leadership",
                    count(led, "partition")
                ),
            },
        ));
    };

    let wanted = (((hot_load - goal.percent * BELOW) / share).ceil().max(1.0) as usize).min(MAX_MOVES);
    let mut load: BTreeMap<BrokerId, f64> = cluster
        .brokers
        .iter()
        .filter(|(id, broker)| **id != hot && broker.health == Health::Healthy)
        .filter_map(|(id, broker)| Some((*id, broker.load_percent?)))
        .collect();

    let mut moves = Vec::new();
    for partition in &movable {
        if moves.len() == wanted {
            break;
        }
        let Some(to) = best_target(partition, &load, share, goal.percent) else { continue };
        if let Some(load) = load.get_mut(&to) {
            *load += share;
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
                 below {:.0}% {} with {share:.1}% more; brokers with room, or replicas in sync, would lift this",
                count(movable.len(), "movable partition"),
                goal.percent,
                goal.resource
            ),
        ));
    }
    let gain = share * moves.len() as f64 / hot_load;
    if moves.len() < wanted && gain < WORTH_IT {
        let movable = count(moves.len(), "leadership");
        return Err(Refused::new(
            Rule::TooLittleGain,
            format!(
                "broker {hot}: no more than {movable} of the {wanted} that would have to go can, which would take {:.1}% off its \
                 {}; less than {:.0}% is not worth it; brokers with room, or replicas in sync, would lift this",
                gain * 100.0,
                goal.resource,
                WORTH_IT * 100.0
            ),
        ));
    }
    Ok(LeadershipPlan { from: hot, moves })
}

/// Checks the rules that hold for any load move; gives the load of the hot broker.
fn permitted(cluster: &Cluster, hot: BrokerId, goal: &Goal<'_>) -> Result<f64, Refused> {
    let brokers = cluster.brokers.len();
    let overloaded = cluster.count(Health::Overloaded);
    if overloaded * 2 > brokers {
        return Err(Refused::new(
            Rule::TooManyOverloaded,
            format!(
                "{overloaded} of {brokers} brokers are overloaded, more than half: that is a lack of capacity, which \
                 moving work around does not cure; add brokers or reduce the load"
            ),
        ));
    }
    let unhealthy = cluster.count(Health::Unhealthy);
    if unhealthy > 1 && unhealthy * 5 > brokers {
        return Err(Refused::new(
            Rule::TooManyUnhealthy,
            format!(
                "{unhealthy} of {brokers} brokers are unhealthy, more than one and more than 20%: nothing is moved until \
                 some are back"
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
    let load = cluster.brokers.get(&hot).and_then(|broker| broker.load_percent);
    load.filter(|load| *load > 0.0).ok_or_else(|| {
        let resource = goal.resource;
        Refused::new(
            Rule::UnknownLoad,
            format!(
                "{resource} of broker {hot} is not known, or its newest report is too old, so nothing is moved; lifted by \
                 its next report"
            ),
        )
    })
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
        .filter_map(|id| load.get(id).map(|load| (*id, load + share)))
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
                    let health = if *cpu > 80.0 { Health::Overloaded } else { Health::Healthy };
                    (BrokerId(id), Broker { health, load_percent: Some(*cpu) })
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
    const CPU: Goal<'_> = Goal { resource: "CPU usage", percent: 70.0 };

    #[test]
    fn moves_no_more_than_needed_to_the_coolest() {
        let hot_leads: Vec<(&[i32], &[i32])> = vec![(ALL, ALL); 10];
        let plan = relieve(&cluster(&[95.0, 30.0, 40.0], &hot_leads), BrokerId(1), &CPU).unwrap();
        assert_eq!(plan.given(), BTreeMap::from([(BrokerId(2), 2), (BrokerId(3), 1)]));
        assert_eq!(
            plan.sentence(),
            "move leadership of 3 partitions from broker 1 to 2 (2) and 3 (1); no data moves"
        );
    }

    #[test]
    fn a_replica_out_of_sync_makes_the_cluster_heal_first() {
        let refused =
            relieve(&cluster(&[95.0, 30.0, 40.0], &[(ALL, &[1, 2])]), BrokerId(1), &CPU).unwrap_err();
        assert_eq!(refused.rule, Rule::UnderReplicated);
    }

    #[test]
    fn most_hot_is_a_lack_of_capacity() {
        let refused = relieve(&cluster(&[95.0, 90.0, 40.0], &[(ALL, ALL)]), BrokerId(1), &CPU).unwrap_err();
        assert_eq!(refused.rule, Rule::TooManyOverloaded);
    }

    #[test]
    fn unknown_cpu_gets_no_work() {
        let mut cluster = cluster(&[95.0, 30.0, 40.0], &[(ALL, ALL); 10]);
        cluster.brokers.get_mut(&BrokerId(2)).unwrap().load_percent = None;
        let plan = relieve(&cluster, BrokerId(1), &CPU).unwrap();
        assert!(plan.moves.iter().all(|m| m.to == BrokerId(3)));
        cluster.brokers.get_mut(&BrokerId(1)).unwrap().load_percent = None;
        assert_eq!(relieve(&cluster, BrokerId(1), &CPU).unwrap_err().rule, Rule::UnknownLoad);
    }

    #[test]
    fn internal_topics_stay() {
        let mut cluster = cluster(&[95.0, 30.0, 40.0], &[(ALL, ALL)]);
        cluster.partitions[0].movable = false;
        let refused = relieve(&cluster, BrokerId(1), &CPU).unwrap_err();
        assert_eq!(refused.rule, Rule::NothingToMove);
        assert!(refused.message.contains("leads 1 partition, none of which"), "{}", refused.message);
        cluster.partitions.clear();
        let refused = relieve(&cluster, BrokerId(1), &CPU).unwrap_err();
        assert!(refused.message.contains("leads no partition"), "{}", refused.message);
    }

    #[test]
    fn with_too_many_down_nothing_is_moved() {
        let down = |ids: &[i32]| {
            let mut cluster = cluster(&[95.0, 30.0, 40.0, 40.0, 40.0], &[(ALL, ALL); 10]);
            for id in ids {
                cluster.brokers.get_mut(&BrokerId(*id)).unwrap().health = Health::Unhealthy;
            }
            relieve(&cluster, BrokerId(1), &CPU)
        };
        assert!(down(&[4]).is_ok());
        assert_eq!(down(&[4, 5]).unwrap_err().rule, Rule::TooManyUnhealthy);
    }

    #[test]
    fn only_the_healthy_are_given_work() {
        for health in [Health::Overloaded, Health::Unhealthy, Health::Unsettled] {
            let mut cluster = cluster(&[95.0, 10.0, 60.0, 10.0, 10.0], &[(ALL, ALL); 10]);
            cluster.brokers.get_mut(&BrokerId(2)).unwrap().health = health;
            let plan = relieve(&cluster, BrokerId(1), &CPU).unwrap();
            assert!(plan.moves.iter().all(|m| m.to == BrokerId(3)), "{health:?}");
        }
    }

    #[test]
    fn two_plans_do_not_count_on_the_same_room() {
        let sets: Vec<(&[i32], &[i32])> =
            [vec![(&[1, 3][..], &[1, 3][..]); 10], vec![(&[2, 3], &[2, 3]); 10]].concat();
        let mut cluster = cluster(&[90.0, 90.0, 30.0, 10.0], &sets);
        let first = relieve(&cluster, BrokerId(1), &CPU).unwrap();
        cluster.apply(&first);
        assert_eq!(cluster.leaders(BrokerId(3)), first.moves.len());
        assert_eq!(cluster.brokers[&BrokerId(3)].load_percent, Some(30.0 + 9.0 * first.moves.len() as f64));
        let second = relieve(&cluster, BrokerId(2), &CPU).unwrap();
        assert_eq!((first.moves.len(), second.moves.len()), (3, 1), "room for four shares of 9% below 70%");
    }

    #[test]
    fn one_plan_is_bounded() {
        let hot_leads: Vec<(&[i32], &[i32])> = vec![(ALL, ALL); 3 * MAX_MOVES];
        let plan = relieve(
            &cluster(&[3_000.0, 1.0, 1.0], &hot_leads),
            BrokerId(1),
            &Goal { percent: 2_000.0, ..CPU },
        );
        assert_eq!(plan.unwrap().moves.len(), MAX_MOVES);
    }

    #[test]
    fn what_helps_too_little_is_left() {
        // One of a hundred leaderships can go.
        let mut sets: Vec<(&[i32], &[i32])> = vec![(&[1], &[1]); 99];
        sets.push((&[1, 2], &[1, 2]));
        let refused = relieve(&cluster(&[95.0, 30.0], &sets), BrokerId(1), &CPU).unwrap_err();
        assert_eq!(refused.rule, Rule::TooLittleGain);
        assert!(refused.message.contains("1 leadership of the 29"), "{}", refused.message);
        sets.extend(vec![(&[1, 2][..], &[1, 2][..]); 9]);
        let plan = relieve(&cluster(&[95.0, 30.0], &sets), BrokerId(1), &CPU).unwrap();
        assert_eq!(plan.moves.len(), 10);
    }

    #[test]
    fn no_room_elsewhere() {
        let refused =
            relieve(&cluster(&[95.0, 69.0, 69.0], &[(ALL, ALL); 10]), BrokerId(1), &CPU).unwrap_err();
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
            let plan = relieve(&cluster, hot, &CPU);
            prop_assert_eq!(&plan, &relieve(&cluster, hot, &CPU), "deterministic");
            if let Ok(plan) = plan {
                let share = cpus[0] / cluster.leaders(hot) as f64;
                for change in &plan.moves {
                    let p = cluster.partitions.iter().find(|p| p.number == change.partition).unwrap();
                    prop_assert!(p.isr.contains(&change.to) && change.to != hot && p.leader == Some(hot));
                    prop_assert!(cluster.brokers[&change.to].health == Health::Healthy);
                }
                for (to, given) in plan.given() {
                    let after = cluster.brokers[&to].load_percent.unwrap() + share * given as f64;
                    prop_assert!(after < 70.0 + 1e-6, "no new hot broker");
                }
            }
        }
    }
}
