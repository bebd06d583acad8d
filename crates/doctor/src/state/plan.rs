//! Planning what the cluster needs, or the rule that forbids it.

use std::collections::BTreeSet;

use doctorkafka_diagnosis::{BrokerState, Moment, Resource};
use doctorkafka_planner::{BELOW, NodeState, Refused, Remedy as Plan, Rule};
use doctorkafka_wire::{BrokerId, PartitionChange};

use super::{EngineState, intake::SeenTopics, needs::Need};
use crate::{
    execute::Treatment,
    load::{BrokerFacts, LoadLimits, Measured},
    loans,
    remedy::{
        Remedy, demotion,
        job::{PlanJob, Planned},
        offers::Key,
        treatment,
    },
    wording::about,
};

/// A limit that is none.
const UNLIMITED: f64 = 1e9;

impl EngineState {
    /// Plans what a need asks for. `None` while that is being done elsewhere.
    pub(super) fn plan(&mut self, need: &Need, now: Moment) -> Option<Planned> {
        match need.key.0 {
            Remedy::BrokerFailure | Remedy::Drain | Remedy::ReplicaRelief | Remedy::Refill => {
                self.plan_elsewhere(need, now)
            }
            Remedy::LeadershipRelief | Remedy::LeadershipReturn | Remedy::Demotion => {
                Some(self.plan_leaderships(need, now))
            }
        }
    }

    fn plan_leaderships(&self, need: &Need, now: Moment) -> Planned {
        let (remedy, broker) = need.key;
        let seen = self.topics_to_plan_on(broker, now)?;
        let nothing = || Refused {
            rule: Rule::NothingToMove,
            message: about(Some(broker), &format!("{}, and nothing of it can be changed", need.why)),
        };
        let treatment = match remedy {
            Remedy::LeadershipRelief => {
                let advice = self.advice.iter().find(|advice| advice.broker == broker).ok_or_else(nothing)?;
                loans::relief(broker, &advice.moves, &seen.topics, &need.why).ok_or_else(nothing)?
            }
            Remedy::LeadershipReturn => {
                self.healing_first(broker, seen)?;
                let back = self.loans.give_back(broker, &seen.topics).ok_or_else(nothing)?;
                self.can_bear(broker, &back, seen)?;
                back
            }
            _ => {
                let (changes, stuck) = demotion::demote(broker, &seen.topics, |heir| self.may_lead(heir));
                let demotion = treatment(broker, remedy, need.why.clone(), changes, None);
                demotion.ok_or_else(|| Refused {
                    rule: Rule::NoHeir,
                    message: format!(
                        "broker {broker} goes on leading {stuck} partitions: no other in-sync replica may lead them; lifted \
                         when one is in sync, or by more replicas"
                    ),
                })?
            }
        };
        Ok((treatment, Vec::new()))
    }

    /// Whether a broker stays well with the leaderships that it is given back: each is taken to bring what one leadership
    /// costs the broker that leads it now. Otherwise it would be hot again, relieved again, and so on.
    fn can_bear(&self, broker: BrokerId, back: &Treatment, seen: &SeenTopics) -> Result<(), Refused> {
        for resource in [Resource::Cpu, Resource::Network] {
            let percent = |id| resource.percent(self.diagnostician.newest_report(id)?);
            let Some(load) = percent(broker) else { continue };
            let cost = |change: &PartitionChange| {
                let leader = seen.topics.partition(&change.topic, change.partition)?.leader?;
                let leads = seen.tally.leaders.get(&leader).copied().unwrap_or(1);
                percent(leader).filter(|_| leader != broker).map(|load| load / leads as f64)
            };
            let after = load + back.changes().iter().filter_map(cost).sum::<f64>();
            let limit = resource.threshold(&self.policy.detection).recovered_below;
            if after >= limit {
                // No figure of the moment: it would be another message every few seconds.
                let message = format!(
                    "broker {broker}: the {} leaderships that it is owed would bring its {} above {limit:.0}%, below which it counts \
                     as recovered; lifted when the load is lower",
                    back.changes().len(),
                    resource.title()
                );
                return Err(Refused { rule: Rule::WouldOverload, message });
            }
        }
        Ok(())
    }

