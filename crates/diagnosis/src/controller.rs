//! Who was the active controller of late.

use std::time::Duration;

use doctorkafka_wire::BrokerId;

use crate::{ClusterFacts, Moment};

/// A new active controller gives every broker a new session: for so long after its election (the default
/// `broker.session.timeout.ms` of 9 s and a margin) "not fenced" does not mean "alive".
const SESSION: Duration = Duration::from_secs(12);

/// Follows who the active controller is.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControllerWatch {
    known: Option<BrokerId>,
    /// The last one that another has taken the place of, and when that was seen.
    replaced: Option<(BrokerId, Moment)>,
}

impl ControllerWatch {
    pub fn look(&mut self, facts: &ClusterFacts) {
        let Some((controller, _)) = facts.controller else { return };
        if let Some(before) = self.known.filter(|known| *known != controller) {
            self.replaced = Some((before, facts.at));
        }
        self.known = Some(controller);
    }

    /// Whether this broker was the controller until another took its place, so short a time ago that the other one does
    /// not know yet whether it is alive.
    pub fn just_lost(&self, broker: BrokerId, now: Moment) -> bool {
        self.replaced.is_some_and(|(lost, at)| lost == broker && now.since(at) <= SESSION)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn watch(looks: &[(u64, Option<(i32, i32)>)]) -> ControllerWatch {
        let mut watch = ControllerWatch::default();
        for &(at, controller) in looks {
            watch.look(&ClusterFacts {
                at: Moment(at),
                brokers: BTreeMap::new(),
                names_fenced: true,
                controller: controller.map(|(id, epoch)| (BrokerId(id), epoch)),
            });
        }
        watch
    }

    #[test]
    fn one_whose_place_another_took_is_lost_until_the_other_knows_better() {
        let watch = watch(&[(0, Some((1, 5))), (2_000, None), (5_000, Some((2, 6)))]);
        assert!(watch.just_lost(BrokerId(1), Moment(17_000)));
        assert!(!watch.just_lost(BrokerId(1), Moment(17_001)));
        assert!(!watch.just_lost(BrokerId(2), Moment(6_000)));
        assert!(!watch.just_lost(BrokerId(3), Moment(6_000)));
    }

    #[test]
    fn a_question_without_an_answer_and_a_new_epoch_of_the_same_one_lose_nobody() {
        let watch = watch(&[(0, Some((1, 5))), (1_000, None), (2_000, Some((1, 5))), (3_000, Some((1, 6)))]);
        assert!(!watch.just_lost(BrokerId(1), Moment(3_000)));
    }

    #[test]
    fn the_first_one_found_has_replaced_nobody() {
        assert!(!watch(&[(0, Some((1, 5)))]).just_lost(BrokerId(2), Moment(10)));
    }
}
