//! Tiny clusters are repaired by trying everything: where a plan found no room, or moved more than it had to, a better one is
//! found if there is any.

use super::{FIGURES, Planner, Why};
use crate::{placement::Placement, spread::Limits};

/// Replicas, and brokers, up to which everything is tried.
const REPLICAS: usize = 12;
const BROKERS: usize = 6;

/// Steps that are taken at the most, so that time is bounded: some hundredths of a second. Eight replicas on four brokers take
/// fewer.
const STEPS: usize = 300_000;

/// MB that two sums of the same may differ by.
const ROUNDING: f64 = 1e-6;

impl Planner<'_> {
    /// Takes the cheapest legal plan in place of this one, if this one is dearer, or not legal.
    pub(super) fn try_everything(&mut self) {
        let instance = self.placement.instance;
        if instance.replicas() > REPLICAS || instance.brokers.len() > BROKERS {
            return;
        }
        let mut search = Search {
            planner: self,
            legal: Limits::legal(instance),
            trial: Placement::new(instance),
            least: f64::INFINITY,
            found: None,
            steps: STEPS,
        };
        if search.is_legal(&self.placement) {
            search.least = self.price_of_all(&self.placement);
        }
        search.place(0, 0.0);
        let Some(found) = search.found else { return };
        self.placement = found;
        let changed = (0..instance.partitions()).filter(|partition| self.placement.is_changed(*partition));
        for partition in changed.collect::<Vec<_>>() {
            self.note(partition, self.cause(partition));
        }
    }

    /// Replicas that are copied where something is vacated, for it has to go somewhere; else MB.
    fn price_of_all(&self, placement: &Placement<'_>) -> f64 {
        let instance = placement.instance;
        let slots = (0..instance.partitions())
            .flat_map(|partition| instance.slots(partition).map(move |slot| (partition, slot)));
        let copied = slots.filter(|(partition, slot)| !was_on(placement, *partition, placement.at(*slot)));
        copied.map(|(partition, slot)| self.price_of(placement.megabytes(partition, slot))).sum()
    }

    fn price_of(&self, megabytes: f64) -> f64 {
        if self.fewest { 1.0 } else { megabytes }
    }

    /// Why a partition is changed: for itself, or to make room for others.
    fn cause(&self, partition: usize) -> Why {
        let instance = self.placement.instance;
        let legal = Limits::legal(instance);
        let holders = || instance.slots(partition).map(|slot| instance.holder(slot));
        if let Some(broker) = holders().find(|broker| !self.may_hold[*broker]) {
            return Why::Vacated { broker: self.id(broker) };
        }
        if self.placement.racks_before(partition) < self.racks_needed(partition) {
            return Why::Racks;
        }
        let held = |to: &u16| holders().any(|broker| broker == usize::from(*to));
        if self.placement.replicas(partition).iter().all(held) {
            return Why::Leadership { broker: self.id(instance.holder(instance.slots(partition).start)) };
        }
        let above = |broker: usize| {
            let excess = legal.excess(broker, &self.before[broker]);
            let figure = FIGURES.iter().zip(excess).find(|(_, excess)| *excess > 0.0)?.0;
            Some(Why::Relief { broker: self.id(broker), figure })
        };
        holders().find_map(above).unwrap_or(Why::Room)
    }
}

/// Whether the broker held a replica of the partition at the beginning.
fn was_on(placement: &Placement<'_>, partition: usize, broker: usize) -> bool {
    let instance = placement.instance;
    instance.slots(partition).any(|slot| instance.holder(slot) == broker)
}

/// A search for the cheapest legal plan, depth first.
struct Search<'s, 'a> {
    planner: &'s Planner<'a>,
    legal: Limits,
    trial: Placement<'a>,
    /// The price of the best that is known.
    least: f64,
    found: Option<Placement<'a>>,
    /// Steps that are left.
    steps: usize,
}

impl Search<'_, '_> {
    /// Tries every place for the partitions from this one on.
    fn place(&mut self, partition: usize, price: f64) {
        if price >= self.least - ROUNDING {
            return;
        }
        if partition < self.trial.instance.partitions() {
            return self.place_replica(partition, self.trial.instance.slots(partition).start, price);
        }
        if self.is_legal(&self.trial) {
            (self.least, self.found) = (price, Some(self.trial.clone()));
        }
    }

    /// Tries every broker for the partition's replicas from this slot on, what costs nothing first.
    fn place_replica(&mut self, partition: usize, slot: usize, price: f64) {
        if self.steps == 0 {
            return;
        }
        self.steps -= 1;
        let instance = self.trial.instance;
        let slots = instance.slots(partition);
        if slot == slots.end {
            return self.lead(partition, price);
        }
        let home = instance.holder(slot);
        if self.planner.may_hold[home] {
            self.place_replica(partition, slot + 1, price);
            if instance.is_pinned(partition) {
                return;
            }
        }
        let planner = self.planner;
        let dearer = price + planner.price_of(self.trial.megabytes(partition, slot));
        for to in planner.targets.iter().copied() {
            // Replicas of one partition hold the same: to exchange them is no remedy.
            if was_on(&self.trial, partition, to)
                || self.trial.holds(partition, to)
                || dearer >= self.least - ROUNDING
            {
                continue;
            }
            self.trial.move_replica(partition, slot, to);
            self.place_replica(partition, slot + 1, dearer);
            self.trial.move_replica(partition, slot, home);
        }
    }

    /// Tries every leader.
    fn lead(&mut self, partition: usize, price: f64) {
        if self.trial.racks(partition) < self.planner.racks_needed(partition) {
            return;
        }
        for slot in self.trial.instance.slots(partition) {
            if self.planner.may_lead[self.trial.at(slot)] {
                self.trial.hand_leadership(partition, slot);
                self.place(partition + 1, price);
                self.trial.hand_leadership(partition, slot);
            }
        }
    }

    /// Whether every rule of a repair holds.
    fn is_legal(&self, placement: &Placement<'_>) -> bool {
        let planner = self.planner;
        let within = |broker: usize| {
            self.legal.excess(broker, &placement.brokers[broker]).iter().all(|above| *above == 0.0)
        };
        let mut partitions = 0..placement.instance.partitions();
        placement.instance.alive().all(within)
            && partitions.all(|partition| {
                let replicas = placement.replicas(partition);
                replicas.iter().all(|broker| planner.may_hold[usize::from(*broker)])
                    && planner.may_lead[usize::from(replicas[0])]
                    && placement.racks(partition) >= planner.racks_needed(partition)
            })
    }
}
