//! What treatment would help, or why none is recommended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::Moment;
use doctorkafka_wire::BrokerId;
use jiff::Timestamp;

use super::EngineState;
use crate::{
    advice::advise,
    alerts::Draft,
    report::{Advice, Refusal, Role},
};

/// Treatment is considered again this often while a broker is overloaded.
const ADVISE_EVERY: Duration = Duration::from_secs(2);

/// No plan rests on figures that are more than so many reports old.
const STALE_REPORTS: u32 = 3;

/// The longest time between two reports that is believed.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

impl EngineState {
    /// Considers treatment when it is time to, or at once when a broker's state has `moved`. Gives the records that the
    /// log lacks, at most `room`.
    pub(super) fn consider_treatment(
        &mut self,
        now: Moment,
        wall: Timestamp,
        moved: bool,
        room: usize,
    ) -> Vec<Draft> {
        if !moved && self.advised.is_some_and(|advised| now.since(advised) < ADVISE_EVERY) {
            return Vec::new();
        }
        self.advised = Some(now);
        let before = (std::mem::take(&mut self.advice), std::mem::take(&mut self.refusals));
        let mut drafts = if self.may_recommend() { self.recommend(now, room) } else { Vec::new() };
        if !matches!(self.role, Role::Conflict { .. }) {
            drafts.extend(self.consider_needs(now, wall, room - drafts.len()));
        }
        if let Some((broker, refused)) = self.put_off(now, wall).filter(|_| self.leads()) {
            if drafts.len() < room {
                drafts.extend(self.alerts.refuse(broker, &refused));
            }
            let rule = refused.rule.as_str();
            self.refusals.push(Refusal { broker: Some(broker), rule, message: refused.message });
        }
        self.changed |= before.0 != self.advice || before.1 != self.refusals;
        drafts
    }

    fn may_recommend(&self) -> bool {
        let asked_for = !matches!(self.policy.leadership, EffectiveMode::Observe | EffectiveMode::Paused);
        asked_for && !matches!(self.role, Role::Conflict { .. })
    }

    fn recommend(&mut self, now: Moment, room: usize) -> Vec<Draft> {
        let diagnostician = &self.diagnostician;
        let unfit = diagnostician.platform().unfit_destinations(now).into_keys();
        let unfit = unfit.chain(self.policy.drain.iter().chain(&self.policy.demote).copied()).collect();
        let stale = self.stale_brokers(now);
        let fresh = |id| diagnostician.newest_report(id).filter(|_| !stale.contains(&id));
        let topics = self.topics.as_ref().filter(|topics| topics.are_fresh(now)).map(|seen| &*seen.topics);
        let advised = advise(&self.policy, diagnostician.diagnoses(), &unfit, fresh, topics);
        let leads = self.leads();
        let mut drafts = Vec::new();
        for (broker, advice) in advised {
            let tell = leads && drafts.len() < room;
            match advice {
                Ok(plan) => {
                    // What waits for approval is told whole, with its digest.
                    let tell = tell && self.policy.leadership != EffectiveMode::Approve;
                    drafts.extend(tell.then(|| self.alerts.propose(&plan)).flatten());
                    self.advice.push(Advice { broker, message: plan.sentence(), moves: plan.moves });
                }
                Err(refused) => {
                    drafts.extend(tell.then(|| self.alerts.refuse(broker, &refused)).flatten());
                    let rule = refused.rule.as_str();
                    self.refusals.push(Refusal { broker: Some(broker), rule, message: refused.message });
                }
            }
        }
        drafts
    }

    /// Brokers whose newest figures are too old to plan with.
    pub(super) fn stale_brokers(&self, now: Moment) -> BTreeSet<BrokerId> {
        let mut by_interval: BTreeMap<Duration, BTreeSet<BrokerId>> = BTreeMap::new();
        for id in self.diagnostician.diagnoses().keys() {
            let interval = self.diagnostician.newest_report(*id).map_or(1_000, |report| report.interval_ms);
            let interval = Duration::from_millis(interval.into()).min(LONGEST_INTERVAL);
            by_interval.entry(interval).or_default().insert(*id);
        }
        let silent = |interval| self.diagnostician.silent_for(interval * STALE_REPORTS, now);
        let stale = by_interval
            .into_iter()
            .flat_map(|(interval, ids)| silent(interval).into_iter().filter(move |id| ids.contains(id)));
        stale.collect()
    }
}
