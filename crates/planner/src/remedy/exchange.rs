//! Where no broker has room for what would have to leave another, something else makes room: it goes the other way, or on to
//! a third broker.

use super::{Planner, Why, relief::worst, room::Leaving};
use crate::placement::Held;

/// The most pairs of replicas that are looked at in one plan, so that a cluster without room is not searched for ever.
const MOST_LOOKS: usize = 1 << 20;

/// Exchanges that are made at the most.
const MOST_EXCHANGES: usize = 256;

/// Replicas of a broker that are tried, those first that free the most.
const MOST_TRIED: usize = 128;

/// By so much, as a share of a limit, an exchange brings a broker nearer to its limits, so that there is an end to it.
const NEARER: f64 = 1e-6;

/// A replica that leaves its broker, and what makes room for it where it goes.
struct Exchange {
    leaves: Leaving,
    to: usize,
    gives_way: Leaving,
    on_to: usize,
}

impl Planner<'_> {
    /// Brings brokers that are above a limit still nearer to it, by exchanges that bring no broker further above one.
    pub(super) fn exchange(&mut self) {
        let mut looks = MOST_LOOKS;
        for _ in 0..MOST_EXCHANGES {
            let mut sources = self.sources.iter().copied();
            let found = sources.find_map(|broker| Some((broker, self.find_exchange(broker, &mut looks)?)));
            let Some((broker, Exchange { leaves, to, gives_way, on_to })) = found else { return };
            self.note(leaves.0, Why::Relief { broker: self.id(broker), figure: worst(&self.excess(broker)) });
            self.note(gives_way.0, Why::Room);
            self.placement.move_replica(gives_way.0, gives_way.1, on_to);
            self.placement.move_replica(leaves.0, leaves.1, to);
            // There may be room now.
            self.relieve();
        }
    }

    /// The first exchange found that brings the broker nearer to its limits.
    fn find_exchange(&self, broker: usize, looks: &mut usize) -> Option<Exchange> {
        let excess = self.excess(broker);
        if excess.iter().all(|above| *above <= 0.0) {
            return None;
        }
        let brokers = std::iter::once(broker).chain(self.targets.iter().copied().filter(|to| *to != broker));
        let held = self.partitions_on(brokers.clone());
        let of = |at: usize| brokers.clone().zip(&held).find(|(id, _)| *id == at).map(|(_, held)| held);
        for leaves in self.most_freeing(broker, held.first()?, &excess) {
            for to in self.destinations(leaves) {
                for other in of(to).into_iter().flatten().map(|partition| *partition as usize) {
                    *looks = looks.checked_sub(1)?;
                    let Some(slot) = self.slot_on(other, to).filter(|_| other != leaves.0) else { continue };
                    let gives_way = (other, slot);
                    if !self.is_no_worse(to, leaves, gives_way) {
                        continue;
                    }
                    let on_to = self.destinations(gives_way).find(|on_to| {
                        if *on_to == broker {
                            self.is_nearer(broker, gives_way, leaves)
                        } else {
                            self.limits.allow(*on_to, self.held(*on_to), &self.cost(gives_way))
                        }
                    });
                    if let Some(on_to) = on_to {
                        return Some(Exchange { leaves, to, gives_way, on_to });
                    }
                }
            }
        }
        None
    }

    /// The broker's replicas that free something of what is too much, the most first.
    fn most_freeing(&self, broker: usize, partitions: &[u32], excess: &[f64]) -> Vec<Leaving> {
        let freed = |replica: Leaving| {
            let shares = self.limits.shares(broker, &self.cost(replica));
            (0..excess.len()).filter(|k| excess[*k] > 0.0).map(|k| shares[k]).fold(0.0, f64::max)
        };
        let replicas = partitions.iter().map(|partition| *partition as usize);
        let mut freeing: Vec<(f64, Leaving)> = replicas
            .filter_map(|partition| Some((partition, self.slot_on(partition, broker)?)))
            .map(|replica| (freed(replica), replica))
            .filter(|(freed, _)| *freed > NEARER)
            .collect();
        freeing.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        freeing.into_iter().take(MOST_TRIED).map(|(_, replica)| replica).collect()
    }

    fn cost(&self, (partition, slot): Leaving) -> Held {
        self.placement.cost(partition, slot)
    }

    /// What the broker is above its limits now, and with one replica in the place of another.
    fn excess_with(&self, broker: usize, comes: Leaving, goes: Leaving) -> impl Iterator<Item = (f64, f64)> {
        let mut held = *self.held(broker);
        let before = self.limits.excess(broker, &held);
        held.add(&self.cost(goes), -1.0);
        held.add(&self.cost(comes), 1.0);
        before.into_iter().zip(self.limits.excess(broker, &held))
    }

    fn is_no_worse(&self, broker: usize, comes: Leaving, goes: Leaving) -> bool {
        self.excess_with(broker, comes, goes).all(|(before, after)| after <= before)
    }

    fn is_nearer(&self, broker: usize, comes: Leaving, goes: Leaving) -> bool {
        let nearer: f64 = self.excess_with(broker, comes, goes).map(|(before, after)| before - after).sum();
        nearer > NEARER && self.is_no_worse(broker, comes, goes)
    }
}
