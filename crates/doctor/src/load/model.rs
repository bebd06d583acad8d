//! What is known of the loads: the newest snapshot, and what each partition takes in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_diagnosis::Moment;
use doctorkafka_wire::BrokerId;

use super::snapshot::LoadSnapshot;

/// A rate follows a change by two thirds in this time.
const SMOOTH_OVER: Duration = Duration::from_secs(60);

/// The loads of all partitions of a cluster. Rates need two snapshots; there is no other warm-up. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct LoadModel {
    seen: Option<Arc<Seen>>,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub snapshot: LoadSnapshot,
    /// Bytes that each partition takes in a second; no number while that is not known.
    rates: Vec<f32>,
    /// Whether the snapshot before had replicas of topics that the cluster did not name, too.
    pub unseen_before: bool,
}

/// A broker as the cluster knows it: registered, or named as the holder of a replica.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Its `broker.rack`, while it is registered.
    pub rack: Option<String>,
    /// Registered and not fenced.
    pub in_service: bool,
    /// How many replicas it holds.
    pub replicas: usize,
    /// How many partitions it leads.
    pub led: usize,
    /// Bytes of its replicas, as far as they are known.
    pub bytes: u64,
    /// Bytes a second that its replicas take in, as far as that is known.
    pub bytes_in: f64,
}

impl LoadModel {
    /// Takes in a snapshot that is newer than those before.
    pub fn see(&mut self, mut snapshot: LoadSnapshot) {
        let (rates, unseen_before) = match &self.seen {
            None => (vec![f32::NAN; snapshot.partitions()], false),
            Some(before) => {
                snapshot.carry_over(&before.snapshot);
                snapshot.follow(&before.snapshot);
                let rate = |(partition, old): (usize, Option<usize>)| {
                    old.and_then(|old| before.rate_in(old, &snapshot, partition)).unwrap_or(f32::NAN)
                };
                let rates = snapshot.pairs(&before.snapshot).map(rate).collect();
                (rates, before.snapshot.unseen.replicas > 0)
            }
        };
        self.seen = Some(Arc::new(Seen { snapshot, rates, unseen_before }));
    }

    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_deref()
    }

    /// How many partitions there are; none before the first snapshot.
    pub fn partitions(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| seen.snapshot.partitions())
    }

    /// Bytes of a partition's log: what its leader has, or else the most that any living broker has.
    pub fn bytes(&self, topic: &str, partition: i32) -> Option<u64> {
        let snapshot = &self.seen.as_ref()?.snapshot;
        snapshot.bytes_of(snapshot.partition(topic, partition)?)
    }

    /// Bytes that a partition takes in a second.
    pub fn bytes_in(&self, topic: &str, partition: i32) -> Option<f64> {
        let seen = self.seen.as_ref()?;
        seen.bytes_in(seen.snapshot.partition(topic, partition)?)
    }

    /// Bytes of replicas that are being moved away, or were, or were deleted, and that the broker has yet to take off its volumes.
    pub(crate) fn going(&self, broker: BrokerId) -> u64 {
        let disk = |seen: &Arc<Seen>| seen.snapshot.brokers.get(&broker)?.disk;
        self.seen.as_ref().and_then(disk).map_or(0, |disk| disk.going())
    }

    /// Every broker that is registered or holds a replica, by id, as of the newest snapshot.
    pub fn registered(&self) -> Vec<Registered> {
        let Some(seen) = &self.seen else { return Vec::new() };
        let snapshot = &seen.snapshot;
        let registered = |id: BrokerId| {
            let look = snapshot.brokers.get(&id);
            Registered {
                id,
                rack: look.and_then(|look| look.rack.clone()),
                in_service: look.is_some_and(|look| look.in_service),
                replicas: 0,
                led: 0,
                bytes: 0,
                bytes_in: 0.0,
            }
        };
        let mut all: BTreeMap<BrokerId, Registered> =
            snapshot.brokers.keys().map(|id| (*id, registered(*id))).collect();
        for partition in 0..snapshot.partitions() {
            let (leader, bytes_in) = (snapshot.leader(partition), seen.bytes_in(partition));
            for replica in snapshot.held(partition) {
                let broker = all.entry(replica.broker).or_insert_with(|| registered(replica.broker));
                broker.replicas += 1;
                broker.led += usize::from(leader == Some(replica.broker));
                broker.bytes += replica.bytes().unwrap_or(0);
                broker.bytes_in += bytes_in.unwrap_or(0.0);
            }
        }
        all.into_values().collect()
    }
}

impl Seen {
    /// Bytes that a partition takes in a second.
    pub fn bytes_in(&self, partition: usize) -> Option<f64> {
        Some(f64::from(self.rates[partition])).filter(|rate| !rate.is_nan())
    }

    /// The rate of a partition of the next snapshot: what was measured between the two, smoothed by what is known already.
    fn rate_in(&self, old: usize, next: &LoadSnapshot, partition: usize) -> Option<f32> {
        let known = self.bytes_in(old);
        let Some((measured, over)) = self.measure(old, next, partition) else {
            return known.map(|rate| rate as f32);
        };
        let share = 1.0 - (-over.as_secs_f64() / SMOOTH_OVER.as_secs_f64()).exp();
        Some(known.map_or(measured, |known| known + share * (measured - known)) as f32)
    }

    /// Bytes a second that the partition took in between the two snapshots, and over which time.
    ///
    /// Growth of the leader's log is exact as long as nothing is deleted from its beginning. Where something was, or the
    /// cleaner of a compacted topic was at work, the offsets tell how many records came, and the log at hand how large they
    /// are on the average.
    fn measure(&self, old: usize, next: &LoadSnapshot, partition: usize) -> Option<(f64, Duration)> {
        let leader = next.leader(partition)?;
        let (was, is) = (self.snapshot.brokers.get(&leader)?, next.brokers.get(&leader)?);
        let growth = || {
            let over = elapsed(was.disk?.at, is.disk?.at)?;
            let bytes = (self.snapshot.bytes_on(old, leader)?, next.bytes_on(partition, leader)?);
            Some((bytes.1 as f64 - bytes.0 as f64, over))
        };
        let spans = || {
            let asked_before = self.snapshot.leader(old)?;
            let before = self.snapshot.brokers.get(&asked_before)?.spans_at?;
            let spans = (self.snapshot.partitions[old].span()?, next.partitions[partition].span()?);
            Some((spans, elapsed(before, is.spans_at?)?))
        };
        let per_second = |bytes: f64, over: Duration| Some((bytes.max(0.0) / over.as_secs_f64(), over));
        let Some(((before, now), between)) = spans() else {
            return growth()
                .filter(|(bytes, _)| *bytes >= 0.0)
                .and_then(|(bytes, over)| per_second(bytes, over));
        };
        let records = (now.end - before.end) as f64;
        if records <= 0.0 {
            return per_second(0.0, between);
        }
        if let Some((bytes, over)) = growth().filter(|(bytes, _)| before.start == now.start && *bytes > 0.0) {
            return per_second(bytes, over);
        }
        let size = next.bytes_on(partition, leader)? as f64 / (now.end - now.start).max(1) as f64;
        per_second(records * size, between)
    }
}

fn elapsed(from: Moment, to: Moment) -> Option<Duration> {
    Some(to.since(from)).filter(|elapsed| !elapsed.is_zero())
}
