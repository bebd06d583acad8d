//! Treatments as the actions log tells them: one fold over its records. Pure.

use doctorkafka_doctor::execute::Treatment;
use doctorkafka_wire::{ActionKind, ActionRecord, Outcome};
use jiff::Timestamp;
use std::{collections::BTreeMap, fmt};

/// Treatments that are remembered, at the most: those of which there was news last.
const MOST: usize = 1_000;

/// How far a treatment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is proposed.
    Proposed,
    /// It is proposed, and somebody has approved it.
    Approved,
    /// It is being carried out.
    Running,
    /// The cluster is as planned.
    Completed,
    /// It was stopped.
    Aborted,
    /// It could not be carried out.
    Failed,
    /// Somebody did not want it.
    Rejected,
    /// Another one took its place.
    Superseded,
    /// It did not fit any more.
    Expired,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By `pad`, which keeps to the width that is asked for.
        f.pad(&format!("{self:?}"))
    }
}

/// A treatment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub digest: String,
    pub policy: String,
    pub cluster: String,
    pub state: State,
    /// When it came into this state.
    pub since: Timestamp,
    /// What it is for, in one word; empty when its beginning was not read.
    pub cause: String,
    /// What it does.
    pub what: String,
    /// The newest message about it.
    pub message: String,
    /// Counts up with the news.
    news: u64,
}

/// All treatments.
#[derive(Debug, Default)]
pub(super) struct Treatments {
    by_digest: BTreeMap<String, Told>,
    news: u64,
}

/// Why a digest that was given means no treatment that can be decided about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFound {
    /// Not hexadecimal, or too short.
    #[error("{0:?} is no digest: give at least {LEAST} of its 64 hexadecimal digits, as `list` shows them")]
    NoDigest(String),
    /// There is none.
    #[error(
        "no treatment with digest {0} is in the actions log; `doctorkafka-operator list` shows those that are"
    )]
    Unknown(String),
    /// There are several.
    #[error("{0} is the beginning of {1} digests; give more digits of yours")]
    Ambiguous(String, String),
    /// It is over, or under way.
    #[error("{0} is {1} since {2}, and waits for nobody: {3}")]
    NotWaiting(String, State, Timestamp, String),
}

/// So many digits must be given.
const LEAST: usize = 6;

/// So many digits are shown.
pub(super) const SHOWN: usize = 12;

impl Treatments {
    /// Takes in the next record of the log.
    pub fn apply(&mut self, record: &ActionRecord) {
        let Some(digest) = record.digest.as_deref().filter(|digest| is_hexadecimal(digest, 64)) else {
            return;
        };
        if record.step.is_some() {
            return;
        }
        let known = self.by_digest.get(digest).map(|told| told.state);
        let state = match (record.kind, record.outcome) {
            (ActionKind::ReassignPartitions, Some(Outcome::Proposed)) => State::Proposed,
            (ActionKind::ReassignPartitions, Some(Outcome::Intended)) => State::Running,
            (ActionKind::ReassignPartitions, Some(Outcome::Done)) => State::Completed,
            (ActionKind::ReassignPartitions, Some(Outcome::Aborted)) => State::Aborted,
            (ActionKind::ReassignPartitions, Some(Outcome::Failed)) => State::Failed,
            (ActionKind::Cancel, _) if record.message.starts_with("rejected") => State::Rejected,
            (ActionKind::Cancel, _) if record.message.starts_with("superseded") => State::Superseded,
            (ActionKind::Cancel, _) => State::Expired,
            // What cannot be followed is refused, which makes it wait again.
            (ActionKind::Approved, _) if known == Some(State::Proposed) => State::Approved,
            (ActionKind::Refused, _) if known == Some(State::Approved) => State::Proposed,
            _ => return,
        };
        self.news += 1;
        let told = self.by_digest.entry(digest.to_owned()).or_insert_with(|| Told {
            digest: digest.to_owned(),
            policy: record.policy.clone(),
            cluster: record.cluster.clone(),
            state,
            since: record.time,
            cause: String::new(),
            what: String::new(),
            message: String::new(),
            news: 0,
        });
        (told.state, told.since, told.news) = (state, record.time, self.news);
        told.message.clone_from(&record.message);
        if let Some(plan) = record.treatment.as_ref().and_then(|detail| detail.plan.as_ref()) {
            told.policy.clone_from(&record.policy);
            told.cluster.clone_from(&record.cluster);
            told.cause.clone_from(&plan.cause.reason);
            let treatment = Treatment::new(plan.cause.clone(), plan.changes.clone(), plan.throttle);
            told.what = treatment.map(|treatment| treatment.sentence()).unwrap_or_default();
        }
        if self.by_digest.len() > MOST {
            let oldest = self.by_digest.values().min_by_key(|told| told.news).map(|told| told.digest.clone());
            oldest.into_iter().for_each(|digest| drop(self.by_digest.remove(&digest)));
        }
    }

