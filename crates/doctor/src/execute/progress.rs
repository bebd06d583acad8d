//! How far a treatment is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use doctorkafka_kafka::{ClusterAdmin, TopicPartition};
use doctorkafka_wire::{BrokerId, PartitionChange};

use super::{
    Hold, Observed, OpenTreatment,
    observed::{Place, Side, at},
    treatment::moves_data,
};

/// How often one of the brokers that are being copied to is asked how much it has. Its answer lists all its replicas.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The rate is taken over so many figures, of which there is one a second at the most.
const FIGURES: usize = 30;

/// How far a treatment is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Digest of the treatment.
    pub digest: String,
    /// Partitions that are as planned.
    pub partitions_done: usize,
    /// Partitions that are being copied.
    pub partitions_moving: usize,
    /// Partitions in all, without those that were left out because they are gone.
    pub partitions: usize,
    /// Bytes that are copied, as far as known.
    pub bytes_done: u64,
    /// Bytes to copy in all.
    pub bytes: u64,
    /// Bytes a second over the last half minute, when anything was copied in it.
    pub bytes_per_second: Option<f64>,
    /// Bytes that the replica which lacks most has yet to copy, of those that are being copied and whose size is known.
    pub slowest: Option<u64>,
    /// Time left at this rate.
    pub left: Option<Duration>,
    /// Why nothing is begun at the moment.
    pub hold: Option<Hold>,
    /// Why the treatment is given up, when it is.
    pub stopping: Option<String>,
}

/// Measures progress.
#[derive(Default)]
pub(super) struct Meter {
    sizes: BTreeMap<(TopicPartition, BrokerId), u64>,
    asked: Option<(BrokerId, Duration)>,
    figures: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// Asks one of the brokers that are being copied to how much it has, when it is time to. A broker that does not
    /// answer costs a figure, nothing else.
    pub async fn ask(
        &mut self,
        admin: &impl ClusterAdmin,
        open: &OpenTreatment,
        seen: &Observed,
        now: Duration,
    ) {
        let ours: BTreeSet<TopicPartition> = open.treatment().moves().map(at).collect();
        self.sizes.retain(|(at, broker), _| {
            seen.running.get(at).is_some_and(|running| running.adding.contains(broker))
        });
        if self.asked.is_some_and(|(_, asked)| now.saturating_sub(asked) < ASK_EVERY) {
            return;
        }
        let running = seen.running.values().filter(|running| ours.contains(&running.at));
        let brokers: BTreeSet<BrokerId> = running
            .flat_map(|running| running.adding.iter().copied())
            .filter(|broker| seen.is_up(*broker))
            .collect();
        let after = self.asked.map(|(broker, _)| broker);
        let next = brokers.iter().find(|broker| Some(**broker) > after).or(brokers.first());
        let Some(broker) = next.copied() else { return };
        self.asked = Some((broker, now));
        match admin.log_dirs(broker).await {
            Ok(dirs) => {
                let replicas = dirs.into_iter().flat_map(|dir| dir.replicas);
                for replica in replicas.filter(|replica| !replica.future && ours.contains(&replica.at)) {
                    self.sizes.insert((replica.at, broker), replica.bytes);
                }
            }
            Err(error) => {
                tracing::debug!(%broker, %error, "a broker does not tell the sizes of its replicas")
            }
        }
    }

    /// Puts the figures together.
    pub fn measure(
        &mut self,
        open: &OpenTreatment,
        seen: &Observed,
        hold: Option<Hold>,
        now: Duration,
    ) -> Progress {
        let mut progress = Progress {
            digest: open.treatment().digest().to_owned(),
            hold,
            stopping: open.stop().map(|stop| stop.message.clone()),
            ..Progress::default()
        };
        for change in open.treatment().changes() {
            let partition = at(change);
            if open.is_skipped(&partition) {
                continue;
            }
            progress.partitions += 1;
            let bytes = if moves_data(change) { change.bytes } else { 0 };
            progress.bytes = progress.bytes.saturating_add(bytes);
            match seen.place(change, open.topic_id(&change.topic), Duration::ZERO) {
                Place::At(Side::To) => {
                    progress.partitions_done += 1;
                    progress.bytes_done = progress.bytes_done.saturating_add(bytes);
                }
                Place::Moving(Side::To) => {
                    progress.partitions_moving += 1;
                    let copied: Vec<u64> = self.copied(change, &partition).collect();
                    let sum = copied.iter().fold(0_u64, |sum, size| sum.saturating_add(*size)).min(bytes);
                    progress.bytes_done = progress.bytes_done.saturating_add(sum);
                    let replica =
                        bytes / change.to.iter().filter(|id| !change.from.contains(id)).count().max(1) as u64;
                    let lacks = copied.into_iter().map(|size| replica.saturating_sub(size)).max();
                    progress.slowest = progress.slowest.max(lacks);
                }
                _ => {}
            }
        }
        self.rate(&mut progress, now);
        progress
    }

    /// What each new replica has, as far as known.
    fn copied(&self, change: &PartitionChange, partition: &TopicPartition) -> impl Iterator<Item = u64> {
        let added = change.to.iter().filter(|broker| !change.from.contains(broker));
        added.filter_map(|broker| self.sizes.get(&(partition.clone(), *broker)).copied())
    }

    fn rate(&mut self, progress: &mut Progress, now: Duration) {
        if self.figures.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= ASK_EVERY) {
            self.figures.push_back((now, progress.bytes_done));
        }
        if self.figures.len() > FIGURES {
            self.figures.pop_front();
        }
        let (Some((since, before)), Some((until, after))) = (self.figures.front(), self.figures.back())
        else {
            return;
        };
        let (seconds, copied) = (until.saturating_sub(*since).as_secs_f64(), after.saturating_sub(*before));
        if copied == 0 || seconds <= 0.0 {
            return;
        }
        let rate = copied as f64 / seconds;
        progress.bytes_per_second = Some(rate);
        let left = progress.bytes.saturating_sub(progress.bytes_done) as f64 / rate;
        progress.left = Duration::try_from_secs_f64(left).ok();
    }
}
