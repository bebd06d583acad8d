//! Approvals and rejections by records in the actions log, for those who have no Kubernetes.
//!
//! Anyone who may write to the topic can write one, so it is taken for what it says about exactly one treatment that
//! stands proposed, and for nothing else. Pure.

use std::collections::{BTreeSet, VecDeque};

use doctorkafka_wire::{ActionKind, ActionRecord, Evidence, Outcome, Severity};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{Decision, Misapproval, alerts::Draft};

/// Decisions that wait for their treatment, or for an answer, at the most.
const MOST_OPEN: usize = 64;

/// Refused decisions that are remembered, so that each is answered once.
const MOST_TOLD: usize = 1_000;

/// An approval is for the cluster as it was: after this time it counts no more.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);

/// The longest name that is believed, characters.
const LONGEST_NAME: usize = 256;

/// Names in the evidence.
const BY: &str = "by";
const REASON: &str = "reason";
const DECISION: &str = "decision";
const RULE: &str = "rule";

/// Why decisions count no more.
const ANEW: &str = "it was proposed anew after that";
const OLD: &str = "it came more than a day ago";

/// The name of the rule by which a decision that does not count is refused.
const NAME_OF_RULE: &str = "Approval";

/// A person's decision, on its way into the actions log.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a> {
    /// The treatment is to be carried out; otherwise it is not.
    pub approved: bool,
    /// Its whole digest.
    pub digest: &'a str,
    /// The policy as the proposal names it.
    pub policy: &'a str,
    /// The Kafka cluster's id.
    pub cluster: &'a str,
    /// Who decides.
    pub by: &'a str,
    /// Why, if they say so.
    pub reason: Option<&'a str>,
}

impl Vote<'_> {
    /// The record that says so.
    pub fn record(&self, time: Timestamp) -> ActionRecord {
        let kind = if self.approved { ActionKind::Approved } else { ActionKind::Rejected };
        let what = if self.approved { "approves" } else { "rejects" };
        let reason = self.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut evidence = Evidence::new();
        evidence.insert(BY.to_owned(), json!(self.by));
        evidence.extend(self.reason.map(|reason| (REASON.to_owned(), json!(reason))));
        ActionRecord {
            version: ActionRecord::VERSION,
            id: ActionRecord::new_id(),
            time,
            policy: self.policy.to_owned(),
            cluster: self.cluster.to_owned(),
            // Written by a person, in nobody's term.
            epoch: 0,
            kind,
            severity: Severity::Info,
            broker: None,
            message: format!("{} {what} {}{reason}", self.by, short(self.digest)),
            outcome: None,
            leadership: Vec::new(),
            digest: Some(self.digest.to_owned()),
            step: None,
            treatment: None,
            evidence,
        }
    }
}

/// The id of the decision that a record refuses, if it is one.
pub fn refused_decision(record: &ActionRecord) -> Option<&str> {
    let is_refusal = record.kind == ActionKind::Refused;
    record.evidence.get(DECISION)?.as_str().filter(|_| is_refusal)
}

/// How a treatment that somebody decided about stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It waits for approval.
    Waits,
    /// It is known, and it is not clear yet whether it stands.
    Unclear,
    /// It does not wait for anybody, for people.
    No(String),
}

/// Decisions in the log that are still to be followed or answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intake {
    open: VecDeque<Open>,
    /// Ids of decisions that were refused.
    told: VecDeque<String>,
    /// The log was read up to here.
    read_to: Option<i64>,
    /// Records that look like decisions and are none.
    ignored: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    id: String,
    policy: String,
    cluster: String,
    digest: String,
    decision: Decision,
    /// Why it counts no more.
    stale: Option<&'static str>,
}

impl Intake {
    /// Takes in a record of the log. What was read before is not taken twice.
    pub fn apply(&mut self, offset: i64, record: &ActionRecord) {
        if self.read_to.is_some_and(|read_to| offset <= read_to) {
            return;
        }
        self.read_to = Some(offset);
        match record.kind {
            ActionKind::Approved | ActionKind::Rejected => self.ask(record),
            ActionKind::Refused => self.refused(record),
            ActionKind::ReassignPartitions | ActionKind::Cancel => self.note(record),
            _ => {}
        }
    }

    /// Takes in what became of a treatment: what was decided about it before has been followed, or is over.
    pub fn note(&mut self, record: &ActionRecord) {
        if record.step.is_some()
            || !matches!(record.kind, ActionKind::ReassignPartitions | ActionKind::Cancel)
        {
            return;
        }
        let about = |open: &Open| record.digest.as_deref() == Some(open.digest.as_str());
        match record.outcome {
            Some(Outcome::Proposed) => {
                self.open.iter_mut().filter(|open| about(open)).for_each(|open| open.stale = Some(ANEW));
            }
            Some(_) => self.open.retain(|open| !about(open)),
            None => {}
        }
    }