    /// The treatment that a person means and may decide about: approve while it waits, and reject while it waits or runs.
    ///
    /// # Errors
    /// See [`NotFound`].
    pub fn open(&self, given: &str, approve: bool) -> Result<&Told, NotFound> {
        let digits = given.trim().to_lowercase();
        if !is_hexadecimal(&digits, digits.len()) || !(LEAST..=64).contains(&digits.len()) {
            return Err(NotFound::NoDigest(given.to_owned()));
        }
        let all: Vec<&Told> =
            self.by_digest.values().filter(|told| told.digest.starts_with(&digits)).collect();
        let told = match all.as_slice() {
            [] => return Err(NotFound::Unknown(digits)),
            [told] => *told,
            several => return Err(NotFound::Ambiguous(digits, several.len().to_string())),
        };
        match told.state {
            State::Proposed | State::Approved => Ok(told),
            State::Running if !approve => Ok(told),
            state => Err(NotFound::NotWaiting(digits, state, told.since, told.message.clone())),
        }
    }

    /// All of them, the one with the newest news first.
    pub fn newest_first(&self) -> Vec<&Told> {
        let mut all: Vec<&Told> = self.by_digest.values().collect();
        all.sort_by_key(|told| std::cmp::Reverse(told.news));
        all
    }

    /// A table for people.
    pub fn table(&self) -> String {
        if self.by_digest.is_empty() {
            return "no treatment is in the newest part of the actions log\n".to_owned();
        }
        let mut text = format!("{:SHOWN$}  {:10}  {:20}  {:20}  WHAT\n", "DIGEST", "STATE", "SINCE", "CAUSE");
        for told in self.newest_first() {
            let digits = told.digest.get(..SHOWN).unwrap_or_default();
            let since = Timestamp::from_second(told.since.as_second()).unwrap_or(told.since);
            let what = if told.what.is_empty() { &told.message } else { &told.what };
            text.push_str(&format!(
                "{digits}  {:10}  {since}  {:20}  {}\n",
                told.state,
                plain(&told.cause),
                plain(what)
            ));
        }
        text
    }
}

