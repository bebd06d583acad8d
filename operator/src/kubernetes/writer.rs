//! The one task that writes statuses.
//!
//! It asks the lease before each write, times every call out, and names the version that it replaces: what an old leader
//! sends late, after a pause, is refused by the API server. While the API server is away the newest facts wait on the
//! board and are written when it returns.

use super::{
    facts::{Board, Facts},
    lease::Leadership,
    object::{PolicyKey, PolicyObject},
    pace, status,
};
use crate::fleet::Fleet;
use doctorkafka_api::KafkaHealthPolicyStatus;
use doctorkafka_doctor::Role;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest wait for one call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two looks at the board: facts that come in a burst are looked at once.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a new leader's engine may take to open its log before the status says that it has not.
const SETTLING: Duration = Duration::from_secs(10);

/// First and longest pause after a write that failed.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Writes the statuses of all policies.
pub(super) struct StatusWriter {
    client: Client,
    leadership: Leadership,
    board: Arc<Board>,
    fleet: Fleet,
    known: BTreeMap<PolicyKey, Known>,
    leading_since: Option<Instant>,
}

/// What is known of one policy's status at the API server.
struct Known {
    uid: String,
    version: String,
    status: KafkaHealthPolicyStatus,
    /// Facts that it says already.
    settled: Option<Arc<Facts>>,
    /// When this process last wrote it.
    written: Option<Instant>,
    /// Not to be tried before, and after which pause.
    retry: Option<(Instant, Duration)>,
}

impl StatusWriter {
    pub fn new(client: Client, leadership: Leadership, board: Arc<Board>, fleet: Fleet) -> Self {
        Self { client, leadership, board, fleet, known: BTreeMap::new(), leading_since: None }
    }

    /// Writes until it is dropped.
    pub async fn run(mut self) {
        let mut changes = self.board.changed();
        let mut authority = self.leadership.authority.clone();
        loop {
            changes.mark_unchanged();
            let next = self.round().await;
            tokio::time::sleep(LOOK_EVERY).await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = authority.changed() => if changed.is_err() { return },
                () = super::until(next) => {}
            }
        }
    }

    /// Writes what is due, and says when the next will be.
    async fn round(&mut self) -> Option<Instant> {
        if !self.leadership.is_valid() {
            self.leading_since = None;
            return None;
        }
        if self.leading_since.is_none() {
            self.leading_since = Some(Instant::now());
            // What failed before the lease was renewed need not fail now.
            self.known.values_mut().for_each(|known| known.retry = None);
        }
        let all = self.board.all();
        self.known.retain(|key, _| all.contains_key(key));
        let mut next: Option<Instant> = None;
        for facts in all.values() {
            let now = Instant::now();
            let Some((due, status)) = self.consider(facts, now) else { continue };
            let due = if due <= now { self.write(facts, status).await } else { Some(due) };
            next = next.into_iter().chain(due).min();
        }
        next
    }

    /// What is to be written for a policy, and when. `None` when nothing is.
    fn consider(&mut self, facts: &Arc<Facts>, now: Instant) -> Option<(Instant, KafkaHealthPolicyStatus)> {
        let known = self.known.entry(facts.object.key.clone()).or_insert_with(|| Known::read(&facts.object));
        if known.settled.as_ref().is_some_and(|settled| Arc::ptr_eq(settled, facts)) {
            return None;
        }
        known.learn(&facts.object);
        let status = status::project(facts, &known.status, Timestamp::now());
        let Some(mut due) = pace::due(pace::change(&known.status, &status), known.written, now) else {
            known.settled = Some(facts.clone());
            return None;
        };
        if let Some((retry, _)) = known.retry {
            due = due.max(retry);
        }
        if let Some(since) = self.leading_since.filter(|_| is_settling(facts)) {
            due = due.max(since + SETTLING);
        }
        Some((due, status))
    }

    /// Writes one status. Says when to look at it again.
    async fn write(&mut self, facts: &Facts, status: KafkaHealthPolicyStatus) -> Option<Instant> {
        let object = &facts.object;
        let known = self.known.get_mut(&object.key)?;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &object.key.namespace, &PolicyObject::resource());
        let parameters =
            PostParams { field_manager: Some("doctorkafka-operator".to_owned()), ..PostParams::default() };
        let body = object.with_status(&known.version, &status);
        // Last of all, right before the call.
        if !self.leadership.is_valid() {
            return None;
        }
        let call = api.replace_status(&object.key.name, &parameters, &body);
        let error = match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(stored)) => {
                self.fleet.count_status_write(&object.key.to_string());
                known.version = stored.metadata.resource_version.unwrap_or_default();
                known.status = status;
                known.written = Some(Instant::now());
                if known.retry.take().is_some() {
                    tracing::info!(policy = %object.key, "the status is written again");
                }
                return None;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                return known.read_again(&api, object).await;
            }
            // It was deleted a moment ago, and the watch will say so.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => "it does not exist".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {TIMEOUT:?}"),
        };
        if known.retry.is_none() {
            tracing::warn!(policy = %object.key, "the status could not be written, trying on: {error}");
        }
        Some(known.fail())
    }
}