    /// What was decided about a treatment has been followed.
    pub fn followed(&mut self, digest: &str) {
        self.open.retain(|open| open.digest != digest);
    }

    /// Whether the same decisions stand.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.open == other.open
    }

    fn ask(&mut self, record: &ActionRecord) {
        let by = record.evidence.get(BY).and_then(|by| by.as_str()).map(str::trim).unwrap_or_default();
        let digest = record.digest.as_deref().unwrap_or_default();
        let whole = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let named = !by.is_empty() && by.chars().count() <= LONGEST_NAME;
        let known = self.told.contains(&record.id) || self.open.iter().any(|open| open.id == record.id);
        if !whole || !named || known || record.id.len() > 64 {
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        let approved = record.kind == ActionKind::Approved;
        // The last word on a treatment counts.
        self.open.retain(|open| {
            (open.digest.as_str(), &open.policy, &open.cluster) != (digest, &record.policy, &record.cluster)
        });
        if self.open.len() == MOST_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Open {
            id: record.id.clone(),
            policy: record.policy.clone(),
            cluster: record.cluster.clone(),
            digest: digest.to_owned(),
            decision: Decision { approved, by: by.to_owned(), at: record.time },
            stale: None,
        });
    }

    fn refused(&mut self, record: &ActionRecord) {
        if let Some(id) = refused_decision(record) {
            self.open.retain(|open| open.id != id);
            self.tell(id.to_owned());
        }
    }

    fn tell(&mut self, id: String) {
        if !self.told.contains(&id) {
            if self.told.len() == MOST_TOLD {
                self.told.pop_front();
            }
            self.told.push_back(id);
        }
    }

    /// What stands decided about a treatment of this policy and cluster.
    pub fn about(&self, digest: &str, policy: &str, cluster: &str) -> Option<Decision> {
        let mut open = self.open.iter().filter(|open| open.is_of(policy, cluster) && open.stale.is_none());
        open.find(|open| open.digest == digest).map(|open| open.decision.clone())
    }

    /// Forgets what was decided for others than this policy and cluster, and refuses what cannot be followed: the records
    /// that say so, at most `room`.
    pub fn answer(
        &mut self,
        (policy, cluster): (&str, &str),
        now: Timestamp,
        stands: impl Fn(&str, bool) -> Stands,
        misapprovals: &BTreeSet<Misapproval>,
        room: usize,
    ) -> Vec<Draft> {
        let before = self.open.len();
        self.open.retain(|open| open.is_of(policy, cluster));
        self.ignored = self.ignored.saturating_add((before - self.open.len()) as u64);
        for open in self.open.iter_mut().filter(|open| open.is_old(now)) {
            open.stale = Some(OLD);
        }
        let mut drafts = Vec::new();
        for open in std::mem::take(&mut self.open) {
            let why = match stands(&open.digest, open.decision.approved) {
                Stands::Unclear => None,
                Stands::No(why) => Some(why),
                Stands::Waits => open.stale.map(str::to_owned),
            };
            match why.filter(|_| drafts.len() < room) {
                None => self.open.push_back(open),
                Some(why) => {
                    let what = if open.decision.approved { "approval" } else { "rejection" };
                    let message = format!(
                        "the {what} of {} by {} is refused: {why}",
                        short(&open.digest),
                        open.decision.by
                    );
                    drafts.push(refusal(message, &open.id, &open.digest, &open.decision.by));
                    self.tell(open.id);
                }
            }
        }
        for misapproval in misapprovals {
            if drafts.len() < room && !self.told.contains(&misapproval.id) {
                let Misapproval { id, digest, by, why } = misapproval;
                drafts.push(refusal(why.clone(), id, digest, by));
                self.tell(id.clone());
            }
        }
        drafts
    }
}

impl Open {
    fn is_of(&self, policy: &str, cluster: &str) -> bool {
        self.policy == policy && self.cluster == cluster
    }

    fn is_old(&self, now: Timestamp) -> bool {
        now.duration_since(self.decision.at) > OLDEST
    }
}

fn refusal(message: String, id: &str, digest: &str, by: &str) -> Draft {
    let mut draft = Draft::new(ActionKind::Refused, Severity::Warning, None, message);
    draft.digest = Some(digest.to_owned());
    for (name, value) in [(RULE, NAME_OF_RULE), (DECISION, id), (BY, by)] {
        draft.evidence.insert(name.to_owned(), json!(value));
    }
    draft
}

/// The first digits of a digest, as people use them.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests;
