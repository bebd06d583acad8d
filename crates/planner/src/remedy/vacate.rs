//! Everything off the brokers that are dead or to be emptied.

use super::{Planner, Why, room::Leaving};
use crate::{instance::DISK, spread::Spread};

/// Times that every vacated replica is placed anew with all others where they are.
const ROUNDS: usize = 3;

impl Planner<'_> {
    /// Finds the best broker for every replica that has to leave. What is large is placed first, and what has the fewest
    /// places to go to before what has more.
    pub(super) fn vacate(&mut self) {
        let instance = self.placement.instance;
        if self.may_hold.iter().all(|may| *may) {
            return;
        }
        let mut leaving = Vec::new();
        let mut copied = 0.0;
        for partition in 0..instance.partitions() {
            for slot in instance.slots(partition) {
                if !self.may_hold[self.placement.at(slot)] {
                    leaving.push((partition, slot));
                    copied += instance.load(slot)[DISK];
                }
            }
        }
        let Some(any) = self.targets.first().copied() else { return };
        if leaving.is_empty() {
            return;
        }
        self.spread = Spread::new(&self.placement, copied);
        (self.fewest, self.lead_evenly) = (true, !self.single);
        // Kafka has elected other leaders for them by now, or will.
        for (partition, slot) in &mut leaving {
            self.note(*partition, Why::Vacated { broker: self.id(self.placement.at(*slot)) });
            let first = instance.slots(*partition).start;
            if *slot == first
                && let Some((heir, _)) = self.best_heir(*partition, false)
            {
                self.placement.hand_leadership(*partition, heir);
                *slot = heir;
            }
        }
        let mut ordered: Vec<(usize, f64, usize, usize)> = leaving
            .iter()
            .map(|(partition, slot)| {
                let size = self.spread.size(any, &self.placement.cost(*partition, *slot));
                (self.places(*partition, *slot), size, *partition, *slot)
            })
            .collect();
        ordered.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then((a.2, a.3).cmp(&(b.2, b.3)))
        });
        for (_, _, partition, slot) in &ordered {
            // Where nothing else may move, no relief comes after.
            if let Some((to, _)) = self.best_target(*partition, *slot, !self.single) {
                self.placement.move_replica(*partition, *slot, to);
            }
        }
        if self.single {
            let leaving: Vec<Leaving> =
                ordered.iter().map(|(_, _, partition, slot)| (*partition, *slot)).collect();
            self.make_room(&leaving);
        }
        for _ in 0..ROUNDS {
            let mut better = 0;
            for (_, _, partition, slot) in &ordered {
                better += usize::from(self.place_again(*partition, *slot));
            }
            if better == 0 {
                break;
            }
        }
    }

    /// How many brokers could take the replica without its partition losing a rack.
    fn places(&self, partition: usize, slot: usize) -> usize {
        let gap = self.rack_gap(partition, self.placement.at(slot));
        let may_go = self.placement.may_go(partition, slot);
        self.targets.iter().filter(|to| may_go(**to) && gap(**to) == 0).count()
    }

    /// Moves a replica that was moved already on to a better place, if there is one.
    fn place_again(&mut self, partition: usize, slot: usize) -> bool {
        let now = self.placement.at(slot);
        if !self.may_hold[now] {
            return false;
        }
        let mut taken = self.placement.cost(partition, slot);
        taken.inflow = self.placement.megabytes(partition, slot);
        let gain = self.spread.fall(now, self.held(now), &taken);
        match self.best_target(partition, slot, false) {
            Some((to, rise)) if rise < gain * (1.0 - 1e-9) => {
                self.placement.move_replica(partition, slot, to);
                true
            }
            _ => false,
        }
    }
}