/// What was read, without anything that a terminal would take for a command.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_doctor::Vote;
    use doctorkafka_wire::{BrokerId, PartitionChange, TreatmentCause, TreatmentDetail, TreatmentPlan};

    fn digest(beginning: &str) -> String {
        format!("{beginning:0<64}")
    }

    fn record(digest: &str, kind: ActionKind, outcome: Outcome, message: &str) -> ActionRecord {
        let time = Timestamp::from_second(1_800_000_000).unwrap();
        let vote = Vote { approved: true, digest, policy: "prod", cluster: "c", by: "x", reason: None };
        ActionRecord { kind, outcome: Some(outcome), message: message.into(), ..vote.record(time) }
    }

    fn proposed(digest: &str) -> ActionRecord {
        let ids = |ids: [i32; 2]| ids.map(BrokerId).to_vec();
        let change =
            PartitionChange { topic: "t".into(), partition: 0, from: ids([1, 2]), to: ids([2, 1]), bytes: 0 };
        let plan = TreatmentPlan {
            cause: TreatmentCause { broker: None, reason: "Drain".into(), message: "asked for".into() },
            changes: vec![change],
            throttle: None,
            topics: Vec::new(),
            throttles_before: Vec::new(),
            unread: Vec::new(),
        };
        let detail = TreatmentDetail { plan: Some(plan), ..TreatmentDetail::default() };
        let record = record(digest, ActionKind::ReassignPartitions, Outcome::Proposed, "Proposed");
        ActionRecord { treatment: Some(Box::new(detail)), ..record }
    }

    fn told(records: &[ActionRecord]) -> Treatments {
        let mut all = Treatments::default();
        records.iter().for_each(|record| all.apply(record));
        all
    }

    #[test]
    fn the_newest_news_come_first_and_say_how_far_it_is() {
        let (a, b, c) = (digest("aaaaaa"), digest("bbbbbb"), digest("cccccc"));
        let reassign = ActionKind::ReassignPartitions;
        let all = told(&[
            proposed(&a),
            proposed(&b),
            record(&a, reassign, Outcome::Intended, "moving"),
            ActionRecord { step: Some(0), ..record(&b, reassign, Outcome::Failed, "a step") },
            record(&a, reassign, Outcome::Done, "moved"),
            record(&c, ActionKind::Cancel, Outcome::Aborted, "superseded: planned anew"),
        ]);
        let states: Vec<_> =
            all.newest_first().iter().map(|told| (told.state, told.digest.clone())).collect();
        assert_eq!(states, [(State::Superseded, c), (State::Completed, a), (State::Proposed, b)]);
        let table = all.table();
        let line = table.lines().find(|line| line.starts_with("bbbbbb000000")).unwrap();
        for part in ["Proposed ", "2027-01-15T08:00:00Z", "Drain", "moving the leadership of 1 partition"] {
            assert!(line.contains(part), "{table}");
        }
        assert!(told(&[]).table().starts_with("no treatment"));
    }

    #[test]
    fn a_digest_is_found_by_its_beginning() {
        let (a, b) = (digest("abcdef1"), digest("abcdef2"));
        let over = digest("123456");
        let all = told(&[
            proposed(&a),
            proposed(&b),
            proposed(&over),
            record(&over, ActionKind::Cancel, Outcome::Aborted, "expired: its cause has gone"),
        ]);
        assert_eq!(all.open("ABCDEF1", true).unwrap().digest, a);
        assert_eq!(all.open(&b, true).unwrap().digest, b);
        let error = |given: &str| all.open(given, true).unwrap_err();
        assert_eq!(error("abcdef"), NotFound::Ambiguous("abcdef".into(), "2".into()));
        assert_eq!(error("ffffff"), NotFound::Unknown("ffffff".into()));
        for bad in ["abcde", "", "xyzxyz", &"a".repeat(65)] {
            assert_eq!(error(bad), NotFound::NoDigest(bad.into()));
        }
        assert!(error("123456").to_string().contains("is Expired since"), "{}", error("123456"));
    }

    #[test]
    fn what_runs_can_be_stopped_and_not_be_approved() {
        let a = digest("aaaaaa");
        let begun = record(&a, ActionKind::ReassignPartitions, Outcome::Intended, "moving");
        let all = told(&[proposed(&a), begun]);
        assert_eq!(all.open("aaaaaa", false).unwrap().state, State::Running);
        assert!(all.open("aaaaaa", true).unwrap_err().to_string().contains("is Running since"));
    }

    #[test]
    fn what_was_refused_waits_again() {
        let a = digest("aaaaaa");
        let approved =
            || ActionRecord { outcome: None, ..record(&a, ActionKind::Approved, Outcome::Done, "") };
        assert_eq!(told(&[proposed(&a), approved()]).open("aaaaaa", true).unwrap().state, State::Approved);
        let refused = record(&a, ActionKind::Refused, Outcome::Failed, "no");
        assert_eq!(
            told(&[proposed(&a), approved(), refused]).open("aaaaaa", true).unwrap().state,
            State::Proposed
        );
        assert!(told(&[approved()]).newest_first().is_empty(), "an approval proposes nothing");
    }

    #[test]
    fn nothing_that_was_read_commands_the_terminal() {
        let mut forged = record(&digest("aaaaaa"), ActionKind::Cancel, Outcome::Aborted, "\x1b[2J\n gone");
        forged.policy = "\u{7}".into();
        let table = told(&[forged]).table();
        assert!(!table.contains('\x1b') && table.lines().count() == 2, "{table:?}");
    }

    #[test]
    fn a_long_log_is_bounded() {
        let mut all = Treatments::default();
        (0..MOST + 50).for_each(|number| all.apply(&proposed(&format!("{number:064x}"))));
        assert_eq!(all.by_digest.len(), MOST);
        assert!(all.by_digest.contains_key(&format!("{:064x}", MOST + 49)));
    }
}
