//! What people have decided about proposals, wherever they said so, and what is answered.

use doctorkafka_api::EffectiveMode;
use doctorkafka_wire::ActionRecord;
use jiff::Timestamp;

use super::EngineState;
use crate::{Decision, alerts::Draft, decisions::Stands};

impl EngineState {
    /// What was decided about a treatment. Who does not want it is heard before who does.
    pub(super) fn decision(&self, digest: &str) -> Option<Decision> {
        let cluster = self.kafka.cluster_id.as_deref().unwrap_or_default();
        let in_the_log = self.votes.about(digest, &self.policy.name, cluster);
        let decisions = in_the_log.into_iter().chain(self.decisions.about(digest).cloned());
        decisions.min_by_key(|decision| decision.approved)
    }

    /// Takes in a record of the log, which may be a decision or end one.
    pub(super) fn hear_vote(&mut self, offset: i64, record: &ActionRecord) {
        let before = self.votes.clone();
        self.votes.apply(offset, record);
        if !self.votes.says_the_same(&before) {
            self.advised = None;
        }
    }

    /// Refuses decisions that cannot be followed: the records that say so, at most `room`.
    pub(super) fn answer_votes(&mut self, wall: Timestamp, room: usize) -> Vec<Draft> {
        let Some(cluster) = self.kafka.cluster_id.clone().filter(|_| self.leads()) else { return Vec::new() };
        let mut votes = std::mem::take(&mut self.votes);
        let stands = |digest: &str, approved| self.stands(digest, approved);
        let name = (self.policy.name.as_str(), cluster.as_str());
        let drafts = votes.answer(name, wall, stands, &self.decisions.refused, room);
        self.votes = votes;
        drafts
    }

    fn stands(&self, digest: &str, approved: bool) -> Stands {
        let offer = self.offers.values().find(|offer| offer.proposed.treatment.digest() == digest);
        if let Some(offer) = offer {
            return match offer.proposed.mode {
                mode @ (EffectiveMode::Observe | EffectiveMode::Recommend) if approved => {
                    Stands::No(format!(
                        "the policy's mode {mode:?} carries out nothing that is approved; set mode Approve"
                    ))
                }
                _ => Stands::Waits,
            };
        }
        let running = self.treatment.as_ref().is_some_and(|running| running.digest == digest);
        let open = self.recovery.open().is_some_and(|open| open.treatment().digest() == digest);
        // What the log proposes is taken up, or withdrawn, when the cluster has been looked at.
        if running || open || self.proposals.is_open(digest) || self.topics.is_none() {
            return Stands::Unclear;
        }
        Stands::No("it does not stand proposed; doctorkafka-operator list says what does".to_owned())
    }
}
