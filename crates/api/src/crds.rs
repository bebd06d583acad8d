//! The custom resource definitions.

use crate::{KafkaHealthPolicy, KafkaReassignment};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Every custom resource definition: that of [`KafkaHealthPolicy`], then that of [`KafkaReassignment`].
pub fn crds() -> [CustomResourceDefinition; 2] {
    [KafkaHealthPolicy::crd(), KafkaReassignment::crd()]
}
