//! A `KafkaReassignment` as it was read from the API server.

use doctorkafka_api::{
    APPROVE_ANNOTATION, KafkaReassignment, KafkaReassignmentSpec, KafkaReassignmentStatus,
};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};

/// What people have written on an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// It is to be carried out; otherwise it is not.
    pub approved: bool,
    /// The digest that was named.
    pub digest: String,
    /// Who says so, by the name that the API server knows.
    pub by: Option<String>,
}

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub version: String,
    pub created: Timestamp,
    /// It is on its way out.
    pub deleting: bool,
    /// The uid of the policy that owns it.
    pub owner: Option<String>,
    /// `None` when it cannot be read, which the API server's schema rules out.
    pub spec: Option<KafkaReassignmentSpec>,
    pub status: KafkaReassignmentStatus,
    pub word: Option<Word>,
}

impl Seen {
    /// The resource, for dynamic clients.
    pub fn resource() -> ApiResource {
        ApiResource::erase::<KafkaReassignment>(&())
    }

    /// Reads an object. Spec and status are read apart, so that an object of another release hinders nothing.
    pub fn read(object: &DynamicObject) -> Option<Self> {
        let metadata = &object.metadata;
        let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
        let annotation = |name: &str| {
            let value = metadata.annotations.as_ref()?.get(name)?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let word = |approved, name| {
            let by = annotation(KafkaReassignment::APPROVED_BY_ANNOTATION);
            Some(Word { approved, digest: annotation(name)?, by })
        };
        let owners = metadata.owner_references.iter().flatten();
        Some(Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            owner: owners.filter(|owner| owner.controller == Some(true)).map(|o| o.uid.clone()).next(),
            spec: serde_json::from_value(part("spec")).ok(),
            status: serde_json::from_value(part("status")).unwrap_or_default(),
            // Whoever says both is not understood to approve.
            word: word(false, KafkaReassignment::REJECT_ANNOTATION)
                .or_else(|| word(true, APPROVE_ANNOTATION)),
        })
    }

    /// The digest it shows.
    pub fn digest(&self) -> &str {
        self.spec.as_ref().map(|spec| spec.digest.as_str()).unwrap_or_default()
    }

    /// Whether nothing more happens to it.
    pub fn is_final(&self) -> bool {
        self.status.phase.is_some_and(doctorkafka_api::Phase::is_final)
    }

    /// What to send to replace its status, if it is still of the version that was read.
    pub fn with_status(&self, status: &KafkaReassignmentStatus) -> DynamicObject {
        let mut object = DynamicObject::new(&self.name, &Self::resource()).within(&self.namespace);
        object.metadata.resource_version = Some(self.version.clone());
        object.metadata.uid = Some(self.uid.clone());
        object.data = serde_json::json!({ "status": status });
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(annotations: &[(&str, &str)]) -> Option<Word> {
        let mut object = DynamicObject::new("prod-1", &Seen::resource()).within("kafka");
        object.data = serde_json::json!({});
        let pairs = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        object.metadata.annotations = Some(pairs.collect());
        Seen::read(&object).unwrap().word
    }

    #[test]
    fn who_says_both_rejects_and_who_says_nothing_says_nothing() {
        let (approve, reject) = ("doctorkafka.dev/approve", "doctorkafka.dev/reject");
        let by = "doctorkafka.dev/approved-by";
        assert_eq!(word(&[]), None);
        assert_eq!(word(&[(approve, " ")]), None);
        let said = word(&[(approve, "d"), (by, "ann")]).unwrap();
        assert_eq!(said, Word { approved: true, digest: "d".into(), by: Some("ann".into()) });
        assert!(!word(&[(approve, "d"), (reject, "d"), (by, "ann")]).unwrap().approved);
        assert_eq!(word(&[(reject, "d"), (by, "")]).unwrap().by, None);
    }
}