    fn topics_to_plan_on(&self, broker: BrokerId, now: Moment) -> Result<&SeenTopics, Refused> {
        self.sure_topics(now).ok_or_else(|| Refused {
            rule: Rule::StaleData,
            message: format!("broker {broker}: the cluster's topics have not been read for too long"),
        })
    }

    /// Everything that planning moves of data needs, or the rule that forbids them whatever the plan.
    pub(super) fn prepare(&self, number: u64, need: &Need, now: Moment) -> Result<PlanJob, Refused> {
        let (remedy, broker) = need.key;
        let seen = self.topics_to_plan_on(broker, now)?;
        self.not_too_many(broker, remedy)?;
        if remedy != Remedy::BrokerFailure {
            self.healing_first(broker, seen)?;
        }
        let (what, resource) = match remedy {
            Remedy::BrokerFailure => (Plan::Heal, None),
            Remedy::Drain => (Plan::Evacuate([broker.0].into()), None),
            Remedy::Refill => (Plan::Refill([broker.0].into()), None),
            _ => {
                let resource = self.diagnostician.diagnoses().get(&broker).and_then(|it| it.resource);
                (Plan::Relieve([broker.0].into()), resource)
            }
        };
        let mut threshold = [UNLIMITED; 3];
        let below = |resource: Resource| resource.threshold(&self.policy.detection).recovered_below;
        match resource {
            Some(Resource::Cpu) => threshold[0] = below(Resource::Cpu) / 100.0 * BELOW,
            Some(Resource::Network) => threshold[1..].fill(below(Resource::Network) / 100.0 * BELOW),
            _ => {}
        }
        let own = &self.policy.topics;
        let limits = LoadLimits {
            threshold,
            needs_rates: matches!(resource, Some(Resource::Cpu | Resource::Network)),
            pinned: vec![own.metrics.clone(), own.actions_log.clone()],
            ..LoadLimits::default()
        };
        let full = (resource == Some(Resource::Disk)).then_some(broker);
        let known = self.diagnostician.diagnoses().keys();
        let network = |id: &BrokerId| Some((*id, self.diagnostician.newest_report(*id)?.network.clone()?));
        Ok(PlanJob {
            number,
            key: need.key,
            why: need.why.clone(),
            what,
            resource,
            brokers: self.broker_facts(now, (remedy == Remedy::BrokerFailure).then_some(broker), full),
            last_resort: if remedy == Remedy::BrokerFailure {
                self.last_resort(now)
            } else {
                BTreeSet::new()
            },
            limits,
            loads: self.loads.clone(),
            topics: seen.topics.clone(),
            networks: known.filter_map(network).collect(),
            throttle: self.policy.throttle,
            changed_until: self.changed_until,
            now,
        })
    }

    /// What the planner is to know of every broker. A broker that is `full` is to be brought under its recovery threshold.
    fn broker_facts(&self, now: Moment, dead: Option<BrokerId>, full: Option<BrokerId>) -> Vec<BrokerFacts> {
        let stale = self.stale_brokers(now);
        let unfit = self.diagnostician.platform().unfit_destinations(now);
        let disk = self.policy.detection.disk.recovered_below.min(self.policy.max_disk);
        let fact = |id: BrokerId| BrokerFacts {
            id,
            rack: self.brokers.get(&id).and_then(|info| info.rack.clone()),
            state: if dead == Some(id) { NodeState::Dead } else { NodeState::Alive },
            takes: self.may_take(id) && !unfit.contains_key(&id) && !stale.contains(&id),
            leads: self.may_lead(id),
            report: self.diagnostician.newest_report(id).filter(|_| !stale.contains(&id)).map(Measured::of),
            disk_limit_percent: if full == Some(id) { disk * BELOW } else { self.policy.max_disk },
        };
        let holders = self.topics.iter().flat_map(|seen| seen.tally.replicas.keys());
        let ids: BTreeSet<BrokerId> = self
            .diagnostician
            .diagnoses()
            .keys()
            .chain(self.brokers.keys())
            .chain(holders)
            .copied()
            .collect();
        ids.into_iter().map(fact).collect()
    }

