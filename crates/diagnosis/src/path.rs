//! Silence is not death: how long could a broker have been heard?
//!
//! Reports travel through Kafka. When the broker that leads a partition of the metrics topic dies, every report of that
//! partition waits until a new leader is elected. So the doctor asks the partition's leader, several times a second, for
//! the partition's end offset. When it has then read everything below that offset, the path is *proven* up to the moment
//! of asking: whatever was appended before has been seen. Only proven time counts as silence, and offsets instead
//! of clocks date what arrives late.

use std::{collections::VecDeque, time::Duration};

use crate::Moment;

/// Where a partition of the metrics topic ends, told by its leader.
///
/// This must be the end of the leader's log and not the high watermark, which is all that an ordinary client is told:
/// while an in-sync replica is dead and not yet fenced, the high watermark stands still and no consumer sees a new record
/// although the leader takes them. A mark at the high watermark would call that silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMark {
    /// When the leader was asked.
    pub at: Moment,
    /// Offset of the next record to be appended (ListOffsets, `LATEST`, not asked as an ordinary client).
    pub end: i64,
}

/// Longest time between two proofs that counts as uninterrupted. A leader that did not answer for longer was away.
const LONGEST_STEP: Duration = Duration::from_millis(1_500);

/// Marks kept: 13 minutes at five a second, more than the longest heartbeat timeout a policy may ask for.
const KEPT: usize = 4_096;

/// What is known of one partition of the metrics topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct PathClock {
    /// Marks with all the proven time up to them; the last `unproven` of them wait for the reader to catch up.
    marks: VecDeque<(PathMark, Duration)>,
    unproven: usize,
    /// Everything below this offset has been read.
    position: i64,
    /// The end offset at the very first mark: records below it were appended before this doctor looked.
    first_end: Option<i64>,
}

impl PathClock {
    /// Takes in an answer of the partition's leader.
    pub fn mark(&mut self, mark: PathMark) {
        if self.marks.back().is_some_and(|(last, _)| mark.at <= last.at) {
            return;
        }
        if self.marks.back().is_some_and(|(last, _)| mark.end < last.end) {
            self.cut_to(mark.end);
        }
        self.first_end.get_or_insert(mark.end);
        self.marks.push_back((mark, Duration::ZERO));
        self.unproven += 1;
        if self.marks.len() > KEPT {
            self.marks.pop_front();
            self.unproven = self.unproven.min(self.marks.len());
        }
        self.prove();
    }

    /// Takes in that everything below `next_offset` has been read.
    pub fn read_to(&mut self, next_offset: i64) {
        self.position = self.position.max(next_offset);
        self.prove();
    }

    /// A new leader lacks the newest records (reports are sent with acks=1). Its offsets from `end` on are other records,
    /// which have not been read; the time that was proven stays proven.
    fn cut_to(&mut self, end: i64) {
        for (kept, _) in self.marks.iter_mut().rev().take_while(|(kept, _)| kept.end > end) {
            kept.end = end;
        }
        self.first_end = self.first_end.map(|first| first.min(end));
        self.position = self.position.min(end);
    }

    /// Forgets everything, as after the topic was made anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// When the record at `offset`, read at `now`, had been appended at the latest; `None` when that was before this
    /// doctor's first look, so that it says nothing about now.
    pub fn appended(&self, offset: i64, now: Moment) -> Option<Moment> {
        if offset < self.first_end? {
            return None;
        }
        let after = self.marks.partition_point(|(mark, _)| mark.end <= offset);
        Some(self.marks.get(after).map_or(now, |(mark, _)| mark.at.min(now)))
    }

    /// The last moment for which everything appended before has been read.
    pub fn proven_until(&self) -> Option<Moment> {
        let last = (self.marks.len() - self.unproven).checked_sub(1)?;
        self.marks.get(last).map(|(mark, _)| mark.at)
    }

    /// How much of the time from `since` until now the path was proven to work.
    pub fn proven_since(&self, since: Moment) -> Duration {
        let proven = self.marks.len() - self.unproven;
        let Some((_, until)) = proven.checked_sub(1).and_then(|last| self.marks.get(last)) else {
            return Duration::ZERO;
        };
        let first_after = self.marks.partition_point(|(mark, _)| mark.at <= since);
        match self.marks.get(first_after) {
            Some((mark, upto)) if first_after < proven => {
                // The step that `since` falls into counts from `since` on.
                let step = self.step_before(first_after).min(mark.at.since(since));
                until.saturating_sub(*upto) + step
            }
            _ => Duration::ZERO,
        }
    }

    fn prove(&mut self) {
        while self.unproven > 0 {
            let index = self.marks.len() - self.unproven;
            if self.marks.get(index).is_none_or(|(mark, _)| mark.end > self.position) {
                return;
            }
            let before = index
                .checked_sub(1)
                .and_then(|i| self.marks.get(i))
                .map_or(Duration::ZERO, |(_, upto)| *upto);
            let upto = before + self.step_before(index);
            if let Some(entry) = self.marks.get_mut(index) {
                entry.1 = upto;
            }
            self.unproven -= 1;
        }
    }

