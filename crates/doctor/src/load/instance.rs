//! From what is known of the loads to an instance for the planner, or to the rule that forbids one.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use doctorkafka_diagnosis::Moment;
use doctorkafka_planner::{Builder, Instance, Load, NodeState, Refused, Rule};
use doctorkafka_wire::BrokerId;

use super::{
    LoadModel, Measured,
    estimate::Rates,
    model::Seen,
    pace::{fresh_for, often},
    snapshot::{BrokerLook, Missing},
};

/// Brokers that a message lists, at the most.
const LISTED: usize = 5;

/// Bytes of a megabyte, and of a kilobyte, as the planner counts them.
const MB: f64 = 1e6;
const KB: f64 = 1e3;

/// What the planner is to know of a broker besides its loads.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerFacts {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Its `broker.rack`. Brokers without one are in one rack together.
    pub rack: Option<String>,
    /// Whether it counts as living.
    pub state: NodeState,
    /// Whether it may be given replicas.
    pub takes: bool,
    /// Whether it may be given leaderships.
    pub leads: bool,
    /// What it was measured to use, if its newest report is fresh.
    pub report: Option<Measured>,
    /// The share of its volumes that may be used, percent, everything on them counted.
    pub disk_limit_percent: f64,
}

/// What the planner has to keep to, and what it needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadLimits {
    /// The share of a capacity that a broker may use: CPU, network in, network out. The limit of its disk comes with the
    /// broker.
    pub threshold: [f64; 3],
    /// How old the sizes may be; by the number of partitions ([`fresh_for`]) when absent.
    pub max_age: Option<Duration>,
    /// Whether what partitions take in has to be known, for which two snapshots are needed.
    pub needs_rates: bool,
    /// Topics that are never moved for load, besides those that are internal to Kafka.
    pub pinned: Vec<String>,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self { threshold: [0.8; 3], max_age: None, needs_rates: false, pinned: Vec::new() }
    }
}

/// A cluster for the planner, with what is not known of it.
#[derive(Debug)]
pub struct Modelled {
    /// The cluster.
    pub instance: Instance,
    /// Whether nothing at all had to be left out or taken for average.
    pub complete: bool,
    /// When the oldest part of it was read.
    pub oldest: Moment,
    /// What is not known.
    pub gaps: Gaps,
}

/// What is not known of a cluster that can be planned for all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Partitions of which no living broker told a size; they count as empty.
    pub unsized_partitions: usize,
    /// Partitions that were seen only once, so that what they take in is not known; they count as idle.
    pub unrated_partitions: usize,
    /// Living brokers whose processor use is not known. When it is of none, the CPU has no part in the plan.
    pub without_cpu: Vec<BrokerId>,
    /// Living brokers of whose traffic to consumers nothing is known.
    pub without_consumers: Vec<BrokerId>,
    /// Whether what the network carries is not known of each living broker, so that it has no limit.
    pub network_unlimited: bool,
    /// Partitions that are being reassigned; what is coming counts as held.
    pub reassigning: usize,
}

impl LoadModel {
    /// Puts an instance together. Leaders are those of the newest snapshot, and stand first.
    ///
    /// Disk: a replica weighs what its broker told; one that is being made, is not in sync, or is on a broker that is not in
    /// service weighs what its leader has. A broker's capacity is what its limit leaves to replicas, so that everything else
    /// on its volumes is counted, and the whole of it may be used. CPU is in percent of the average broker's limit.
    ///
    /// # Errors
    /// [`Rule::StaleData`] when the loads have not been read yet, are too old, or the brokers have changed since;
    /// [`Rule::UnknownLoad`] when a part of them cannot be read. The message says what is missing and what would lift it.
    pub fn instance(
        &self,
        now: Moment,
        brokers: &[BrokerFacts],
        limits: &LoadLimits,
    ) -> Result<Modelled, Refused> {
        let seen = self.seen().ok_or_else(|| {
            stale(
                "sizes and traffic of the partitions have not been read yet; the first reading is under way"
                    .to_owned(),
            )
        })?;
        let oldest = seen.check(now, brokers, limits)?;
        let measured =
            brokers.iter().filter_map(|broker| Some((broker.id, broker.report?))).collect::<BTreeMap<_, _>>();
        let mut making = Making {
            seen,
            rates: Rates::new(seen, &measured),
            unit: mean(measured.values().filter_map(|measured| Some(measured.cpu_cores?.1))),
            gaps: seen.gaps(brokers),
        };
        let instance = making.build(brokers, limits).map_err(|invalid| {
            // Every part was checked above. Should a rule of the planner's be missed, the plan is refused by it.
            unknown(format!("the loads make no sense: {invalid}"))
        })?;
        let gaps = making.gaps;
        Ok(Modelled { complete: gaps == Gaps::default(), instance, oldest, gaps })
    }
}

