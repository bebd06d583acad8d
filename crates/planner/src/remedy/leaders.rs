//! Leaderships, which cost no data to hand over, evened out.

use super::{Planner, Why};
use crate::spread::Limits;

/// Leaderships are evened out until no broker has more than this multiple of the average in what follows them.
const LEADERSHIP: f64 = 1.05;

/// Times that all partitions are looked at.
const ROUNDS: usize = 6;

/// Figures that follow leadership: CPU, network out, leaderships.
const FOLLOW: [usize; 3] = [0, 2, 5];

impl Planner<'_> {
    /// Hands leaderships from brokers that have too much of what follows them to replicas elsewhere.
    pub(super) fn even_leadership(&mut self) {
        if !self.single {
            self.take_from_those_that_must_not_lead();
        }
        if !self.lead_evenly {
            return;
        }
        let even = Limits::even(&self.placement, LEADERSHIP, LEADERSHIP);
        for _ in 0..ROUNDS {
            let mut changed = 0;
            let instance = self.placement.instance;
            for partition in (0..instance.partitions()).filter(|partition| !instance.is_pinned(*partition)) {
                let leader = usize::from(self.placement.replicas(partition)[0]);
                let excess = even.excess(leader, self.held(leader));
                if FOLLOW.iter().any(|figure| excess[*figure] > 0.0) {
                    changed += usize::from(self.hand_to_better(partition, leader));
                }
            }
            if changed == 0 {
                break;
            }
        }
    }

    fn take_from_those_that_must_not_lead(&mut self) {
        if self.may_lead.iter().all(|may| *may) {
            return;
        }
        for partition in 0..self.placement.instance.partitions() {
            let leader = usize::from(self.placement.replicas(partition)[0]);
            if !self.may_lead[leader]
                && let Some((heir, _)) = self.best_heir(partition, true)
            {
                self.placement.hand_leadership(partition, heir);
                self.note(partition, Why::Leadership { broker: self.id(leader) });
            }
        }
    }

    fn hand_to_better(&mut self, partition: usize, leader: usize) -> bool {
        let leadership = self.placement.leadership(partition);
        let gain = self.spread.fall(leader, self.held(leader), &leadership);
        match self.best_heir(partition, true) {
            Some((heir, rise)) if rise < gain * (1.0 - 1e-6) => {
                self.placement.hand_leadership(partition, heir);
                self.note(partition, Why::Leadership { broker: self.id(leader) });
                true
            }
            _ => false,
        }
    }

    /// The replica that takes over a partition's leadership best, and how much less even the cluster is by what it takes on;
    /// if asked for, only one whose broker keeps its limits.
    pub(super) fn best_heir(&self, partition: usize, within_limits: bool) -> Option<(usize, f64)> {
        let leadership = self.placement.leadership(partition);
        let heir = |slot: usize| {
            let broker = self.placement.at(slot);
            let held = self.held(broker);
            let may =
                self.may_lead[broker] && (!within_limits || self.limits.allow(broker, held, &leadership));
            may.then(|| (slot, self.spread.rise(broker, held, &leadership)))
        };
        let heirs = self.placement.instance.slots(partition).skip(1).filter_map(heir);
        heirs.min_by(|a, b| a.1.total_cmp(&b.1))
    }
}
