//! What was seen and is not in the actions log, because the leader that should have written it was lost.
//!
//! A leader that waits for the log, while the log's own leader fails over, may be killed in that moment. What still holds by
//! then is found by the next leader. What is over is not: but that next leader has stood by, has seen the same, and tells it.
//! Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use doctorkafka_diagnosis::{BrokerState, Diagnosis, Reason};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Evidence};
use jiff::Timestamp;

/// Changes that are remembered, of one's own and of the log's: more than happen while a log fails over.
const REMEMBERED: usize = 1_000;

/// A log that fails over, and a lease that runs out, take less, and what is older is no news.
const OLDEST: Duration = Duration::from_secs(120);

/// Two doctors find the same within this time, by their clocks.
const APART: Duration = Duration::from_secs(30);

/// Name of the time at which it was found in the evidence of what is told late.
pub(crate) const FOUND_AT: &str = "foundAt";

/// A broker has got into a state that is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sighting {
    pub broker: BrokerId,
    /// The kind of record that tells it: an alert, or that it has recovered.
    pub kind: ActionKind,
    /// When it was found.
    pub at: Timestamp,
    pub reason: Reason,
    pub message: String,
    pub evidence: Evidence,
}

/// What this doctor has seen lately, leader or not.
#[derive(Debug, Default)]
pub(crate) struct Witness(VecDeque<Sighting>);

/// What the log says, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    changes: VecDeque<(Timestamp, BrokerId, ActionKind)>,
    /// When a doctor last wrote anything.
    newest: Option<Timestamp>,
}

impl Told {
    /// Takes in the next record of the log.
    pub fn apply(&mut self, record: &ActionRecord) {
        // Those are written by people, also while no doctor can.
        if matches!(record.kind, ActionKind::Approved | ActionKind::Rejected) {
            return;
        }
        self.newest = self.newest.max(Some(record.time));
        let is_change = matches!(
            record.kind,
            ActionKind::AlertOverload | ActionKind::AlertUnhealthy | ActionKind::Recovered
        );
        if let Some(broker) = record.broker.filter(|_| is_change) {
            if self.changes.len() == REMEMBERED {
                self.changes.pop_front();
            }
            // What was told late tells itself when it was found.
            let found = record.evidence.get(FOUND_AT).and_then(|found| found.as_str()?.parse().ok());
            self.changes.push_back((found.unwrap_or(record.time), broker, record.kind));
        }
    }
}

