//! A plan that takes longer than a step may is made elsewhere: asked for by one step, and taken by a later one if what it
//! rests on still stands.

use std::sync::Arc;

use doctorkafka_diagnosis::Moment;
use doctorkafka_planner::{Refused, Rule};

use super::{EngineState, needs::Need};
use crate::{
    Policy,
    remedy::{
        job::{PlanJob, Planned},
        offers::Key,
    },
};

/// A plan that was asked for. There is one at a time.
pub(super) struct Asked {
    number: u64,
    pub(super) key: Key,
    /// What it rests on, besides what is checked of every proposal.
    policy: Arc<Policy>,
    changed_until: Moment,
    /// Until somebody has taken it up.
    job: Option<PlanJob>,
    answer: Option<Planned>,
}

impl EngineState {
    /// A plan that is to be made, by whoever has the time. Its answer is to be given to [`EngineState::planned`].
    pub fn take_job(&mut self) -> Option<PlanJob> {
        self.planning.as_mut()?.job.take()
    }

    /// Takes in the plan of this number; `None` when planning has failed in itself. What nobody waits for any more is left.
    pub fn planned(&mut self, number: u64, answer: Option<Planned>) {
        let Some(asked) = self.planning.as_mut().filter(|asked| asked.number == number) else { return };
        let broker = asked.key.1;
        asked.answer = Some(answer.unwrap_or_else(|| {
            let message =
                format!("broker {broker}: planning has failed, as the doctor's log says; it is tried again");
            Err(Refused { rule: Rule::UnknownLoad, message })
        }));
        self.advised = None;
    }

    /// The plan for a need if it has been made and fits what is known by now; otherwise has it made.
    pub(super) fn plan_elsewhere(&mut self, need: &Need, now: Moment) -> Option<Planned> {
        if let Some(asked) = &self.planning {
            let stands =
                Arc::ptr_eq(&asked.policy, &self.policy) && asked.changed_until == self.changed_until;
            if stands && (asked.key != need.key || asked.answer.is_none()) {
                return None;
            }
            let answer = self.planning.take().and_then(|asked| asked.answer).filter(|_| stands);
            match answer {
                Some(Ok((treatment, why))) => {
                    let forbidden = self.forbidden_now(need.key, now);
                    let changed =
                        || self.misfit(&treatment, now).map(|misfit| changed_meanwhile(need, &misfit));
                    return Some(forbidden.or_else(changed).map_or(Ok((treatment, why)), Err));
                }
                Some(Err(refused)) => return Some(Err(refused)),
                None => {}
            }
        }
        self.plans_asked += 1;
        match self.prepare(self.plans_asked, need, now) {
            Err(refused) => Some(Err(refused)),
            Ok(job) => {
                self.planning = Some(Asked {
                    number: job.number,
                    key: job.key,
                    policy: self.policy.clone(),
                    changed_until: self.changed_until,
                    job: Some(job),
                    answer: None,
                });
                None
            }
        }
    }

    /// An answer that no need has taken when all were considered is of no use.
    pub(super) fn drop_answer(&mut self) {
        self.planning.take_if(|asked| asked.answer.is_some());
    }
}

/// Not planned anew at once: what changes all the time would have this doctor plan all the time.
fn changed_meanwhile(need: &Need, misfit: &str) -> Refused {
    let what = misfit.trim_start_matches("expired: ");
    let message =
        format!("broker {}: while its treatment was planned, {what}; it is planned anew soon", need.key.1);
    Refused { rule: Rule::StaleData, message }
}