impl Known {
    fn read(object: &PolicyObject) -> Self {
        Self {
            uid: object.uid.clone(),
            version: object.version.clone(),
            status: object.status.clone(),
            settled: None,
            written: None,
            retry: None,
        }
    }

    /// Takes in what the watch says, if it is newer than what is known.
    fn learn(&mut self, object: &PolicyObject) {
        if self.uid != object.uid {
            *self = Self::read(object);
        } else if is_newer(&object.version, &self.version) {
            self.version.clone_from(&object.version);
            self.status.clone_from(&object.status);
        }
    }

    /// After a conflict: somebody else has changed the object, and the watch may not have said so yet.
    async fn read_again(&mut self, api: &Api<DynamicObject>, object: &PolicyObject) -> Option<Instant> {
        match tokio::time::timeout(TIMEOUT, api.get_opt(&object.key.name)).await {
            Ok(Ok(found)) => {
                let current =
                    found.as_ref().and_then(PolicyObject::read).filter(|found| found.uid == object.uid)?;
                self.version = current.version;
                self.status = current.status;
                Some(Instant::now() + LOOK_EVERY)
            }
            Ok(Err(error)) => Some(self.fail_to_read(object, &error.to_string())),
            Err(_) => Some(self.fail_to_read(object, &format!("no answer within {TIMEOUT:?}"))),
        }
    }

    fn fail_to_read(&mut self, object: &PolicyObject, error: &str) -> Instant {
        if self.retry.is_none() {
            tracing::warn!(policy = %object.key, "cannot be read after a conflict, trying on: {error}");
        }
        self.fail()
    }

    fn fail(&mut self) -> Instant {
        let pause = self.retry.map_or(PAUSES.0, |(_, pause)| (pause * 2).min(PAUSES.1));
        let retry = Instant::now() + pause;
        self.retry = Some((retry, pause));
        retry
    }
}

/// Whether the engine is only on its way to lead: nothing of that is worth telling if it ends well.
fn is_settling(facts: &Facts) -> bool {
    let on_its_way = facts.report.as_ref().is_none_or(|report| {
        matches!(report.role, Role::Standby | Role::TakingOver) && report.kafka.reachable != Some(false)
    });
    on_its_way && facts.problem.is_none() && facts.conflict().is_none() && facts.fenced.is_none()
}

/// Whether a version is newer than another. Versions are numbers that rise (KEP-5504); of any that are not, the one at
/// hand is taken for newer, and a write by it is refused if it is not.
fn is_newer(version: &str, than: &str) -> bool {
    match (version.parse::<u128>(), than.parse::<u128>()) {
        (Ok(version), Ok(than)) => version > than,
        _ => version != than,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_newer("10", "9"));
        assert!(!is_newer("9", "10"));
        assert!(!is_newer("10", "10"));
        assert!(is_newer("a", "b") && is_newer("b", "a") && !is_newer("a", "a"));
    }
}
