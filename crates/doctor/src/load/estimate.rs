//! Attributing what a broker was measured to use to the partitions that it leads and follows.

use std::collections::BTreeMap;

use doctorkafka_wire::{BrokerId, BrokerReport};

use super::{model::Seen, snapshot::Replica};

/// What a byte costs a broker's processor, in shares that add up to one for a cluster of two replicas and one consumer:
/// a byte that a leader takes in, which is checked and may be compressed anew; one that it sends; and one that a follower
/// fetches and appends. Cruise Control has the same by default (`leader.network.inbound.weight.for.cpu.util`).
const CPU_OF_LEADER_IN: f64 = 0.7;
const CPU_OF_LEADER_OUT: f64 = 0.15;
const CPU_OF_FOLLOWER_IN: f64 = 0.15;

/// What a broker was measured to use, by its newest report.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// Processor use and its limit, cores.
    pub cpu_cores: Option<(f64, f64)>,
    /// Bytes sent a second, to clients and to followers.
    pub out: Option<f64>,
    /// Bytes sent to clients a second, where an exporter tells.
    pub out_to_clients: Option<f64>,
    /// What its link carries in one direction, bytes a second.
    pub network_capacity: Option<f64>,
}

impl Measured {
    /// The figures of a report.
    pub fn of(report: &BrokerReport) -> Self {
        let (cpu, network) = (report.cpu.as_ref(), report.network.as_ref());
        let capacity = network.and_then(|network| network.capacity_bytes_per_sec);
        Self {
            // By percent, over which simulated load is laid.
            cpu_cores: cpu.map(|cpu| (cpu.percent * 0.01 * cpu.limit_cores, cpu.limit_cores)),
            out: network.map(|network| network.out_bytes_per_sec),
            out_to_clients: report.exporter.as_ref().and_then(|exporter| exporter.bytes_out_per_sec),
            network_capacity: capacity.filter(|capacity| *capacity > 0).map(|capacity| capacity as f64),
        }
    }
}

/// By what traffic is turned into load.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// By broker: bytes that consumers fetch for every byte that its partitions take in.
    consumed: BTreeMap<BrokerId, f64>,
    /// By broker: cores for every weighted byte a second.
    cpu: BTreeMap<BrokerId, f64>,
    /// The same on the average, for brokers that are not measured.
    average_cpu: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    led_in: f64,
    to_followers: f64,
    weight: f64,
}

impl Rates {
    pub fn new(seen: &Seen, measured: &BTreeMap<BrokerId, Measured>) -> Self {
        let mut traffic = BTreeMap::<BrokerId, Traffic>::new();
        let rated = || {
            (0..seen.snapshot.partitions()).filter_map(|partition| {
                let bytes_in = seen.bytes_in(partition)?;
                Some((seen.snapshot.leader(partition)?, seen.snapshot.held(partition), bytes_in))
            })
        };
        for (leader, held, bytes_in) in rated() {
            let led = traffic.entry(leader).or_default();
            led.led_in += bytes_in;
            // A broker that is dead fetches nothing.
            led.to_followers +=
                bytes_in * followers(held.iter().filter(|replica| replica.in_sync || replica.coming));
        }
        let mut rates = Self::default();
        for (broker, traffic) in traffic.iter().filter(|(_, traffic)| traffic.led_in > 0.0) {
            let measured = measured.get(broker).copied().unwrap_or_default();
            let rest = || Some((measured.out? - traffic.to_followers).max(0.0));
            if let Some(out) = measured.out_to_clients.or_else(rest) {
                rates.consumed.insert(*broker, out / traffic.led_in);
            }
        }
        for (leader, held, bytes_in) in rated() {
            let out = rates.out(leader, held.len(), bytes_in);
            for replica in held {
                let weight = match replica.broker == leader {
                    true => CPU_OF_LEADER_IN * bytes_in + CPU_OF_LEADER_OUT * out,
                    false => CPU_OF_FOLLOWER_IN * bytes_in,
                };
                traffic.entry(replica.broker).or_default().weight += weight;
            }
        }
        let mut sum = (0.0, 0.0);
        for (broker, traffic) in traffic.iter().filter(|(_, traffic)| traffic.weight > 0.0) {
            if let Some((cores, _)) = measured.get(broker).and_then(|measured| measured.cpu_cores) {
                rates.cpu.insert(*broker, cores / traffic.weight);
                sum = (sum.0 + cores, sum.1 + traffic.weight);
            }
        }
        rates.average_cpu = if sum.1 > 0.0 { sum.0 / sum.1 } else { 0.0 };
        rates
    }

    /// Bytes a second that the leader of a partition with so many replicas sends: each follower fetches what comes in, and
    /// consumers as much of it as they do of everything that this broker leads.
    pub fn out(&self, leader: BrokerId, replicas: usize, bytes_in: f64) -> f64 {
        let consumed = self.consumed.get(&leader).copied().unwrap_or(0.0);
        bytes_in * (replicas.saturating_sub(1) as f64 + consumed)
    }

    /// Cores that following a partition costs a broker.
    pub fn cpu_of_following(&self, broker: BrokerId, bytes_in: f64) -> f64 {
        self.cpu_of(broker) * CPU_OF_FOLLOWER_IN * bytes_in
    }

    /// Cores that leading costs on top of that.
    pub fn cpu_of_leading(&self, broker: BrokerId, bytes_in: f64, out: f64) -> f64 {
        self.cpu_of(broker) * ((CPU_OF_LEADER_IN - CPU_OF_FOLLOWER_IN) * bytes_in + CPU_OF_LEADER_OUT * out)
    }

    fn cpu_of(&self, broker: BrokerId) -> f64 {
        self.cpu.get(&broker).copied().unwrap_or(self.average_cpu)
    }
}

/// How many of these replicas follow.
fn followers<'a>(replicas: impl Iterator<Item = &'a Replica>) -> f64 {
    replicas.count().saturating_sub(1) as f64
}
