//! Brokers that are gone, when their replicas are made anew, and what gives way to that.

use std::time::Duration;

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::{BrokerState, Moment, Reason};
use doctorkafka_planner::{Refused, Rule};
use doctorkafka_wire::BrokerId;
use jiff::Timestamp;

use super::{EngineState, intake::SeenTopics, needs::Need};
use crate::remedy::Remedy;

/// So long what runs does not give way again to a healing that could not be planned: it is time for what it does, and for what may
/// lift the refusal.
const YIELD_AGAIN: Duration = Duration::from_secs(300);

/// Loads are read before the grace period of a lost broker is over, so that a plan can be made at its end.
const LOOK_AHEAD: Duration = Duration::from_secs(60);

impl EngineState {
    /// Notes since when each broker is gone: dead to the doctor and out of service to Kafka, without a break. What is not
    /// known for a while is no break.
    pub(super) fn notice_gone(&mut self, now: Moment, wall: Timestamp) {
        let diagnoses = self.diagnostician.diagnoses();
        self.gone.retain(|id, _| {
            diagnoses.get(id).is_some_and(|diagnosis| {
                matches!(diagnosis.state, BrokerState::Unhealthy | BrokerState::Unknown)
            })
        });
        for (id, diagnosis) in diagnoses {
            // One that hangs, or that Kafka alone does not hear of, has its data and may come back any moment; one that is
            // restarted on purpose will.
            let may_be =
                !matches!(diagnosis.reason, Reason::Unresponsive | Reason::Fenced | Reason::RollingUpdate);
            let unhealthy = diagnosis.state == BrokerState::Unhealthy;
            if unhealthy && may_be && !self.in_service.contains(id) {
                self.gone.entry(*id).or_insert((now, wall));
            } else if unhealthy {
                self.gone.remove(id);
            }
        }
    }

    /// Whether a broker is gone at this moment.
    pub(super) fn is_gone(&self, id: BrokerId) -> bool {
        let unhealthy =
            |id| self.diagnostician.diagnoses().get(id).is_some_and(|it| it.state == BrokerState::Unhealthy);
        self.gone.contains_key(&id) && unhealthy(&id) && !self.in_service.contains(&id)
    }

    /// What the brokers need that are gone and hold something.
    pub(super) fn lost_brokers<'a>(
        &'a self,
        seen: &'a SeenTopics,
        now: Moment,
    ) -> impl Iterator<Item = Need> + 'a {
        let gone = self.gone.iter().filter(|(id, _)| self.is_gone(**id));
        gone.filter_map(move |(id, since)| {
            let holds = seen.tally.replicas.get(id).copied().filter(|holds| *holds > 0)?;
            Some(self.lost(*id, *since, holds, now))
        })
    }

    /// The broker whose replicas are to be made anew now, before anything else is begun or gone on with.
    ///
    /// One that cannot be helped at present holds up nothing: no plan could be made lately, people have not approved or have
    /// rejected it, it has failed and is tried again later, or a rule forbids to begin it. Otherwise what gave way would be begun
    /// and give way again without end. While a treatment is under way nothing is planned, so that only time lifts the first.
    pub(super) fn heals_first(&self, now: Moment, wall: Timestamp) -> Option<BrokerId> {
        // While a treatment is under way, its own changes make the topics unsure, and who holds replicas still is known.
        let seen = self.topics.as_ref().filter(|seen| seen.are_fresh(now))?;
        let due = self.lost_brokers(seen, now).filter(|need| need.too_early.is_none());
        let can_begin = |need: &Need| {
            let (remedy, _) = need.key;
            let offered = self.offers.get(&need.key).map(|offer| &offer.proposed.treatment);
            // Of an earlier leader's, not taken up while a treatment is under way.
            let inherited = || self.proposals.inherited().find(|(key, ..)| **key == need.key).map(|it| it.1);
            let proposed = offered.or_else(inherited);
            let unplanned = self.unplanned.get(&need.key);
            let is_wanted = match remedy.mode(&self.policy) {
                EffectiveMode::Auto => true,
                // It is proposed first, which takes a cluster that nothing else is done to.
                EffectiveMode::Approve => proposed.is_none_or(|treatment| {
                    self.decision(treatment.digest()).is_some_and(|decision| decision.approved)
                }),
                EffectiveMode::Observe | EffectiveMode::Recommend | EffectiveMode::Paused => false,
            };
            is_wanted
                && !self.proposals.is_rejected(&need.key)
                && unplanned.is_none_or(|(tried, _)| now.since(*tried) >= YIELD_AGAIN)
                && !self.is_paused(&need.key, now)
                && self.reason_to_wait(now, wall, need.key).is_none()
        };
        due.filter(can_begin).map(|need| need.key.1).next()
    }

    /// Why a treatment gives way. What is being healed is not given up for another broker.
    pub(super) fn gives_way(&self, remedy: Remedy, now: Moment, wall: Timestamp) -> Option<String> {
        let id = self.heals_first(now, wall).filter(|_| remedy != Remedy::BrokerFailure)?;
        Some(format!("broker {id} is lost, and what it held is made anew before anything else"))
    }

    /// What a lost broker needs, and whether it is too early for it.
    fn lost(&self, id: BrokerId, since: (Moment, Timestamp), replicas: usize, now: Moment) -> Need {
        let grace = self.policy.heal_after;
        let passed = now.since(since.0);
        let what = self.diagnostician.diagnoses().get(&id).map(|diagnosis| diagnosis.message.clone());
        let mut need = Need::of(
            Remedy::BrokerFailure,
            id,
            format!("broker {id} is gone since {:.0}: {}", since.1, what.unwrap_or_default()),
        );
        need.wants_loads = passed + LOOK_AHEAD >= grace;
        let platform = self.diagnostician.platform();
        need.too_early = if passed < grace {
            let until = since.1.checked_add(grace).unwrap_or(since.1);
            Some(Refused {
                rule: Rule::GracePeriod,
                message: format!(
                    "broker {id}: its {replicas} replicas are not made anew yet: it is gone since {:.0} and has to be for \
                     {}; at {until:.0} they are, unless it returns",
                    since.1,
                    doctorkafka_api::Duration::from_secs(grace.as_secs())
                ),
            })
        } else if platform.is_asked()
            && !self.policy.drain.contains(&id)
            && platform.will_not_return(id, now).is_none()
        {
            Some(Refused {
                rule: Rule::MayReturn,
                message: format!(
                    "broker {id}: its {replicas} replicas are not made anew: it is gone since {:.0}, and its pod may come \
                     back; lifted when its pod, node or volume is gone, or by draining the broker",
                    since.1
                ),
            })
        } else {
            None
        };
        need
    }
}
