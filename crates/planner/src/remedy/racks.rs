//! As many racks for every partition as it can have.

use super::{Planner, Why};
use crate::instance::DISK;

impl Planner<'_> {
    /// Moves replicas that share a rack to racks that have none, the smallest of them where nothing else speaks for another.
    pub(super) fn mend_racks(&mut self) {
        for partition in 0..self.placement.instance.partitions() {
            let needed = self.racks_needed(partition);
            let mut racks = self.placement.racks(partition);
            while racks < needed && self.mend(partition) {
                let now = self.placement.racks(partition);
                if now <= racks {
                    break;
                }
                racks = now;
            }
        }
    }

    fn mend(&mut self, partition: usize) -> bool {
        let instance = self.placement.instance;
        let rack = |slot: usize| instance.brokers[self.placement.at(slot)].rack;
        let slots = instance.slots(partition);
        let mut shared: Vec<(f64, usize)> = slots
            .clone()
            .filter(|slot| slots.clone().any(|other| other != *slot && rack(other) == rack(*slot)))
            .map(|slot| (self.price(partition, slot), slot))
            .collect();
        shared.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let target =
            shared.iter().find_map(|(_, slot)| Some((*slot, self.best_target(partition, *slot, false)?.0)));
        // Without room anywhere, relief comes after.
        let target = target.or_else(|| {
            shared.iter().find_map(|(_, slot)| Some((*slot, self.best_target(partition, *slot, true)?.0)))
        });
        let Some((slot, to)) = target else { return false };
        self.placement.move_replica(partition, slot, to);
        self.note(partition, Why::Racks);
        true
    }

    /// The MB that moving the replica adds to what has to be copied in the end: none where its broker has to give off as
    /// much anyway, or where it moves already.
    fn price(&self, partition: usize, slot: usize) -> f64 {
        if !self.placement.is_home(partition, slot) {
            return 0.0;
        }
        let broker = self.placement.at(slot);
        let share = self.limits.shares(broker, self.held(broker))[DISK];
        let above = self.held(broker).load[DISK] * (1.0 - 1.0 / share.max(1.0));
        (self.placement.megabytes(partition, slot) - above).max(0.0)
    }
}
