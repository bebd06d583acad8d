//! No plan makes a broker worse than a limit allows: what found no room goes back to where it was.

use super::Planner;
use crate::spread::{LIMITED, Limits};

impl Planner<'_> {
    /// Takes back what brought a broker above a legal limit, or further above it, partition by partition.
    pub(super) fn retreat(&mut self) {
        let legal = Limits::legal(self.placement.instance);
        let changed: Vec<usize> = self.why.keys().copied().collect();
        // What goes home may bring its home above a limit again, so that more has to go home. In the end all is as before.
        loop {
            let mut went_home = false;
            for partition in &changed {
                let mut holders = self.placement.replicas(*partition).iter();
                let does_harm = self.placement.is_changed(*partition)
                    && (holders.any(|at| {
                        self.burdens(*partition, (*at).into()) && self.is_worse(&legal, (*at).into())
                    }) || self.loses_racks(*partition));
                if does_harm {
                    self.placement.restore(*partition);
                    went_home = true;
                }
            }
            if !went_home {
                return;
            }
        }
    }

    /// Whether a partition spans fewer racks than it did, and could. Of several replicas that leave, each is placed as if the
    /// others brought the racks that are missing.
    fn loses_racks(&self, partition: usize) -> bool {
        self.placement.racks(partition) < self.placement.racks_before(partition).min(self.racks)
    }

    /// Whether the partition costs the broker more than before: by a replica, or by its leadership. What others brought it is
    /// theirs to take back.
    fn burdens(&self, partition: usize, broker: usize) -> bool {
        let instance = self.placement.instance;
        let first = instance.slots(partition).start;
        let leads = self.placement.at(first) == broker && instance.holder(first) != broker;
        leads || !instance.slots(partition).any(|slot| instance.holder(slot) == broker)
    }

    /// Whether the plan brought the broker above a limit, or further above it.
    fn is_worse(&self, legal: &Limits, broker: usize) -> bool {
        let (before, after) =
            (legal.excess(broker, &self.before[broker]), legal.excess(broker, self.held(broker)));
        self.may_hold[broker] && (0..LIMITED).any(|figure| after[figure] > before[figure] + 1e-9)
    }
}
