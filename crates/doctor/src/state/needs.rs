//! What the cluster needs, by what is diagnosed and what people ask for.

use doctorkafka_diagnosis::{BrokerState, Moment, Resource};
use doctorkafka_kafka::TopicInfo;
use doctorkafka_planner::{Refused, Rule};
use doctorkafka_wire::BrokerId;

use super::{EngineState, intake::SeenTopics};
use crate::remedy::{Remedy, demotion, offers::Key};

/// A broker with less than this share of the average has work to be brought back to it.
const EMPTY_BELOW: f64 = 0.5;

/// Below so many replicas on the average, evenness is nothing to move data for.
const WORTH_SPREADING: f64 = 4.0;

/// Something that should be done.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub key: Key,
    /// What is wrong, for people.
    pub why: String,
    /// Why it is too early to do it.
    pub too_early: Option<Refused>,
    /// Whether the loads of the partitions have to be known for it, soon.
    pub wants_loads: bool,
}

impl EngineState {
    /// What the cluster needs, the most urgent first.
    pub(super) fn needs(&self, now: Moment) -> Vec<Need> {
        let Some(seen) = self.sure_topics(now) else { return Vec::new() };
        let holds = |id: &BrokerId| seen.tally.replicas.get(id).copied().unwrap_or_default();
        let mut needs: Vec<Need> = self.lost_brokers(seen, now).collect();
        for id in self.policy.drain.iter().filter(|id| holds(id) > 0 && self.in_service.contains(id)) {
            let why = format!("the policy asks for broker {id} to be drained");
            needs.push(Need::of(Remedy::Drain, *id, why));
        }
        for id in self.policy.demote.iter().filter(|id| self.in_service.contains(id)) {
            let (changes, stuck) = demotion::demote(*id, &seen.topics, |heir| self.may_lead(heir));
            if !changes.is_empty() || stuck > 0 {
                let why = format!("the policy asks for broker {id} to lead nothing");
                needs.push(Need::of(Remedy::Demotion, *id, why));
            }
        }
        needs.extend(self.overloaded());
        needs.extend(self.nearly_empty(seen));
        let creditors = self.loans.creditors().filter(|id| self.may_lead(*id) && self.is_healthy(*id));
        for id in creditors.filter(|id| self.loans.give_back(*id, &seen.topics).is_some()) {
            let why = format!("broker {id} is fit to lead again");
            needs.push(Need::of(Remedy::LeadershipReturn, id, why));
        }
        needs.sort_by_key(|need| need.key);
        needs
    }

    /// Overloaded brokers: leaderships where they help, or else replicas where those do.
    fn overloaded(&self) -> impl Iterator<Item = Need> + '_ {
        let diagnoses = self.diagnostician.diagnoses().iter();
        let overloaded = diagnoses.filter(|(_, diagnosis)| diagnosis.state == BrokerState::Overloaded);
        overloaded.filter_map(|(id, diagnosis)| {
            let why = format!("broker {id} is overloaded: {}", diagnosis.message);
            if self.advice.iter().any(|advice| advice.broker == *id) {
                return Some(Need::of(Remedy::LeadershipRelief, *id, why));
            }
            // What keeps leaderships for a moment is no reason to move data instead.
            let passing = [
                Rule::UnderReplicated,
                Rule::UnknownLoad,
                Rule::StaleData,
                Rule::TooManyOverloaded,
                Rule::TooManyUnhealthy,
            ];
            let passes = |rule: &str| passing.iter().any(|it| it.as_str() == rule);
            if self.refusals.iter().any(|it| it.broker == Some(*id) && passes(it.rule)) {
                let key = (Remedy::LeadershipRelief, *id);
                return self.offers.contains_key(&key).then(|| Need::of(key.0, key.1, why));
            }
            let replicas_help =
                matches!(diagnosis.resource, Some(Resource::Cpu | Resource::Network | Resource::Disk));
            replicas_help.then(|| Need::of(Remedy::ReplicaRelief, *id, why))
        })
    }

    /// Healthy brokers that hold next to nothing, while the others hold a lot.
    fn nearly_empty(&self, seen: &SeenTopics) -> Vec<Need> {
        // Counted once for each reading: only what never moves is to be taken off.
        let mut held = seen.tally.replicas.clone();
        for topic in seen.topics.iter().filter(|topic| self.is_pinned(topic)) {
            for replica in topic.partitions.iter().flat_map(|partition| &partition.replicas) {
                held.entry(*replica).and_modify(|held| *held = held.saturating_sub(1));
            }
        }
        let average = held.values().sum::<usize>() as f64 / self.in_service.len().max(1) as f64;
        if average < WORTH_SPREADING {
            return Vec::new();
        }
        let fit =
            self.in_service.iter().filter(|id| self.is_healthy(**id) && !self.policy.drain.contains(id));
        let held_by = |id: &BrokerId| held.get(id).copied().unwrap_or_default();
        fit.filter(|id| (held_by(id) as f64) < EMPTY_BELOW * average)
            .map(|id| {
                let why = format!(
                    "broker {id} has room: it holds {} replicas, and {average:.0} would be its share",
                    held_by(id)
                );
                Need::of(Remedy::Refill, *id, why)
            })
            .collect()
    }

    /// Whether a topic is never moved for load: the doctor's own, and Kafka's internal ones.
    pub(super) fn is_pinned(&self, topic: &TopicInfo) -> bool {
        let own = &self.policy.topics;
        topic.internal || topic.name == own.metrics || topic.name == own.actions_log
    }

    /// Whether a broker may be given leaderships.
    pub(super) fn may_lead(&self, id: BrokerId) -> bool {
        let sick = self.diagnostician.diagnoses().get(&id).is_none_or(|diagnosis| {
            matches!(
                diagnosis.state,
                BrokerState::Unhealthy | BrokerState::Overloaded | BrokerState::Maintenance
            )
        });
        self.in_service.contains(&id)
            && !sick
            && !self.policy.demote.contains(&id)
            && !self.policy.drain.contains(&id)
    }
}

impl Need {
    pub(super) fn of(remedy: Remedy, broker: BrokerId, why: String) -> Self {
        let wants_loads = matches!(remedy, Remedy::Drain | Remedy::ReplicaRelief | Remedy::Refill);
        Self { key: (remedy, broker), why, too_early: None, wants_loads }
    }
}
