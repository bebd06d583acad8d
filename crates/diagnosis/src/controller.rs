//! How far the controller's word on who is alive can be trusted.

use std::time::Duration;

use doctorkafka_wire::BrokerId;

use crate::{ClusterFacts, Moment};

/// A new active controller gives every broker a new session: for so long after its election (the default
/// `broker.session.timeout.ms` of 9 s and a margin) "not fenced" does not mean "alive".
const SETTLES: Duration = Duration::from_secs(12);

/// A quorum without a leader for longer than an election takes fences nobody.
const LONGEST_ELECTION: Duration = Duration::from_secs(3);

/// Follows who the active controller is.
///
/// The one found first is taken to have been there all the time: a doctor that has just started has no reason to doubt
/// it, and at worst learns of a dead broker when the controller fences it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControllerWatch {
    /// The last one that was seen, and its epoch.
    known: Option<(BrokerId, i32)>,
    /// When another than before was seen.
    changed: Option<Moment>,
    /// Since when there has been none.
    missing_since: Option<Moment>,
}

impl ControllerWatch {
    pub fn look(&mut self, facts: &ClusterFacts) {
        let Some(controller) = facts.controller else {
            self.missing_since.get_or_insert(facts.at);
            return;
        };
        self.missing_since = None;
        if self.known.is_some_and(|known| known != controller) {
            self.changed = Some(facts.at);
        }
        self.known = Some(controller);
    }

    /// Whether a broker that the controller counts in has been alive of late.
    pub fn settled(&self, now: Moment) -> bool {
        let new = self.changed.is_some_and(|changed| now.since(changed) <= SETTLES);
        let gone = self.missing_since.is_some_and(|since| now.since(since) > LONGEST_ELECTION);
        !new && !gone
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
    fn the_first_one_found_is_trusted() {
        assert!(watch(&[(0, Some((1, 5)))]).settled(Moment(10)));
        assert!(watch(&[]).settled(Moment(10)));
    }

    #[test]
    fn a_new_one_needs_a_session_timeout_to_settle() {
        let watch = watch(&[(0, Some((1, 5))), (5_000, Some((2, 6)))]);
        assert!(!watch.settled(Moment(17_000)));
        assert!(watch.settled(Moment(17_001)));
    }

    #[test]
    fn the_same_one_in_a_new_epoch_is_a_new_one() {
        assert!(!watch(&[(0, Some((1, 5))), (5_000, Some((1, 6)))]).settled(Moment(6_000)));
    }

    #[test]
    fn one_question_without_an_answer_is_no_news() {
        let looks = [(0, Some((1, 5))), (1_000, None), (2_000, Some((1, 5)))];
        assert!(watch(&looks[..2]).settled(Moment(2_000)));
        assert!(watch(&looks).settled(Moment(2_500)));
    }

    #[test]
    fn a_quorum_without_a_leader_fences_nobody() {
        let watch = watch(&[(0, Some((1, 5))), (1_000, None), (3_000, None)]);
        assert!(watch.settled(Moment(4_000)));
        assert!(!watch.settled(Moment(4_001)));
    }
}
