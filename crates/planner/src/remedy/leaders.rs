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
        self.take_from_those_that_must_not_lead();
        if !self.lead_evenly {
            return;
        }
        let even = Limits::even(&self.placement, LEADERSHIP, LEADERSHIP);
        for _ in 0..ROUNDS {
            let mut changed = 0;
            for partition in 0..self.placement.instance.partitions() {
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
                && let Some(heir) = self.best_heir(partition, true)
            {
                self.placement.hand_leadership(partition, heir);
                self.note(partition, Why::Leadership { broker: self.id(leader) });
            }
        }
    }

    fn hand_to_better(&mut self, partition: usize, leader: usize) -> bool {
        let leadership = self.placement.leadership(partition);
        let gain = self.spread.fall(leader, self.held(leader), &leadership);
        let slots = self.placement.instance.slots(partition).skip(1);
        let rise = |slot: usize| {
            let to = self.placement.at(slot);
            let fits = self.may_lead[to] && self.limits.allow(to, self.held(to), &leadership);
            fits.then(|| (self.spread.rise(to, self.held(to), &leadership), slot))
        };
        let best = slots.filter_map(rise).min_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((rise, heir)) if rise < gain * (1.0 - 1e-6) => {
                self.placement.hand_leadership(partition, heir);
                self.note(partition, Why::Leadership { broker: self.id(leader) });
                true
            }
            _ => false,
        }
    }
}
