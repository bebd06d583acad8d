//! What is proposed for the needs of the cluster: kept while it fits, withdrawn when it does not.

use std::{sync::Arc, time::Duration};

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::Moment;
use doctorkafka_planner::{Refused, Rule};
use doctorkafka_wire::{ActionKind, BrokerId, Outcome, PartitionChange, Severity};
use jiff::Timestamp;
use serde_json::json;

use super::{EngineState, needs::Need};
use crate::{
    alerts::Draft,
    execute::Treatment,
    proposals::{Decisions, Proposed},
    remedy::{
        Remedy,
        offers::{END, Key, Offer, REJECTED, detail},
    },
    report::Refusal,
};

/// After a plan was refused, the next try.
const PLAN_AGAIN: Duration = Duration::from_secs(10);

/// What nobody has to approve is begun as it is planned, or planned anew after so many seconds.
const FRESH: i64 = 10;

/// The rules that every proposal is checked against when it is made; those of its execution are checked before each step.
const CHECKED: [Rule; 6] = [
    Rule::StaleData,
    Rule::UnknownLoad,
    Rule::TooManyUnhealthy,
    Rule::TooManyOverloaded,
    Rule::UnderReplicated,
    Rule::NoEligibleTarget,
];

/// A proposal that the log has to be told the end of.
#[derive(Debug, Clone)]
pub(super) struct Withdrawn {
    broker: BrokerId,
    digest: String,
    message: String,
    rejected: bool,
}

impl EngineState {
    /// Takes in what people have decided.
    pub fn set_decisions(&mut self, decisions: Arc<Decisions>) {
        self.decisions = decisions;
        self.advised = None;
    }

    /// Brings what is proposed in line with what is needed. Gives the records that the log lacks, at most `room`.
    pub(super) fn consider_needs(&mut self, now: Moment, wall: Timestamp, room: usize) -> Vec<Draft> {
        // While it is not known what is needed, nothing is proposed, and nothing is withdrawn.
        if self.sure_topics(now).is_none() {
            return Vec::new();
        }
        let needs = self.needs(now);
        self.wants_loads = needs.iter().any(|need| need.wants_loads && self.is_to_be_planned(need));
        let shown: Vec<Arc<Proposed>> = self.offers.values().map(|offer| offer.proposed.clone()).collect();
        self.withdraw_what_is_needless(&needs);
        let mut refusals = Vec::new();
        for need in &needs {
            if let Err(refused) = self.consider(need, now, wall) {
                refusals.push((need.key.1, refused));
            }
        }
        self.drop_answer();
        self.changed |= !shown.iter().eq(self.offers.values().map(|offer| &offer.proposed));
        let leads = self.leads();
        let mut drafts = Vec::new();
        if leads {
            drafts.extend(self.tell(room));
        }
        for (broker, refused) in refusals {
            if leads && drafts.len() < room {
                drafts.extend(self.alerts.refuse(broker, &refused));
            }
            let refusal =
                Refusal { broker: Some(broker), rule: refused.rule.as_str(), message: refused.message };
            if !self.refusals.contains(&refusal) {
                self.refusals.push(refusal);
            }
        }
        drafts
    }

    /// Whether the policy wants anything done, or proposed, for a need.
    fn is_to_be_planned(&self, need: &Need) -> bool {
        !matches!(need.key.0.mode(&self.policy), EffectiveMode::Observe | EffectiveMode::Paused)
    }

    /// Keeps, adopts or makes the proposal for a need.
    fn consider(&mut self, need: &Need, now: Moment, wall: Timestamp) -> Result<(), Refused> {
        let mode = need.key.0.mode(&self.policy);
        if !self.is_to_be_planned(need) {
            self.withdraw(need.key, "expired: the policy wants no such treatment now", false);
            return Ok(());
        }
        if let Some(too_early) = &need.too_early {
            self.withdraw(need.key, "expired: its cause has changed", false);
            return Err(too_early.clone());
        }
        let Some(offer) = self.offers.get(&need.key).cloned() else {
            return self.begin_offer(need, mode, now, wall);
        };
        let proposed = &offer.proposed;
        if let Some(decision) = self.decision(proposed.treatment.digest()).filter(|it| !it.approved) {
            self.proposals.reject(need.key);
            self.votes.followed(proposed.treatment.digest());
            self.withdraw(need.key, &format!("rejected by {}", decision.by), true);
            return Ok(());
        }
        let unfit = self.misfit(&proposed.treatment, now);
        // What waits is planned anew when it waits no more.
        let stale = mode == EffectiveMode::Auto
            && wall.duration_since(proposed.since).as_secs() >= FRESH
            && self.reason_to_wait(now, wall, need.key).is_none();
        if let Some(why) = unfit.or_else(|| stale.then(|| "superseded: planned anew".to_owned())) {
            self.withdraw(need.key, &why, false);
            return self.begin_offer(need, mode, now, wall);
        }
        if proposed.mode != mode {
            let proposed = Arc::new(Proposed { mode, ..proposed.as_ref().clone() });
            self.offers.insert(need.key, Offer { proposed, ..offer });
        }
        Ok(())
    }

