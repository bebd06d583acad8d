//! One AdmissionReview (`admission.k8s.io/v1`) in, one out. The pod is always allowed.

use super::{
    Injection, NotInjected, Outcome, SidecarSettings, counters::Counters, inject, watched::WatchedPolicies,
};
use kube::{
    api::DynamicObject,
    core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation},
};
use serde_json::Value;
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// How long an answer may take; API servers are told to wait a little longer.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long a broker's pod waits for its policy, which may have been applied together with it, and how often it looks.
const POLICY_COMES: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Longest warning: longer ones may be cut off on their way (`admission/v1` on `warnings`).
const LONGEST_WARNING: usize = 250;

/// Answers reviews.
#[derive(Debug)]
pub struct Reviewer {
    /// What sidecars are like.
    pub settings: SidecarSettings,
    /// The policies.
    pub policies: WatchedPolicies,
    /// Whether the cluster knows native sidecars, once that is known.
    pub native_sidecars: Arc<OnceLock<bool>>,
    /// What was done.
    pub counters: Arc<Counters>,
}

impl Reviewer {
    /// The answer to a request's body; `None` when it is no review.
    pub async fn answer(&self, body: &[u8]) -> Option<AdmissionReview<DynamicObject>> {
        let review = serde_json::from_slice::<AdmissionReview<DynamicObject>>(body).ok();
        let request: Option<AdmissionRequest<DynamicObject>> =
            review.and_then(|review| review.try_into().ok());
        let Some(request) = request else {
            self.counters.count(Outcome::Malformed);
            return None;
        };
        let decided = tokio::time::timeout(DEADLINE, self.decide(&request)).await;
        let decided = decided.unwrap_or_else(|_| Err(failed("no decision in time")));
        let who = format!("{}/{}", request.namespace.as_deref().unwrap_or_default(), name(&request));
        Some(
            match decided {
                Ok(injection) => self.injected(&request, &who, injection),
                Err(refusal) => self.left(&request, &who, refusal),
            }
            .into_review(),
        )
    }

    async fn decide(&self, request: &AdmissionRequest<DynamicObject>) -> Result<Injection, NotInjected> {
        let is_pod =
            request.kind.group.is_empty() && request.kind.kind == "Pod" && request.sub_resource.is_none();
        let (true, Operation::Create, Some(object)) = (is_pod, &request.operation, &request.object) else {
            return Err(NotInjected::expected(Outcome::Malformed, "this is no creation of a pod"));
        };
        let Some(namespace) = request.namespace.as_deref() else {
            return Err(NotInjected::expected(Outcome::Malformed, "a pod without a namespace"));
        };
        match self.native_sidecars.get() {
            Some(true) => {}
            Some(false) => {
                // As an ordinary init container it would never end, and the broker never start.
                let message = "Kubernetes before 1.29 has no native sidecars; add the sidecar by hand";
                return Err(NotInjected::surprising(Outcome::Unsuitable, message));
            }
            None => return Err(failed("the cluster's version is not known yet")),
        }
        let object: Value = serde_json::to_value(object).map_err(|error| failed(&error.to_string()))?;
        let begun = Instant::now();
        loop {
            let policies = self.policies.of(namespace).await;
            let policies = policies.ok_or_else(|| failed("the policies are not known yet"))?;
            match inject(&object, namespace, &policies, &self.settings) {
                Err(refusal) if refusal.outcome == Outcome::NoPolicy && begun.elapsed() < POLICY_COMES => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                decided => return decided,
            }
        }
    }

    fn injected(
        &self,
        request: &AdmissionRequest<DynamicObject>,
        who: &str,
        injection: Injection,
    ) -> AdmissionResponse {
        let mut response = match AdmissionResponse::from(request).with_patch(injection.patch) {
            Ok(response) => response,
            Err(error) => return self.left(request, who, failed(&error.to_string())),
        };
        self.count(request, Outcome::Injected);
        if request.dry_run {
            tracing::debug!(pod = who, dry_run = true, "the pod would get a sidecar");
        } else {
            tracing::info!(pod = who, "the pod gets a sidecar");
        }
        let warnings: Vec<_> = injection.warnings.iter().map(|warning| shown(warning)).collect();
        response.warnings = (!warnings.is_empty()).then_some(warnings);
        response
    }

    /// Of pods that come to be: a dry run makes none, and is answered all the same.
    fn count(&self, request: &AdmissionRequest<DynamicObject>, outcome: Outcome) {
        if !request.dry_run {
            self.counters.count(outcome);
        }
    }

    fn left(
        &self,
        request: &AdmissionRequest<DynamicObject>,
        who: &str,
        refusal: NotInjected,
    ) -> AdmissionResponse {
        self.count(request, refusal.outcome);
        let mut response = AdmissionResponse::from(request);
        if refusal.expected || request.dry_run {
            tracing::debug!(pod = who, dry_run = request.dry_run, "no sidecar: {refusal}");
        } else {
            tracing::warn!(pod = who, "no sidecar: {refusal}");
        }
        if !refusal.expected {
            response.warnings = Some(vec![shown(&format!("no sidecar injected: {refusal}"))]);
        }
        response
    }
}

