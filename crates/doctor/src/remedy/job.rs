//! Planning moves of data. For a large cluster that takes longer than a step of the engine may, so everything that it needs
//! is taken along, and whoever has the time does it.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_api::Throttle;
use doctorkafka_diagnosis::{Moment, Resource};
use doctorkafka_planner::{Proposal, Refused, Remedy as Plan, Rule, Shortfall, WORTH_IT, propose};
use doctorkafka_wire::{BrokerId, Network, PartitionChange};

use super::{moves, offers::Key, treatment};
use crate::{
    execute::Treatment,
    load::{BrokerFacts, LoadLimits, LoadModel},
    topics::TopicTable,
    wording::about,
};

/// A treatment and why each of its changes is made, or the rule that forbids one.
pub(crate) type Planned = Result<(Treatment, Vec<String>), Refused>;

/// Everything that planning needs, as it was when the plan was asked for. The same always gives the same plan.
#[derive(Debug)]
pub(crate) struct PlanJob {
    /// Tells the answer to this from an answer to an earlier one.
    pub number: u64,
    pub key: Key,
    /// What is wrong, for people.
    pub why: String,
    pub what: Plan,
    /// What is short on the broker to relieve.
    pub resource: Option<Resource>,
    pub brokers: Vec<BrokerFacts>,
    /// Brokers that are given replicas only when no other can take any.
    pub last_resort: BTreeSet<BrokerId>,
    pub limits: LoadLimits,
    pub loads: LoadModel,
    pub topics: TopicTable,
    /// What the brokers' networks carry, as far as it is known.
    pub networks: BTreeMap<BrokerId, Network>,
    pub throttle: Throttle,
    /// Loads that were read before this moment may not be what they are.
    pub changed_until: Moment,
    pub now: Moment,
}

impl PlanJob {
    /// The share of what is short that the plan takes off the broker to relieve; all for what is not about relief.
    fn gain(&self, plan: &Proposal<'_>) -> f64 {
        let figures: &[usize] = match self.resource {
            Some(Resource::Cpu) => &[0],
            Some(Resource::Network) => &[1, 2],
            Some(Resource::Disk) => &[3],
            Some(Resource::Memory) | None => return 1.0,
        };
        let Some((before, after)) = plan.loads_of(self.key.1.0) else { return 0.0 };
        let share = |k: &usize| if before[*k] > 0.0 { 1.0 - after[*k] / before[*k] } else { 0.0 };
        figures.iter().map(share).fold(0.0, f64::max)
    }

    /// Plans.
    pub fn run(mut self) -> Planned {
        let planned = self.plan();
        if self.last_resort.is_empty()
            || !matches!(&planned, Err(refused) if refused.rule == Rule::NoEligibleTarget)
        {
            return planned;
        }
        let hot: Vec<String> = self.last_resort.iter().map(|id| format!("broker {id}")).collect();
        let hot = hot.join(" and ");
        self.why = format!("{}; {hot} would take it although overloaded: no other can", self.why);
        for facts in &mut self.brokers {
            facts.takes |= self.last_resort.contains(&facts.id);
        }
        self.plan()
    }

    fn plan(&self) -> Planned {
        let (remedy, broker) = self.key;
        let modelled = self.loads.instance(self.now, &self.brokers, &self.limits)?;
        let unknown = |rule, what: String| Refused { rule, message: about(Some(broker), &what) };
        if modelled.oldest <= self.changed_until {
            let what = "the loads have not been read since the last treatment; the next reading lifts this";
            return Err(unknown(Rule::StaleData, what.to_owned()));
        }
        if self.resource == Some(Resource::Cpu) && !modelled.gaps.without_cpu.is_empty() {
            let brokers: Vec<String> = modelled.gaps.without_cpu.iter().map(ToString::to_string).collect();
            let what = format!(
                "the CPU use of brokers {} is not known; lifted by their next reports",
                brokers.join(", ")
            );
            return Err(unknown(Rule::UnknownLoad, what));
        }
        let refused = |shortfall: &Shortfall| unknown(Rule::NoEligibleTarget, shortfall.message.clone());
        let plan = propose(&modelled.instance, &self.what).map_err(|shortfall| refused(&shortfall))?;
        let short = plan.shortfalls.first().filter(|_| plan.changes().next().is_some());
        if let Some(shortfall) = short.filter(|_| self.gain(&plan) < WORTH_IT) {
            let percent = WORTH_IT * 100.0;
            let what =
                format!("less than {percent:.0}% of its load could be taken off it; {}", shortfall.message);
            return Err(unknown(Rule::TooLittleGain, what));
        }
        let bytes = |topic: &str, partition| self.loads.bytes(topic, partition).unwrap_or_default();
        let asked = moves::changes(&plan, &self.topics, bytes);
        let (changes, why): (Vec<PartitionChange>, Vec<String>) = asked.changes.into_iter().unzip();
        let throttle = moves::throttle(self.throttle, &changes, |id| self.networks.get(&id));
        treatment(broker, remedy, self.why.clone(), changes, throttle).map(|it| (it, why)).ok_or_else(|| {
            match plan.shortfalls.first() {
                Some(shortfall) => refused(shortfall),
                None if asked.leaderless > 0 => unknown(
                    Rule::NoEligibleTarget,
                    format!(
                        "{} partitions have no leader to copy from: all their in-sync replicas are gone; lifted when one of \
                         them is back",
                        asked.leaderless
                    ),
                ),
                None if self.resource == Some(Resource::Disk) && self.loads.going(broker) > 0 => unknown(
                    Rule::CoolDown,
                    "what was moved away or deleted is still on its disk; lifted when Kafka takes it off, \
                     log.segment.delete.delay.ms later"
                        .to_owned(),
                ),
                None => Refused {
                    rule: Rule::NothingToMove,
                    message: format!("{}; moving replicas would not better it", self.why),
                },
            }
        })
    }
}