    fn begin_offer(
        &mut self,
        need: &Need,
        mode: EffectiveMode,
        now: Moment,
        wall: Timestamp,
    ) -> Result<(), Refused> {
        let key = need.key;
        // One treatment at a time: what comes after it is planned on what it leaves.
        if self.treatment.is_some() || self.recovery.open().is_some() || self.proposals.is_rejected(&key) {
            return Ok(());
        }
        let rules = CHECKED.map(Rule::as_str).to_vec();
        if let Some((treatment, since)) = self.proposals.take(key) {
            match self.misfit(&treatment, now) {
                None => {
                    let proposed = Proposed { treatment, why: Vec::new(), since, mode, rules };
                    self.offers.insert(key, Offer { proposed: Arc::new(proposed), told: true });
                    return Ok(());
                }
                Some(why) => self.withdrawn.push(Withdrawn {
                    broker: key.1,
                    digest: treatment.digest().to_owned(),
                    message: why,
                    rejected: false,
                }),
            }
        }
        if let Some((tried, refused)) = self.unplanned.get(&key)
            && now.since(*tried) < PLAN_AGAIN
        {
            return Err(refused.clone());
        }
        self.unplanned.remove(&key);
        match self.plan(need, now) {
            // It is being made.
            None => Ok(()),
            Some(Ok((treatment, why))) => {
                let proposed = Proposed { treatment, why, since: wall, mode, rules };
                self.offers.insert(key, Offer { proposed: Arc::new(proposed), told: false });
                Ok(())
            }
            Some(Err(refused)) => {
                self.unplanned.insert(key, (now, refused.clone()));
                Err(refused)
            }
        }
    }

    /// Why a treatment cannot be carried out as it is any more.
    pub(super) fn misfit(&self, treatment: &Treatment, now: Moment) -> Option<String> {
        let seen = self.sure_topics(now)?;
        let unfit = self.diagnostician.platform().unfit_destinations(now);
        let gets = |change: &PartitionChange| change.to.iter().find(|id| !change.from.contains(id)).copied();
        // What goes to hot brokers goes to no other: it was planned so, as the last resort.
        let heals = treatment.cause().reason == Remedy::BrokerFailure.as_str();
        let resorts = heals && treatment.moves().filter_map(gets).all(|id| !self.may_take(id));
        let fit = |id| self.may_take(id) || (resorts && self.may_heal(id));
        for change in treatment.changes() {
            let name = format!("{}-{}", change.topic, change.partition);
            let here = seen.topics.partition(&change.topic, change.partition);
            if here.is_none_or(|partition| partition.replicas != change.from) {
                return Some(format!("expired: {name} has changed since it was planned"));
            }
            let mut added = change.to.iter().filter(|id| !change.from.contains(id));
            if let Some(id) = added.find(|id| !fit(**id) || unfit.contains_key(id)) {
                return Some(format!(
                    "expired: {name} was to go to broker {id}, which is not fit to take it now"
                ));
            }
            // Who leads it already goes on, however hot.
            let leads = here.and_then(|partition| partition.leader);
            let handed_to = |id: &&BrokerId| {
                change.from.first() != Some(*id) && change.from.contains(id) && leads != Some(**id)
            };
            if let Some(id) = change.to.first().filter(handed_to).filter(|id| !self.may_lead(**id)) {
                return Some(format!(
                    "expired: {name} was to be led by broker {id}, which is not fit to lead now"
                ));
            }
        }
        None
    }

    /// Takes back a proposal, if there is one.
    fn withdraw(&mut self, key: Key, why: &str, rejected: bool) {
        if let Some(offer) = self.offers.remove(&key).filter(|offer| offer.told) {
            self.withdrawn.push(Withdrawn {
                broker: key.1,
                digest: offer.proposed.treatment.digest().to_owned(),
                message: why.to_owned(),
                rejected,
            });
        }
    }

    fn withdraw_what_is_needless(&mut self, needs: &[Need]) {
        let needed = |key: &Key| needs.iter().any(|need| need.key == *key);
        let over: Vec<Key> = self.offers.keys().filter(|key| !needed(key)).copied().collect();
        let why = "expired: its cause has gone";
        for key in over {
            self.withdraw(key, why, false);
        }
        for ((_, broker), treatment) in self.proposals.take_others(needed) {
            let digest = treatment.digest().to_owned();
            self.withdrawn.push(Withdrawn { broker, digest, message: why.to_owned(), rejected: false });
        }
        self.planning.take_if(|asked| !needed(&asked.key));
        self.proposals.forget_rejections(needed);
        self.unplanned.retain(|key, _| needed(key));
    }

    /// The records of proposals that the log lacks.
    fn tell(&mut self, room: usize) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for withdrawn in self.withdrawn.drain(..room.min(self.withdrawn.len())) {
            let mut draft =
                Draft::new(ActionKind::Cancel, Severity::Info, Some(withdrawn.broker), withdrawn.message);
            draft.outcome = Some(Outcome::Aborted);
            draft.digest = Some(withdrawn.digest);
            if withdrawn.rejected {
                draft.evidence.insert(END.into(), json!(REJECTED));
            }
            drafts.push(draft);
        }
        for ((remedy, broker), offer) in &mut self.offers {
            let proposed = &offer.proposed;
            // What is begun at once is told by its beginning, and what is only advice of leaderships by that advice.
            let told_otherwise = match proposed.mode {
                EffectiveMode::Auto => true,
                EffectiveMode::Recommend => *remedy == Remedy::LeadershipRelief,
                EffectiveMode::Approve | EffectiveMode::Observe | EffectiveMode::Paused => false,
            };
            if offer.told || told_otherwise || drafts.len() >= room {
                continue;
            }
            offer.told = true;
            let treatment = &proposed.treatment;
            let what = treatment.sentence();
            let how = match proposed.mode {
                EffectiveMode::Approve => format!("approve {} to run it", &treatment.digest()[..12]),
                _ => "the policy only recommends".to_owned(),
            };
            let message = format!("Proposed: {what}; {}; {how}", treatment.cause().message);
            let kind = ActionKind::ReassignPartitions;
            let mut draft = Draft::new(kind, Severity::Info, Some(*broker), message);
            draft.outcome = Some(Outcome::Proposed);
            draft.digest = Some(treatment.digest().to_owned());
            draft.treatment = Some(detail(treatment));
            drafts.push(draft);
        }
        drafts
    }
}