impl Seen {
    /// When the oldest part was read, if there is enough to plan on.
    fn check(&self, now: Moment, facts: &[BrokerFacts], limits: &LoadLimits) -> Result<Moment, Refused> {
        let snapshot = &self.snapshot;
        let partitions = snapshot.partitions();
        if let Err(missing) = &snapshot.reassigning {
            return Err(unknown(in_words("reassignments under way are not known", missing)));
        }
        self.check_brokers(facts)?;
        let in_service = || snapshot.brokers.iter().filter(|(_, look)| look.in_service);
        let lacks = |look: &BrokerLook| look.disk.is_none_or(|disk| disk.volume.is_none());
        let lacking: Vec<BrokerId> =
            in_service().filter(|(_, look)| lacks(look)).map(|(id, _)| *id).collect();
        if let Some(first) = lacking.first().and_then(|id| snapshot.brokers.get(id)) {
            let what = format!("sizes of the replicas on {} are not known", broker_list(&lacking));
            return Err(unknown(match &first.missing {
                Some(missing) => in_words(&what, missing),
                None => format!(
                    "{what}: DescribeLogDirs tells no size of a volume, or all directories are offline; a broker of \
                     Kafka 3.3 or newer with a directory that is online would lift this"
                ),
            }));
        }
        let oldest = in_service().filter_map(|(_, look)| Some(look.disk?.at)).min().unwrap_or(snapshot.at);
        let limit = limits.max_age.unwrap_or_else(|| fresh_for(partitions));
        // No message says how old: it would be another one every second.
        if now.since(oldest) > limit {
            let old = |look: &BrokerLook| look.disk.is_some_and(|disk| now.since(disk.at) > limit);
            let late: Vec<BrokerId> = in_service().filter(|(_, look)| old(look)).map(|(id, _)| *id).collect();
            let why = late.iter().find_map(|id| snapshot.brokers.get(id)?.missing.as_ref());
            return Err(stale(format!(
                "sizes of the replicas on {} were read more than {limit:?} ago; {}",
                broker_list(&late),
                why.map_or_else(next_reading, |missing| in_words("they could not be read again", missing)),
            )));
        }
        if snapshot.unseen.replicas > 0 && self.unseen_before {
            let topics: Vec<&str> = snapshot.unseen.topics.iter().map(String::as_str).collect();
            return Err(unknown(format!(
                "{} replicas are in the brokers' directories whose topics Kafka does not show to this user: {} ...; \
                 DESCRIBE on all topics would lift this",
                snapshot.unseen.replicas,
                topics.join(", "),
            )));
        }
        if limits.needs_rates && partitions > 0 && (0..partitions).all(|at| self.bytes_in(at).is_none()) {
            return Err(unknown(format!(
                "the traffic of the partitions is not known yet: it takes two readings, the second of which comes within \
                 {:?}",
                often(partitions)
            )));
        }
        Ok(oldest)
    }