    /// Whether a broker may be given replicas.
    pub(super) fn may_take(&self, id: BrokerId) -> bool {
        self.in_service.contains(&id) && self.is_healthy(id) && !self.policy.drain.contains(&id)
    }

    /// Overloaded brokers that are fit otherwise. A lost broker's work makes others hot, and as long as replicas are missing
    /// none of them is relieved: where they are all that is left, healing would wait for relief, and relief for healing.
    fn last_resort(&self, now: Moment) -> BTreeSet<BrokerId> {
        let unfit = self.diagnostician.platform().unfit_destinations(now);
        let stale = self.stale_brokers(now);
        let fit = |id: &BrokerId| self.may_heal(*id) && !unfit.contains_key(id) && !stale.contains(id);
        self.in_service.iter().copied().filter(fit).collect()
    }

    /// Whether an overloaded broker may be given what a lost one held, if need be.
    pub(super) fn may_heal(&self, id: BrokerId) -> bool {
        let state = self.diagnostician.diagnoses().get(&id).map(|diagnosis| diagnosis.state);
        state == Some(BrokerState::Overloaded)
            && self.in_service.contains(&id)
            && !self.policy.drain.contains(&id)
    }

    /// The rules of planning that may be broken only after something was planned.
    pub(super) fn forbidden_now(&self, (remedy, broker): Key, now: Moment) -> Option<Refused> {
        let moves =
            matches!(remedy, Remedy::BrokerFailure | Remedy::Drain | Remedy::ReplicaRelief | Remedy::Refill);
        let too_many = moves.then(|| self.not_too_many(broker, remedy).err()).flatten();
        let waits = matches!(
            remedy,
            Remedy::Drain | Remedy::ReplicaRelief | Remedy::Refill | Remedy::LeadershipReturn
        );
        too_many.or_else(|| {
            let seen = self.sure_topics(now).filter(|_| waits)?;
            self.healing_first(broker, seen).err()
        })
    }

    /// Too many down, and it is no broker that is ill; too many hot, and it is room that is missing.
    pub(super) fn not_too_many(&self, broker: BrokerId, remedy: Remedy) -> Result<(), Refused> {
        let diagnoses = self.diagnostician.diagnoses();
        let of = |state| diagnoses.iter().filter(move |(_, it)| it.state == state).map(|(id, _)| *id);
        let (all, down): (usize, Vec<BrokerId>) = (diagnoses.len(), of(BrokerState::Unhealthy).collect());
        let most = (all / 5).max(1);
        let rack = |id: &BrokerId| self.brokers.get(id).and_then(|info| info.rack.as_deref());
        let racks: BTreeSet<Option<&str>> = down.iter().map(rack).collect();
        if down.len() > most || racks.len() > 1 {
            let message = format!(
                "broker {broker}: {} of {all} brokers are down, in {} racks; with more than {most}, or in more than one rack, \
                 nothing is moved but by hand",
                down.len(),
                racks.len()
            );
            return Err(Refused { rule: Rule::TooManyUnhealthy, message });
        }
        let hot = of(BrokerState::Overloaded).count();
        if remedy == Remedy::ReplicaRelief && hot * 2 > all {
            let message = format!(
                "broker {broker}: {hot} of {all} brokers are overloaded, so that there is no room to move work to; add \
                 brokers, or larger ones"
            );
            return Err(Refused { rule: Rule::TooManyOverloaded, message });
        }
        Ok(())
    }

    fn healing_first(&self, broker: BrokerId, seen: &SeenTopics) -> Result<(), Refused> {
        let lacking = seen.tally.under_replicated;
        if lacking == 0 && !self.is_any_unhealthy() {
            return Ok(());
        }
        let message = format!(
            "broker {broker}: {lacking} partitions are under-replicated or a broker is down, and healing comes before \
             anything else; lifted when all replicas are in sync"
        );
        Err(Refused { rule: Rule::UnderReplicated, message })
    }
}
