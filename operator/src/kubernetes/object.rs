//! A policy as it was read from the API server.

use doctorkafka_api::{KafkaHealthPolicy, KafkaHealthPolicySpec, KafkaHealthPolicyStatus, is_paused};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Resource,
    api::{ApiResource, DynamicObject, ObjectMeta},
};
use std::fmt;

/// A policy's namespace and name: how it is called everywhere, the actions log included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PolicyKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A policy object. Metadata is always there; spec and status are read apart, so that one that cannot be read is a
/// condition on this object and hinders nothing else.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PolicyObject {
    /// Namespace and name.
    pub key: PolicyKey,
    /// Tells it from an earlier object of the same name.
    pub uid: String,
    /// When it was created; decides which of two policies was first.
    pub created: Timestamp,
    /// Counts the changes of the spec.
    pub generation: Option<i64>,
    /// The version that was read.
    pub version: String,
    /// Whether treatment is to stand still.
    pub paused: bool,
    /// The spec, or why it cannot be read: `spec.mode: unknown variant ...`.
    pub spec: Result<KafkaHealthPolicySpec, String>,
    /// The status as it stands there; empty when there is none, or none that can be read.
    pub status: KafkaHealthPolicyStatus,
}

impl PolicyObject {
    /// The resource, for dynamic clients.
    pub fn resource() -> ApiResource {
        ApiResource::erase::<KafkaHealthPolicy>(&())
    }

    /// Reads an object. `None` for one that is on its way out, whatever still holds it.
    pub fn read(object: &DynamicObject) -> Option<Self> {
        let ObjectMeta {
            namespace,
            name,
            uid,
            creation_timestamp,
            generation,
            resource_version,
            annotations,
            ..
        } = &object.metadata;
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let key = PolicyKey { namespace: namespace.clone()?, name: name.clone()? };
        let spec = object.data.get("spec").unwrap_or(&serde_json::Value::Null);
        let spec =
            serde_path_to_error::deserialize(spec).map_err(|error| match error.path().to_string().as_str() {
                "." => format!("spec: {}", error.inner()),
                path => format!("spec.{path}: {}", error.inner()),
            });
        let status = object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
        Some(Self {
            key,
            uid: uid.clone().unwrap_or_default(),
            created: creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            generation: *generation,
            version: resource_version.clone().unwrap_or_default(),
            paused: is_paused(annotations.as_ref()),
            spec,
            status: status.unwrap_or_default(),
        })
    }

    /// What to send to replace its status, if it is still of the version that was read.
    pub fn with_status(&self, version: &str, status: &KafkaHealthPolicyStatus) -> DynamicObject {
        let mut object = DynamicObject::new(&self.key.name, &Self::resource()).within(&self.key.namespace);
        object.metadata.resource_version = Some(version.to_owned());
        object.metadata.uid = Some(self.uid.clone());
        object.data = serde_json::json!({ "status": status });
        object
    }

    /// What Events refer to.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(KafkaHealthPolicy::api_version(&()).into_owned()),
            kind: Some(KafkaHealthPolicy::kind(&()).into_owned()),
            namespace: Some(self.key.namespace.clone()),
            name: Some(self.key.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_api::PAUSED_ANNOTATION;
    use serde_json::json;

    fn object(data: serde_json::Value) -> DynamicObject {
        let mut object = DynamicObject::new("prod", &PolicyObject::resource()).within("kafka");
        object.data = data;
        object
    }

    #[test]
    fn a_spec_that_cannot_be_read_names_its_field() {
        let spec =
            json!({"kafka": {"bootstrapServers": "a:9092"}, "detection": {"cpu": {"overloadedAbove": 300}}});
        let read = PolicyObject::read(&object(json!({ "spec": spec }))).unwrap();
        let error = read.spec.unwrap_err();
        assert!(error.starts_with("spec.detection.cpu.overloadedAbove: "), "{error}");
        let read = PolicyObject::read(&object(json!({}))).unwrap();
        assert!(read.spec.unwrap_err().starts_with("spec: "));
    }

    #[test]
    fn a_status_that_cannot_be_read_is_none() {
        let data = json!({"spec": {"kafka": {"bootstrapServers": "a:9092"}}, "status": {"brokers": "many"}});
        let read = PolicyObject::read(&object(data)).unwrap();
        assert_eq!(read.status, KafkaHealthPolicyStatus::default());
        assert_eq!(read.spec.unwrap().kafka.bootstrap_servers, "a:9092");
    }

    #[test]
    fn an_object_on_its_way_out_is_gone() {
        let mut dying = object(json!({}));
        dying.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        assert_eq!(PolicyObject::read(&dying), None);
    }

    #[test]
    fn only_true_pauses() {
        for (value, paused) in [("true", true), ("True", true), ("false", false), ("", false)] {
            let mut marked = object(json!({}));
            marked.metadata.annotations = Some([(PAUSED_ANNOTATION.to_owned(), value.to_owned())].into());
            assert_eq!(PolicyObject::read(&marked).unwrap().paused, paused, "{value:?}");
        }
    }
}
