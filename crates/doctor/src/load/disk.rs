//! The directories of a broker and the volumes under them.

use std::time::Duration;

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::LogDir;

/// What may be written to a volume while a broker looks at one directory after the other, bytes.
const SAME_VOLUME: u64 = 64 << 20;

/// Files of replicas that were deleted or moved away are taken off the volume `log.segment.delete.delay.ms` later, a minute
/// unless set otherwise. What is still there after this time is something else.
const FREED_WITHIN: Duration = Duration::from_secs(150);

/// All directories of a broker together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub at: Moment,
    /// Size of the volumes and room left on them, bytes, where the broker tells.
    pub volume: Option<Volume>,
    /// Bytes of the replicas that belong there.
    pub replicas: u64,
    /// Bytes of replicas that do not belong there any more, and that the broker has yet to take off its volumes.
    pub going: u64,
    /// When that was last seen to grow.
    going_since: Moment,
}

impl Disk {
    pub fn new(at: Moment, volume: Option<Volume>, replicas: u64) -> Self {
        Self { at, volume, replicas, going: 0, going_since: at }
    }

    /// Finds out what is going, from what was there `before`, and how much of that still belongs there.
    pub fn follow(&mut self, before: &Self, kept: u64) {
        let (Some(was), Some(is)) = (before.others(), self.others()) else { return };
        let dropped = before.replicas.saturating_sub(kept);
        let late = self.at.since(before.going_since) > FREED_WITHIN;
        let known = if late { 0 } else { before.going };
        (self.going, self.going_since) = match is.saturating_sub(was).min(dropped) {
            0 => (known.saturating_sub(was.saturating_sub(is)), before.going_since),
            more => (known.saturating_add(more), self.at),
        };
    }

    /// Bytes on the volumes that are not of replicas that belong there.
    pub fn others(&self) -> Option<u64> {
        let Volume { total, usable } = self.volume?;
        Some(total.saturating_sub(usable).saturating_sub(self.replicas))
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

    #[test]
    fn what_was_moved_away_is_going_until_it_is_gone() {
        let disk = |second: u64, used: u64, replicas| {
            let volume = Volume { total: 100, usable: 100 - used };
            Disk::new(Moment(second * 1_000), Some(volume), replicas)
        };
        let follow = |mut disk: Disk, before: &Disk, kept| {
            disk.follow(before, kept);
            disk
        };
        let full = disk(0, 90, 85);
        // 20 moved away, and 3 came in.
        let moved = follow(disk(10, 93, 68), &full, 65);
        assert_eq!(moved.going, 20);
        // What somebody else writes is not going.
        let other = follow(disk(20, 95, 68), &moved, 68);
        assert_eq!(other.going, 20);
        assert_eq!(follow(disk(30, 83, 68), &other, 68).going, 8);
        assert_eq!(follow(disk(30, 75, 68), &other, 68).going, 0);
        // A broker that takes no file off its volume is full.
        assert_eq!(follow(disk(170, 95, 68), &other, 68).going, 0);
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
