//! What the actions log says of treatments: which one is open, and how far it is.
//!
//! The executor itself keeps its knowledge by the same fold over the records that it has committed, so that a doctor that
//! takes over knows exactly as much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use doctorkafka_kafka::{ConfigResource, TopicPartition};
use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, ConfigAsked, Outcome, PartitionName, StopDecision, TreatmentDetail,
    TreatmentPlan,
};

use super::{Treatment, throttle};

/// A treatment that was begun, as far as the log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTreatment {
    treatment: Treatment,
    /// Ids of its topics when it began; a topic that was gone already is missing.
    topics: BTreeMap<String, u128>,
    /// Throttle settings that were there before.
    before: BTreeMap<(ConfigResource, String), String>,
    unread: BTreeSet<BrokerId>,
    next_step: u32,
    unanswered: Option<Unanswered>,
    begun: BTreeSet<TopicPartition>,
    skipped: BTreeSet<TopicPartition>,
    lent: bool,
    /// Rates that were asked for, each before it was set.
    rates: BTreeSet<u64>,
    /// The rate that is set; `None` while that is not certain.
    rate: Option<u64>,
    stop: Option<StopDecision>,
    owed: BTreeSet<BrokerId>,
}

/// A step that was about to be taken, and of which nothing more is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Its number.
    pub step: u32,
    /// Its kind.
    pub kind: ActionKind,
    /// What was to be asked of Kafka.
    pub detail: TreatmentDetail,
}

impl OpenTreatment {
    /// What was begun, when this is a record that begins a treatment, and a whole one.
    pub(super) fn begin(record: &ActionRecord) -> Option<Self> {
        let plan = record.treatment.as_ref()?.plan.as_ref()?;
        if record.kind != ActionKind::ReassignPartitions || record.outcome != Some(Outcome::Intended) {
            return None;
        }
        let TreatmentPlan { cause, changes, throttle, topics, throttles_before, unread } = plan.clone();
        let treatment = Treatment::new(cause, changes, throttle).ok()?;
        if record.digest.as_deref() != Some(treatment.digest()) {
            return None;
        }
        let id = |id: &str| u128::from_str_radix(id, 16).ok();
        Some(Self {
            treatment,
            topics: topics.into_iter().filter_map(|seen| Some((seen.topic, id(&seen.id)?))).collect(),
            before: throttles_before.into_iter().filter_map(setting).collect(),
            unread: unread.into_iter().collect(),
            next_step: 0,
            unanswered: None,
            begun: BTreeSet::new(),
            skipped: BTreeSet::new(),
            lent: false,
            rates: BTreeSet::new(),
            rate: None,
            stop: None,
            owed: BTreeSet::new(),
        })
    }

    /// Takes in a further record of this treatment. True when it ends it.
    pub(super) fn apply(&mut self, record: &ActionRecord) -> bool {
        if record.digest.as_deref() != Some(self.treatment.digest()) {
            return false;
        }
        let detail = record.treatment.as_deref();
        if let Some(detail) = detail {
            self.skipped.extend(detail.skipped.iter().map(partition));
            if self.stop.is_none() {
                self.stop = detail.stop.clone();
            }
        }
        match (record.step, record.outcome) {
            (Some(step), Some(Outcome::Intended)) => {
                let detail = detail.cloned().unwrap_or_default();
                self.next_step = self.next_step.max(step.saturating_add(1));
                self.lent |= !detail.configs.is_empty();
                if let Some(rate) = throttle::rate(&detail.configs) {
                    self.rates.insert(rate);
                    self.rate = None;
                }
                self.begun.extend(
                    detail.reassign.iter().map(|asked| TopicPartition {
                        topic: asked.topic.clone(),
                        partition: asked.partition,
                    }),
                );
                self.unanswered = Some(Unanswered { step, kind: record.kind, detail });
                false
            }
            (Some(step), Some(_)) => {
                let answered = self.unanswered.take_if(|unanswered| unanswered.step == step);
                if let Some(answered) = answered.filter(|_| record.outcome == Some(Outcome::Done)) {
                    self.rate = throttle::rate(&answered.detail.configs).or(self.rate);
                }
                false
            }
            (None, Some(Outcome::Done | Outcome::Failed | Outcome::Aborted))
                if record.kind == ActionKind::ReassignPartitions =>
            {
                self.owed = detail.map(|detail| detail.owed.iter().copied().collect()).unwrap_or_default();
                true
            }
            _ => false,
        }
    }

    /// The treatment.
    pub fn treatment(&self) -> &Treatment {
        &self.treatment
    }

    /// Number of the next step.
    pub fn next_step(&self) -> u32 {
        self.next_step
    }

