//! Room for a replica that has to leave, where every broker that could take it is full: what is on its way there goes
//! elsewhere.
//!
//! Only replicas that leave anyway are sent elsewhere, and none that may stay is touched. So every replica is copied once,
//! straight to where it ends, and the brokers that take them only gain: in whatever order the moves are made, none holds
//! more on the way than in the end.
//!
//! These are the augmenting paths of a maximum flow. Where only the number of replicas counts and racks bind nothing, as
//! many replicas are placed as can be. With sizes it is bin packing, which is hard to solve exactly: a path is then found
//! only where replicas exchange one for one.

use super::Planner;
use crate::placement::Held;

/// The most pairs of a replica and a broker that are looked at in one plan, so that a cluster without room is not searched
/// for ever.
const MOST_LOOKS: usize = 1 << 22;

/// A replica that leaves its broker: partition and slot.
pub(super) type Leaving = (usize, usize);

/// A replica that wants to go to a broker that is full.
struct Step {
    replica: Leaving,
    to: usize,
    /// The step whose broker the replica makes room on; none for the one that is to be placed.
    before: Option<usize>,
}

impl Planner<'_> {
    /// Places those of the leaving replicas that found no room, as far as others that leave can go elsewhere.
    pub(super) fn make_room(&mut self, leaving: &[Leaving]) {
        let (stuck, placed): (Vec<Leaving>, Vec<Leaving>) =
            leaving.iter().copied().partition(|(_, slot)| !self.may_hold[self.placement.at(*slot)]);
        if stuck.is_empty() || placed.is_empty() {
            return;
        }
        let mut arriving = vec![Vec::new(); self.may_hold.len()];
        for replica in placed {
            arriving[self.placement.at(replica.1)].push(replica);
        }
        let mut looks = MOST_LOOKS;
        for replica in stuck {
            let Some(path) = self.path(replica, &arriving, &mut looks) else { continue };
            // From the end: the broker there has room, and each move makes room for the one before it.
            for ((partition, slot), to) in path {
                let from = self.placement.at(slot);
                arriving[from].retain(|other| *other != (partition, slot));
                arriving[to].push((partition, slot));
                self.placement.move_replica(partition, slot, to);
            }
        }
    }

    /// The shortest path of moves, the last first, that places the replica.
    fn path(
        &self,
        replica: Leaving,
        arriving: &[Vec<Leaving>],
        looks: &mut usize,
    ) -> Option<Vec<(Leaving, usize)>> {
        let mut seen = vec![false; arriving.len()];
        let mut steps: Vec<Step> = Vec::new();
        for to in self.destinations(replica) {
            if self.fits(replica, to, None) {
                return Some(vec![(replica, to)]);
            }
            seen[to] = true;
            steps.push(Step { replica, to, before: None });
        }
        let mut next = 0;
        while next < steps.len() {
            let Step { replica, to: full, .. } = steps[next];
            for other in &arriving[full] {
                *looks = looks.checked_sub(self.targets.len())?;
                if Self::way(&steps, next).any(|step| step.replica.0 == other.0)
                    || !self.fits(replica, full, Some(*other))
                {
                    continue;
                }
                for to in self.destinations(*other) {
                    if self.fits(*other, to, None) && Self::way(&steps, next).all(|step| step.to != to) {
                        let way = Self::way(&steps, next).map(|step| (step.replica, step.to));
                        return Some(std::iter::once((*other, to)).chain(way).collect());
                    }
                    if !seen[to] {
                        seen[to] = true;
                        steps.push(Step { replica: *other, to, before: Some(next) });
                    }
                }
            }
            next += 1;
        }
        None
    }

    /// The step and those before it, back to the replica that is to be placed.
    fn way(steps: &[Step], last: usize) -> impl Iterator<Item = &Step> {
        std::iter::successors(steps.get(last), |step| step.before.and_then(|before| steps.get(before)))
    }

    /// The brokers that the replica may go to as far as its partition is concerned, full ones included.
    pub(super) fn destinations(&self, (partition, slot): Leaving) -> impl Iterator<Item = usize> + '_ {
        let gap = self.rack_gap(partition, self.placement.at(slot));
        let needed = self.racks_needed(partition);
        let spanned = self.placement.racks(partition).min(needed);
        let may_go = self.placement.may_go(partition, slot);
        self.targets
            .iter()
            .copied()
            .filter(move |to| may_go(*to) && (gap(*to) == 0 || needed - gap(*to) >= spanned))
    }

    /// Whether the broker keeps its limits with the replica, once `without` has left it.
    fn fits(&self, (partition, slot): Leaving, broker: usize, without: Option<Leaving>) -> bool {
        let mut held: Held = *self.held(broker);
        if let Some((partition, slot)) = without {
            held.add(&self.placement.cost(partition, slot), -1.0);
        }
        self.limits.allow(broker, &held, &self.placement.cost(partition, slot))
    }
}