impl Witness {
    /// A broker has got into another state.
    pub fn see(&mut self, broker: BrokerId, diagnosis: &Diagnosis, at: Timestamp) {
        let kind = match diagnosis.state {
            BrokerState::Unhealthy => ActionKind::AlertUnhealthy,
            BrokerState::Overloaded => ActionKind::AlertOverload,
            BrokerState::Healthy => ActionKind::Recovered,
            BrokerState::Recovering | BrokerState::Maintenance | BrokerState::Unknown => return,
        };
        // A doctor that has just begun finds a hot broker healthy until the load has lasted, which is no recovery.
        let last = self.0.iter().rev().find(|seen| seen.broker == broker).map(|seen| seen.kind);
        if kind == ActionKind::Recovered && last.is_none_or(|last| last == ActionKind::Recovered) {
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        let Diagnosis { reason, message, evidence, .. } = diagnosis.clone();
        self.0.push_back(Sighting { broker, kind, at, reason, message, evidence });
    }

    /// What a new leader has seen, is over, and lacks in the log; in the order in which it was seen.
    ///
    /// A leader writes in the order in which it finds. Where the log goes on for longer than two doctors can be apart, the
    /// one that wrote it had found nothing there, and its word stands. What holds still is left to be found, but of brokers that are
    /// `neither` well nor known to be ill now, on their way back for example: nothing is found of them.
    pub fn lacking(&self, told: &Told, now: Timestamp, neither: impl Fn(BrokerId) -> bool) -> Vec<Sighting> {
        let mut log: BTreeMap<BrokerId, VecDeque<(Timestamp, ActionKind)>> = BTreeMap::new();
        for (time, broker, kind) in &told.changes {
            log.entry(*broker).or_default().push_back((*time, *kind));
        }
        let mut lacking = Vec::new();
        for seen in &self.0 {
            let log = log.entry(seen.broker).or_default();
            let same = |(time, kind): &(Timestamp, ActionKind)| {
                *kind == seen.kind && time.duration_since(seen.at).unsigned_abs() <= APART
            };
            if let Some(found) = log.iter().position(same) {
                log.drain(..=found);
                continue;
            }
            let old = now.duration_since(seen.at).unsigned_abs() > OLDEST;
            let overruled = told.newest.is_some_and(|newest| {
                newest > seen.at && newest.duration_since(seen.at).unsigned_abs() > APART
            });
            if !old && !overruled {
                lacking.push(seen.clone());
            }
        }
        let mut over: BTreeMap<BrokerId, usize> = BTreeMap::new();
        for (index, seen) in lacking.iter().enumerate().filter(|(_, seen)| seen.kind == ActionKind::Recovered)
        {
            over.insert(seen.broker, index);
        }
        let is_over = |(index, seen): &(usize, Sighting)| {
            over.get(&seen.broker).is_some_and(|last| index <= last) || neither(seen.broker)
        };
        lacking.into_iter().enumerate().filter(is_over).map(|(_, seen)| seen).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn witness(seen: &[(i64, i32, BrokerState)]) -> Witness {
        let mut witness = Witness::default();
        for (seconds, broker, state) in seen {
            let diagnosis = Diagnosis {
                state: *state,
                reason: Reason::ProcessDown,
                message: String::new(),
                since: Default::default(),
                resource: None,
                evidence: Evidence::new(),
            };
            witness.see(BrokerId(*broker), &diagnosis, at(*seconds));
        }
        witness
    }

    fn told(log: &[(i64, i32, ActionKind)]) -> Told {
        let changes =
            log.iter().map(|(seconds, broker, kind)| (at(*seconds), BrokerId(*broker), *kind)).collect();
        Told { changes, newest: log.iter().map(|(seconds, ..)| at(*seconds)).max() }
    }

    fn lacking(witness: &Witness, told: &Told, now: i64) -> Vec<(i64, i32, ActionKind)> {
        lacking_where(witness, told, now, |_| false)
    }

    fn lacking_where(
        witness: &Witness,
        told: &Told,
        now: i64,
        neither: impl Fn(BrokerId) -> bool,
    ) -> Vec<(i64, i32, ActionKind)> {
        let lacking = witness.lacking(told, at(now), neither);
        lacking.iter().map(|it| (it.at.as_second() - 1_000_000, it.broker.0, it.kind)).collect()
    }

    use ActionKind::{AlertOverload, AlertUnhealthy, Recovered};
    use BrokerState::{Healthy, Overloaded, Unhealthy};

    #[test]
    fn what_began_and_ended_and_is_not_in_the_log_is_lacking() {
        let seen = witness(&[(0, 1, Unhealthy), (5, 2, Overloaded), (8, 1, Healthy), (9, 2, Healthy)]);
        let all = [(0, 1, AlertUnhealthy), (5, 2, AlertOverload), (8, 1, Recovered), (9, 2, Recovered)];
        assert_eq!(lacking(&seen, &told(&[]), 20), all);
        assert_eq!(lacking(&seen, &told(&[(1, 1, AlertUnhealthy)]), 20), all[1..]);
        assert_eq!(lacking(&seen, &told(&all), 20), []);
        assert_eq!(lacking(&seen, &told(&[]), 124), all[1..], "the oldest is no news");
    }

    #[test]
    fn who_begins_and_finds_a_broker_healthy_has_seen_no_recovery() {
        assert_eq!(lacking(&witness(&[(0, 1, Healthy)]), &told(&[]), 20), []);
    }

    #[test]
    fn what_holds_still_is_left_to_be_found() {
        let seen = witness(&[(0, 1, Unhealthy)]);
        assert_eq!(lacking(&seen, &told(&[]), 20), []);
        let again = witness(&[(0, 1, Unhealthy), (3, 1, Healthy), (6, 1, Unhealthy)]);
        assert_eq!(lacking(&again, &told(&[]), 20), [(0, 1, AlertUnhealthy), (3, 1, Recovered)]);
        let gone_on = told(&[(0, 1, AlertUnhealthy)]);
        assert_eq!(lacking(&again, &gone_on, 20), [(3, 1, Recovered)], "the alert that stands is a new one");
    }

    #[test]
    fn of_who_is_neither_well_nor_ill_nothing_is_found() {
        let seen = witness(&[(0, 1, Unhealthy), (1, 2, Unhealthy)]);
        let is_1 = |id: BrokerId| id == BrokerId(1);
        assert_eq!(lacking_where(&seen, &told(&[]), 20, is_1), [(0, 1, AlertUnhealthy)]);
        assert_eq!(lacking_where(&seen, &told(&[(0, 1, AlertUnhealthy)]), 20, is_1), []);
    }

    #[test]
    fn each_record_tells_of_one_change() {
        let twice = witness(&[(0, 1, Unhealthy), (3, 1, Healthy), (6, 1, Unhealthy), (9, 1, Healthy)]);
        let once = told(&[(0, 1, AlertUnhealthy), (3, 1, Recovered)]);
        assert_eq!(lacking(&twice, &once, 20), [(6, 1, AlertUnhealthy), (9, 1, Recovered)]);
    }

    #[test]
    fn a_leader_that_went_on_writing_and_did_not_see_it_is_believed() {
        let seen = witness(&[(0, 1, Unhealthy), (8, 1, Healthy)]);
        let all = [(0, 1, AlertUnhealthy), (8, 1, Recovered)];
        assert_eq!(lacking(&seen, &told(&[(20, 2, AlertUnhealthy)]), 60), all, "it may have found it later");
        assert_eq!(lacking(&seen, &told(&[(40, 2, AlertUnhealthy)]), 60), []);
    }
}
