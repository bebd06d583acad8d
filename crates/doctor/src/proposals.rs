//! What the engine would do, and what people have decided about it.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_api::EffectiveMode;
use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::execute::Treatment;

/// A treatment that would help, whole, as it would be carried out: the same digest for as long as the cluster does not
/// drift, the cause stands and it is not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// What would be done.
    pub treatment: Treatment,
    /// Why each of its changes, in their order; empty when there is nothing to say of any.
    pub why: Vec<String>,
    /// Since when it is proposed.
    pub since: Timestamp,
    /// What happens to it: [`EffectiveMode::Approve`] waits for a person, [`EffectiveMode::Recommend`] is only said.
    pub mode: EffectiveMode,
    /// Names of the rules that it was checked against.
    pub rules: Vec<&'static str>,
}

/// As in the report: what it is and what it costs. The changes themselves may be thousands.
impl Serialize for Proposed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.treatment.moves().map(|change| change.bytes).fold(0, u64::saturating_add);
        let mut object = serializer.serialize_struct("Proposed", 7)?;
        object.serialize_field("digest", self.treatment.digest())?;
        object.serialize_field("message", &self.treatment.sentence())?;
        object.serialize_field("cause", self.treatment.cause())?;
        object.serialize_field("partitions", &self.treatment.changes().len())?;
        object.serialize_field("bytes", &bytes)?;
        object.serialize_field("since", &self.since)?;
        object.serialize_field("mode", &self.mode)?;
        object.end()
    }
}

/// What a person has decided about a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// It is to be carried out; otherwise it is not.
    pub approved: bool,
    /// Who decided.
    pub by: String,
    /// When, by the clock of whoever noted it.
    pub at: Timestamp,
}

/// A decision that cannot count, which the engine writes down in the actions log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Misapproval {
    /// Names it, so that it is written once.
    pub id: String,
    /// The digest that was named, as far as it is one.
    pub digest: String,
    /// Who decided.
    pub by: String,
    /// Why it does not count, for people.
    pub why: String,
}

/// Everything that people have decided about proposals, and that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    /// By digest.
    pub given: BTreeMap<String, Decision>,
    /// Those that do not count.
    pub refused: BTreeSet<Misapproval>,
}

impl Decisions {
    /// What was decided about a treatment.
    pub fn about(&self, digest: &str) -> Option<&Decision> {
        self.given.get(digest)
    }
}