    /// Whether the brokers that are looked at are those of the snapshot, in the same state.
    fn check_brokers(&self, facts: &[BrokerFacts]) -> Result<(), Refused> {
        let snapshot = &self.snapshot;
        let changed = |broker: BrokerId, how: &str| {
            stale(format!("broker {broker} {how} since the loads were read; {}", next_reading()))
        };
        for broker in facts {
            let look = snapshot.brokers.get(&broker.id);
            let was_in_service = look.is_some_and(|look| look.in_service);
            let alive = broker.state != NodeState::Dead;
            if alive && look.is_none() && broker.takes {
                return Err(changed(broker.id, "has come"));
            }
            if alive && broker.takes && !was_in_service {
                return Err(changed(broker.id, "has come back"));
            }
            if !alive && was_in_service {
                return Err(changed(broker.id, "has gone"));
            }
        }
        let known: HashSet<BrokerId> = facts.iter().map(|broker| broker.id).collect();
        let holders = (0..snapshot.partitions()).flat_map(|partition| snapshot.held(partition));
        let mut all = snapshot.brokers.keys().copied().chain(holders.map(|replica| replica.broker));
        match all.find(|id| !known.contains(id)) {
            Some(id) => Err(changed(id, "has come or gone")),
            None => Ok(()),
        }
    }

    fn gaps(&self, facts: &[BrokerFacts]) -> Gaps {
        let snapshot = &self.snapshot;
        let alive = || facts.iter().filter(|broker| broker.state != NodeState::Dead);
        let without = |known: fn(&Measured) -> bool| {
            alive()
                .filter(|broker| !broker.report.as_ref().is_some_and(known))
                .map(|broker| broker.id)
                .collect()
        };
        let all = 0..snapshot.partitions();
        Gaps {
            unsized_partitions: all.clone().filter(|at| snapshot.bytes_of(*at).is_none()).count(),
            unrated_partitions: all.filter(|at| self.bytes_in(*at).is_none()).count(),
            without_cpu: without(|measured| measured.cpu_cores.is_some()),
            without_consumers: without(|measured| measured.out.or(measured.out_to_clients).is_some()),
            network_unlimited: network_capacity(facts).is_none(),
            reassigning: snapshot.reassigning.as_ref().copied().unwrap_or_default(),
        }
    }
}

/// An instance in the making.
struct Making<'a> {
    seen: &'a Seen,
    rates: Rates,
    /// Cores of the average broker, whose percent the CPU is counted in.
    unit: Option<f64>,
    gaps: Gaps,
}

/// One partition's replicas, the leader first, with what they weigh.
#[derive(Default)]
struct Row {
    brokers: Vec<i32>,
    load: Vec<Load>,
    lead: Load,
}

