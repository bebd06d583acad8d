//! The directories of a broker and the volumes under them.

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::LogDir;

/// What may be written to a volume while a broker looks at one directory after the other, bytes.
const SAME_VOLUME: u64 = 64 << 20;

/// All directories of a broker together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub at: Moment,
    /// Size of the volumes and room left on them, bytes, where the broker tells.
    pub volume: Option<Volume>,
    /// Bytes of the replicas that belong there.
    pub replicas: u64,
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
    fn what_is_offline_or_unknown_is_no_room() {
        let mut offline = dir(10, 10);
        offline.error = Some("KafkaStorageError".to_owned());
        assert_eq!(volume(&[offline.clone(), dir(7, 3)]), Some(Volume { total: 7, usable: 3 }));
        assert_eq!(volume(&[offline]), None);
        let unknown = LogDir { total_bytes: None, ..dir(1, 1) };
        assert_eq!(volume(&[dir(7, 3), unknown]), None);
    }
}