    /// Proven time that the mark at `index` adds to the one before.
    fn step_before(&self, index: usize) -> Duration {
        let at = |i: usize| self.marks.get(i).map(|(mark, _)| mark.at);
        match (index.checked_sub(1).and_then(at), at(index)) {
            (Some(before), Some(this)) => {
                let step = this.since(before);
                if step <= LONGEST_STEP { step } else { Duration::ZERO }
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(marks: &[(u64, i64)], position: i64) -> PathClock {
        let mut clock = PathClock::default();
        for &(at, end) in marks {
            clock.mark(PathMark { at: Moment(at), end });
        }
        clock.read_to(position);
        clock
    }

    #[test]
    fn time_counts_only_as_far_as_it_was_read() {
        let mut clock = clock(&[(1_000, 10), (2_000, 11), (3_000, 12)], 11);
        assert_eq!(clock.proven_since(Moment(0)), Duration::from_millis(1_000));
        clock.read_to(12);
        assert_eq!(clock.proven_since(Moment(0)), Duration::from_millis(2_000));
        assert_eq!(clock.proven_since(Moment(1_400)), Duration::from_millis(1_600));
        assert_eq!(clock.proven_since(Moment(3_000)), Duration::ZERO);
    }

    #[test]
    fn a_leaderless_gap_does_not_count() {
        let clock = clock(&[(1_000, 10), (2_000, 10), (11_500, 10), (12_000, 10)], 10);
        assert_eq!(clock.proven_since(Moment(1_000)), Duration::from_millis(1_500));
    }

    #[test]
    fn late_records_are_dated_by_their_offset() {
        let clock = clock(&[(1_000, 10), (2_000, 11), (3_000, 15)], 10);
        assert_eq!(clock.appended(9, Moment(9_000)), None, "from before the first look");
        assert_eq!(clock.appended(10, Moment(9_000)), Some(Moment(2_000)));
        assert_eq!(clock.appended(11, Moment(9_000)), Some(Moment(3_000)));
        assert_eq!(clock.appended(15, Moment(9_000)), Some(Moment(9_000)));
    }

    #[test]
    fn nothing_is_known_before_the_first_mark() {
        let clock = PathClock::default();
        assert_eq!(clock.appended(5, Moment(10)), None);
        assert_eq!(clock.proven_since(Moment(0)), Duration::ZERO);
    }

    #[test]
    fn a_new_leader_that_lacks_the_tail_costs_no_proven_time() {
        let mut clock = clock(&[(1_000, 100), (2_000, 101)], 101);
        clock.mark(PathMark { at: Moment(3_000), end: 99 });
        clock.mark(PathMark { at: Moment(4_000), end: 100 });
        clock.read_to(100);
        assert_eq!(clock.proven_since(Moment(0)), Duration::from_millis(3_000));
        assert_eq!(clock.appended(99, Moment(9_000)), Some(Moment(4_000)));
    }

    #[test]
    fn what_a_new_leader_appends_in_place_of_lost_records_has_not_been_read() {
        let mut clock = clock(&[(1_000, 100), (2_000, 110)], 110);
        clock.mark(PathMark { at: Moment(3_000), end: 102 });
        clock.mark(PathMark { at: Moment(4_000), end: 105 });
        assert_eq!(clock.proven_until(), Some(Moment(3_000)));
        clock.read_to(105);
        assert_eq!(clock.proven_until(), Some(Moment(4_000)));
    }

    #[test]
    fn an_answer_that_was_overtaken_takes_nothing_back() {
        let mut clock = clock(&[(1_000, 100), (2_000, 101), (2_400, 102)], 102);
        clock.mark(PathMark { at: Moment(2_200), end: 101 });
        assert_eq!(clock.proven_until(), Some(Moment(2_400)));
        assert_eq!(clock.appended(101, Moment(9_000)), Some(Moment(2_400)));
    }

    #[test]
    fn a_topic_made_anew_starts_afresh() {
        let mut clock = clock(&[(1_000, 100), (2_000, 101)], 101);
        clock.reset();
        clock.mark(PathMark { at: Moment(3_000), end: 2 });
        assert_eq!(clock.proven_since(Moment(0)), Duration::ZERO);
        assert_eq!(clock.appended(1, Moment(3_100)), None);
        clock.read_to(2);
        clock.mark(PathMark { at: Moment(3_500), end: 2 });
        assert_eq!(clock.proven_since(Moment(0)), Duration::from_millis(500));
    }

    #[test]
    fn memory_is_bounded() {
        let mut clock = PathClock::default();
        for i in 0..20_000_u64 {
            clock.mark(PathMark { at: Moment(i * 200), end: 0 });
        }
        assert!(clock.marks.len() <= KEPT);
        assert!(clock.proven_since(Moment(19_000 * 200)) > Duration::from_secs(190));
    }
}