impl Making<'_> {
    fn build(
        &mut self,
        facts: &[BrokerFacts],
        limits: &LoadLimits,
    ) -> Result<Instance, doctorkafka_planner::Invalid> {
        let [cpu, network_in, network_out] = limits.threshold;
        let snapshot = &self.seen.snapshot;
        let mut row = Row::default();
        let (mut total, mut on_disk) = (Load::default(), BTreeMap::<BrokerId, f64>::new());
        for partition in 0..snapshot.partitions() {
            self.fill(&mut row, partition);
            for (broker, load) in row.brokers.iter().zip(&row.load) {
                total.iter_mut().zip(load).for_each(|(sum, value)| *sum += value);
                *on_disk.entry(BrokerId(*broker)).or_default() += load[3];
            }
            total.iter_mut().zip(row.lead).for_each(|(sum, value)| *sum += value);
        }
        let mut builder = Builder::new("live", [cpu, network_in, network_out, 1.0], None)?;
        // What has no limit can be carried by any one broker alone, twice; the same for all, so that all get as much.
        let unlimited = |all: f64, share: f64| (2.0 * all / share).max(1.0);
        let network = network_capacity(facts);
        for broker in facts {
            let cores = broker.report.and_then(|report| report.cpu_cores).map(|(_, limit)| limit);
            let percent = cores.zip(self.unit).map_or(100.0, |(cores, unit)| 100.0 * cores / unit);
            let link = network.as_ref().and_then(|network| network.get(&broker.id)).map(|bytes| bytes / KB);
            let held = on_disk.get(&broker.id).copied().unwrap_or_default();
            let capacity = [
                percent,
                link.unwrap_or_else(|| unlimited(total[1], network_in)),
                link.unwrap_or_else(|| unlimited(total[2], network_out)),
                self.disk(broker, held).unwrap_or_else(|| unlimited(held, 1.0)),
            ];
            let rack = broker.rack.as_deref().unwrap_or_default();
            let node = builder.broker(broker.id.0, rack, broker.state, capacity)?;
            (node.takes, node.leads) = (broker.takes, broker.leads);
        }
        for (topic, partitions) in snapshot.topics() {
            let pinned = topic.internal || limits.pinned.iter().any(|name| **name == *topic.name);
            for partition in partitions {
                self.fill(&mut row, partition);
                let number = snapshot.partitions[partition].number;
                if row.brokers.is_empty() {
                    continue;
                }
                builder.partition(&topic.name, number, &row.brokers, &row.load, &row.lead)?;
                if pinned {
                    builder.pin_last();
                }
            }
        }
        builder.finish()
    }

    /// MB that a broker may give to replicas: what its limit leaves when everything else on its volumes is taken off. What
    /// is about to be deleted makes no broker full of those it has, and no room for others.
    fn disk(&self, broker: &BrokerFacts, held: f64) -> Option<f64> {
        let look = self.seen.snapshot.brokers.get(&broker.id).filter(|look| look.in_service)?;
        let disk = look.disk?;
        let limit = broker.disk_limit_percent * 0.01 * disk.volume?.total as f64;
        let room = (limit - disk.others()? as f64) / MB;
        let freed = (room + disk.going() as f64 / MB).min(held);
        // A broker that has nothing left can hold nothing, and must have a capacity all the same.
        Some(room.max(freed).max(1.0))
    }

    fn fill(&self, row: &mut Row, partition: usize) {
        let snapshot = &self.seen.snapshot;
        let held = snapshot.held(partition);
        let bytes_in = self.seen.bytes_in(partition).unwrap_or(0.0);
        let leader = snapshot.leader(partition).or_else(|| {
            held.iter().find(|replica| replica.in_sync).or(held.first()).map(|replica| replica.broker)
        });
        let whole = snapshot.bytes_of(partition).unwrap_or(0);
        row.brokers.clear();
        row.load.clear();
        let Some(leader) = leader else { return };
        let first = held.iter().filter(|replica| replica.broker == leader);
        for replica in first.chain(held.iter().filter(|replica| replica.broker != leader)) {
            let bytes = match replica.bytes() {
                Some(bytes) if replica.in_sync && !replica.coming => bytes,
                other => other.unwrap_or(0).max(whole),
            };
            let cpu = self.percent(self.rates.cpu_of_following(replica.broker, bytes_in));
            row.brokers.push(replica.broker.0);
            row.load.push([cpu, bytes_in / KB, 0.0, bytes as f64 / MB]);
        }
        let out = self.rates.out(leader, held.len(), bytes_in);
        row.lead = [self.percent(self.rates.cpu_of_leading(leader, bytes_in, out)), 0.0, out / KB, 0.0];
    }

    fn percent(&self, cores: f64) -> f64 {
        self.unit.map_or(0.0, |unit| 100.0 * cores / unit)
    }
}

/// What the link of each living broker carries, if that is known of all.
fn network_capacity(facts: &[BrokerFacts]) -> Option<BTreeMap<BrokerId, f64>> {
    facts
        .iter()
        .filter(|broker| broker.state != NodeState::Dead)
        .map(|broker| Some((broker.id, broker.report?.network_capacity?)))
        .collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn broker_list(brokers: &[BrokerId]) -> String {
    let ids: Vec<String> = brokers.iter().take(LISTED).map(ToString::to_string).collect();
    let more = brokers.len().saturating_sub(LISTED);
    let noun = if brokers.len() == 1 { "broker" } else { "brokers" };
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{noun} {}{rest}", ids.join(", "))
}

fn in_words(what: &str, missing: &Missing) -> String {
    let lift = match missing.denied {
        true => "DESCRIBE on the cluster, given to the doctor's user, would lift this",
        false => "it is tried again at the next reading",
    };
    format!("{what}: {}; {lift}", missing.message)
}

fn next_reading() -> String {
    "the next reading lifts this".to_owned()
}

fn stale(message: String) -> Refused {
    Refused { rule: Rule::StaleData, message }
}

fn unknown(message: String) -> Refused {
    Refused { rule: Rule::UnknownLoad, message }
}