fn failed(message: &str) -> NotInjected {
    NotInjected::surprising(Outcome::Failed, format!("{message}; recreate the pod to try again"))
}

/// A pod's name, or what its name will begin with.
fn name(request: &AdmissionRequest<DynamicObject>) -> &str {
    let metadata = request.object.as_ref().map(|object| &object.metadata);
    let generated = || metadata.and_then(|metadata| metadata.generate_name.as_deref());
    let given = metadata.and_then(|metadata| metadata.name.as_deref());
    given.or_else(generated).unwrap_or_default()
}

/// A warning that API servers pass on whole.
fn shown(message: &str) -> String {
    let printable = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    format!("doctorkafka: {}", printable.take(LONGEST_WARNING - 13).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_api::KafkaHealthPolicy;
    use kube::{
        api::ApiResource,
        runtime::{reflector::store::Writer, watcher::Event},
    };
    use serde_json::json;

    fn review() -> Vec<u8> {
        review_of(false)
    }

    fn review_of(dry_run: bool) -> Vec<u8> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "kafka-0", "namespace": "kafka", "labels": {"doctorkafka.dev/inject": "true"}},
            "spec": {"containers": [{"name": "kafka", "image": "apache/kafka:4.3.1"}]},
        });
        let request = json!({
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "kafka-0", "namespace": "kafka", "operation": "CREATE", "userInfo": {}, "object": pod,
            "dryRun": dry_run,
        });
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        review.to_string().into_bytes()
    }

    /// `kubectl apply --dry-run=server` is told what would be, and nothing has been.
    #[tokio::test]
    async fn a_dry_run_is_answered_and_not_counted() {
        let resource = ApiResource::erase::<KafkaHealthPolicy>(&());
        let mut writer = Writer::new(resource.clone());
        writer.apply_watcher_event(&Event::Init);
        let mut policy = DynamicObject::new("prod", &resource).within("kafka");
        policy.data = json!({"spec": {"kafka": {"bootstrapServers": "kafka:9092"}}});
        writer.apply_watcher_event(&Event::InitApply(policy.clone()));
        writer.apply_watcher_event(&Event::InitDone);
        let reviewer = Reviewer {
            settings: SidecarSettings::for_tests(),
            policies: WatchedPolicies::from_store(writer.as_reader()),
            native_sidecars: Arc::new(OnceLock::from(true)),
            counters: Arc::default(),
        };
        let counted =
            || -> u64 { Outcome::ALL.iter().map(|outcome| reviewer.counters.outcome(*outcome)).sum() };
        let answer = async |dry_run| reviewer.answer(&review_of(dry_run)).await.unwrap().response.unwrap();
        assert!(answer(true).await.patch.is_some());
        assert_eq!(counted(), 0);
        assert!(answer(false).await.patch.is_some());
        assert_eq!((counted(), reviewer.counters.outcome(Outcome::Injected)), (1, 1));

        writer.apply_watcher_event(&Event::Delete(policy));
        let refused = answer(true).await;
        assert!(refused.patch.is_none() && refused.warnings.is_some(), "who tries is told why");
        assert_eq!(counted(), 1);
    }

    /// `kubectl apply` of a Kafka and its policy at once: whichever comes first.
    #[tokio::test]
    async fn a_broker_waits_a_moment_for_its_policy() {
        let resource = ApiResource::erase::<KafkaHealthPolicy>(&());
        let mut writer = Writer::new(resource.clone());
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let reviewer = Reviewer {
            settings: SidecarSettings::for_tests(),
            policies: WatchedPolicies::from_store(writer.as_reader()),
            native_sidecars: Arc::new(OnceLock::from(true)),
            counters: Arc::default(),
        };
        let begun = Instant::now();
        let answer = reviewer.answer(&review()).await.unwrap().response.unwrap();
        assert!(answer.patch.is_none() && begun.elapsed() >= POLICY_COMES);
        assert_eq!(reviewer.counters.outcome(Outcome::NoPolicy), 1);

        let mut policy = DynamicObject::new("prod", &resource).within("kafka");
        policy.data = json!({"spec": {"kafka": {"bootstrapServers": "kafka:9092"}}});
        // Comes when the review has looked in vain once.
        let apply = async { writer.apply_watcher_event(&Event::Apply(policy)) };
        let body = review();
        let (answer, ()) = tokio::join!(reviewer.answer(&body), apply);
        assert!(answer.unwrap().response.unwrap().patch.is_some());
        assert_eq!(reviewer.counters.outcome(Outcome::Injected), 1);
    }
}