    /// A step of which it is not known whether it was taken.
    pub fn unanswered(&self) -> Option<&Unanswered> {
        self.unanswered.as_ref()
    }

    /// The decision to give it up, if it was taken.
    pub fn stop(&self) -> Option<&StopDecision> {
        self.stop.as_ref()
    }

    /// Brokers that were down at its end and keep a throttle rate of it.
    pub fn owed(&self) -> &BTreeSet<BrokerId> {
        &self.owed
    }

    /// Whether a throttle was set, or may have been.
    pub fn has_lent(&self) -> bool {
        self.lent
    }

    /// The rate at which it is throttled, bytes a second at each broker; `None` while that is not certain.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    pub(super) fn has_asked_for(&self, rate: u64) -> bool {
        self.rates.contains(&rate)
    }

    pub(super) fn topic_id(&self, topic: &str) -> Option<u128> {
        self.topics.get(topic).copied()
    }

    pub(super) fn before(&self, resource: &ConfigResource, name: &str) -> Option<&str> {
        // A throttle has a few settings per broker and topic; the key is made once per setting and look.
        self.before.get(&(resource.clone(), name.to_owned())).map(String::as_str)
    }

    /// Whether the broker's settings before are not known.
    pub(super) fn is_unread(&self, broker: BrokerId) -> bool {
        self.unread.contains(&broker)
    }

    /// Whether this treatment has asked Kafka, or may have, to change the partition.
    pub(super) fn has_begun(&self, at: &TopicPartition) -> bool {
        self.begun.contains(at)
    }

    pub(super) fn is_skipped(&self, at: &TopicPartition) -> bool {
        self.skipped.contains(at)
    }
}

fn partition(name: &PartitionName) -> TopicPartition {
    TopicPartition { topic: name.topic.clone(), partition: name.partition }
}

fn setting(asked: ConfigAsked) -> Option<((ConfigResource, String), String)> {
    let resource = match (asked.broker, asked.topic) {
        (Some(broker), None) => ConfigResource::Broker(broker),
        (None, Some(topic)) => ConfigResource::Topic(topic),
        _ => return None,
    };
    Some(((resource, asked.name), asked.value?))
}

/// The fold over the actions log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    open: Option<OpenTreatment>,
    ended: VecDeque<OpenTreatment>,
}

impl Recovery {
    /// Ended treatments that are remembered, because they may have left a throttle.
    const ENDED: usize = 16;

    /// Takes in the next record of the log, of whatever kind.
    pub fn apply(&mut self, record: &ActionRecord) {
        if let Some(begun) = OpenTreatment::begin(record) {
            // One treatment at a time: an older one whose end is not in the log has been given up.
            let older = self.open.replace(begun);
            return self.remember(older);
        }
        if self.open.as_mut().is_some_and(|open| open.apply(record)) {
            let ended = self.open.take();
            self.remember(ended);
        }
    }

    /// The treatment that has to be finished or undone.
    pub fn open(&self) -> Option<&OpenTreatment> {
        self.open.as_ref()
    }

    /// Treatments that have ended and had a throttle, the oldest first. A call of an older leader may arrive after the
    /// end, and a broker may have been down then: [`super::Executor::sweep`] removes what is left.
    pub fn ended(&self) -> impl Iterator<Item = &OpenTreatment> {
        self.ended.iter()
    }

    fn remember(&mut self, ended: Option<OpenTreatment>) {
        self.ended.extend(ended.filter(|ended| ended.lent));
        if self.ended.len() > Self::ENDED {
            self.ended.pop_front();
        }
    }
}

/// What is open by the tail of the log, which must hold the record that begins it.
pub fn recover<'a>(records: impl IntoIterator<Item = &'a ActionRecord>) -> Option<OpenTreatment> {
    let mut recovery = Recovery::default();
    records.into_iter().for_each(|record| recovery.apply(record));
    recovery.open
}

/// The plan as the beginning record holds it.
pub(super) fn plan(
    treatment: &Treatment,
    topics: Vec<doctorkafka_wire::TopicSeen>,
    configs: &doctorkafka_kafka::DynamicConfigs,
) -> TreatmentPlan {
    let read = |broker: &BrokerId| configs.contains_key(&ConfigResource::Broker(*broker));
    TreatmentPlan {
        cause: treatment.cause().clone(),
        changes: treatment.changes().to_vec(),
        throttle: treatment.throttle(),
        topics,
        throttles_before: throttle::before(treatment, configs),
        unread: throttle::brokers(treatment).into_iter().filter(|broker| !read(broker)).collect(),
    }
}
