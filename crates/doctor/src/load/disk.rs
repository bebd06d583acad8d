//! The directories of a broker and the volumes under them.

use std::time::Duration;

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::LogDir;

/// What may be written to a volume while a broker looks at one directory after the other, bytes.
const SAME_VOLUME: u64 = 64 << 20;

/// Files of replicas that were deleted or moved away are taken off the volume `log.segment.delete.delay.ms` later, a minute
/// unless set otherwise. What is still there after once to twice this time is something else.
const FREED_WITHIN: Duration = Duration::from_secs(90);

/// All directories of a broker together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub at: Moment,
    /// Size of the volumes and room left on them, bytes, where the broker tells.
    pub volume: Option<Volume>,
    /// Bytes of the replicas that belong there.
    pub replicas: u64,
    /// Bytes of replicas that the broker still has and that do not belong there any more: a reassignment takes them away.
    leaving: u64,
    /// Bytes that the broker has given up and has yet to take off its volumes: those it gave up before `turned`, and since.
    deleted: [u64; 2],
    turned: Moment,
}

impl Disk {
    pub fn new(at: Moment, volume: Option<Volume>, replicas: u64, leaving: u64) -> Self {
        Self { at, volume, replicas, leaving, deleted: [0; 2], turned: at }
    }

    /// Finds out what is being deleted, from what was there `before`, and how much of that still belongs there.
    pub fn follow(&mut self, before: &Self, kept: u64) {
        let (Some(was), Some(is)) = (before.untold(), self.untold()) else { return };
        (self.deleted, self.turned) = (before.deleted, before.turned);
        if self.at.since(self.turned) > FREED_WITHIN {
            let late = self.at.since(self.turned) > 2 * FREED_WITHIN;
            (self.deleted, self.turned) = ([if late { 0 } else { self.deleted[1] }, 0], self.at);
        }
        let told_before = before.replicas.saturating_add(before.leaving);
        let given_up = told_before.saturating_sub(kept).saturating_sub(self.leaving);
        self.deleted[1] = self.deleted[1].saturating_add(is.saturating_sub(was).min(given_up));
        // What was given up first goes first.
        let mut freed = was.saturating_sub(is);
        for bytes in &mut self.deleted {
            let gone = freed.min(*bytes);
            (*bytes, freed) = (*bytes - gone, freed - gone);
        }
    }

    /// Bytes that will be free without anybody's doing.
    pub fn going(&self) -> u64 {
        self.deleted.iter().fold(self.leaving, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Bytes on the volumes that are not of replicas that belong there.
    pub fn others(&self) -> Option<u64> {
        let Volume { total, usable } = self.volume?;
        Some(total.saturating_sub(usable).saturating_sub(self.replicas))
    }

    /// Bytes on the volumes of which the broker tells nothing.
    fn untold(&self) -> Option<u64> {
        self.others().map(|others| others.saturating_sub(self.leaving))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub total: u64,
    pub usable: u64,
}

/// The volumes under directories, each counted once: directories that tell the same size and the same room are taken for
/// directories of one volume. When two equal volumes are equally full, less room is counted than there is.
pub(super) fn volume(dirs: &[LogDir]) -> Option<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for dir in dirs.iter().filter(|dir| dir.error.is_none()) {
        let volume = Volume { total: dir.total_bytes?, usable: dir.usable_bytes? };
        let same = |other: &Volume| {
            other.total == volume.total && other.usable.abs_diff(volume.usable) <= SAME_VOLUME
        };
        if !volumes.iter().any(same) {
            volumes.push(volume);
        }
    }
    let sum = |all: Volume, one: &Volume| Volume {
        total: all.total.saturating_add(one.total),
        usable: all.usable.saturating_add(one.usable),
    };
    (!volumes.is_empty()).then(|| volumes.iter().fold(Volume::default(), sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(total: u64, usable: u64) -> LogDir {
        let (total_bytes, usable_bytes) = (Some(total), Some(usable));
        LogDir { path: String::new(), error: None, total_bytes, usable_bytes, replicas: Vec::new() }
    }

    #[test]
    fn directories_of_one_volume_are_counted_once() {
        let two = [dir(10 << 30, 4 << 30), dir(10 << 30, (4 << 30) - 5_000_000)];
        assert_eq!(volume(&two), Some(Volume { total: 10 << 30, usable: 4 << 30 }));
        let apart = [dir(10 << 30, 4 << 30), dir(10 << 30, 5 << 30), dir(1 << 30, 4 << 20)];
        assert_eq!(volume(&apart), Some(Volume { total: 21 << 30, usable: (9 << 30) + (4 << 20) }));
    }

    fn disk(second: u64, used: u64, replicas: u64, leaving: u64) -> Disk {
        let volume = Volume { total: 100, usable: 100 - used };
        Disk::new(Moment(second * 1_000), Some(volume), replicas, leaving)
    }

    fn after(mut disk: Disk, before: &Disk, kept: u64) -> Disk {
        disk.follow(before, kept);
        disk
    }

    #[test]
    fn what_is_moved_away_is_going_until_it_is_gone() {
        let full = disk(0, 90, 85, 0);
        // For minutes, 20 are copied away, and 3 come in.
        let copied = after(disk(10, 90, 65, 20), &full, 65);
        let copied = after(disk(300, 93, 68, 20), &copied, 65);
        assert_eq!(copied.going(), 20);
        let given_up = after(disk(310, 93, 68, 0), &copied, 68);
        assert_eq!(given_up.going(), 20);
        // What somebody else writes is not going.
        let other = after(disk(320, 95, 68, 0), &given_up, 68);
        assert_eq!(other.going(), 20);
        assert_eq!(after(disk(370, 83, 68, 0), &other, 68).going(), 8);
        assert_eq!(after(disk(370, 75, 68, 0), &other, 68).going(), 0);
        // A broker that takes no file off its volume is full.
        let late = after(disk(420, 95, 68, 0), &other, 68);
        assert_eq!(after(disk(520, 95, 68, 0), &late, 68).going(), 0);
    }

    #[test]
    fn what_fills_a_volume_while_logs_are_shortened_is_going_for_a_while_at_most() {
        let mut now = disk(0, 10, 90, 0);
        for step in 1..=90 {
            // One byte of logs is deleted, and somebody else writes another, every ten seconds.
            now = after(disk(step * 10, 100, 90 - step, 0), &now, 90 - step);
            assert!(now.going() <= 20, "{now:?} after {step}");
        }
    }

    #[test]
    fn what_is_offline_or_unknown_is_no_room() {
        let mut offline = dir(10, 10);
        offline.error = Some("KafkaStorageError".to_owned());
        assert_eq!(volume(&[offline.clone(), dir(7, 3)]), Some(Volume { total: 7, usable: 3 }));
        assert_eq!(volume(&[offline]), None);
        let unknown = LogDir { total_bytes: None, ..dir(1, 1) };
        assert_eq!(volume(&[dir(7, 3), unknown]), None);
    }
}
