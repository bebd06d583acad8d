//! Kubernetes Events from the records of the actions log.
//!
//! Only what the engine has committed to the log becomes an Event, only by the leader, and only what was written in its
//! own epoch: a failover repeats nothing. An Event's name is made from the record's id, so that a repeated try cannot
//! make two of one.

use super::{
    facts::{Board, Facts},
    lease::Leadership,
    object::{PolicyKey, PolicyObject},
};
use doctorkafka_doctor::about;
use doctorkafka_wire::{ActionKind, ActionRecord, Outcome, Severity};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::events::v1::Event, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest wait for one call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a call that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How many Events of one policy may come at once, and how often one more may come after that.
const BURST: (u32, Duration) = (30, Duration::from_secs(10));

/// Records older than this are history.
const OLDEST: SignedDuration = SignedDuration::from_hours(1);

/// The API server's limits for an Event (`k8s.io/kubernetes/pkg/apis/core/validation/events.go`).
const MAX_NOTE: usize = 1024;
const MAX_INSTANCE: usize = 128;

/// Writes the Events of all policies.
pub(super) struct EventWriter {
    client: Client,
    leadership: Leadership,
    board: Arc<Board>,
    instance: String,
    told: BTreeMap<PolicyKey, Told>,
}

/// How far one policy's records have been told.
#[derive(Debug)]
struct Told {
    uid: String,
    last: Option<String>,
    allowance: Allowance,
    omitted: u32,
    retry: Option<Instant>,
}

impl EventWriter {
    pub fn new(client: Client, leadership: Leadership, board: Arc<Board>, identity: &str) -> Self {
        let instance = cut(identity, MAX_INSTANCE);
        Self { client, leadership, board, instance, told: BTreeMap::new() }
    }

    /// Writes until it is dropped.
    pub async fn run(mut self) {
        let mut changes = self.board.changed();
        loop {
            changes.mark_unchanged();
            let all = self.board.all();
            self.told.retain(|key, _| all.contains_key(key));
            let mut next: Option<Instant> = None;
            for facts in all.values() {
                next = next.into_iter().chain(self.tell(facts).await).min();
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = super::until(next) => {}
            }
        }
    }

    /// Tells what is new of one policy. Says when to try again, if something is left.
    async fn tell(&mut self, facts: &Facts) -> Option<Instant> {
        let (epoch, report) = (facts.epoch()?, facts.report.as_ref()?);
        let object = &facts.object;
        let told = self.told.entry(object.key.clone()).or_insert_with(|| Told::new(&object.uid));
        if told.uid != object.uid {
            *told = Told::new(&object.uid);
        }
        if let Some(retry) = told.retry.filter(|retry| *retry > Instant::now()) {
            return Some(retry);
        }
        let api: Api<Event> = Api::namespaced(self.client.clone(), &object.key.namespace);
        for record in untold(&report.actions, epoch, told.last.as_deref()) {
            let omitted = told.omitted;
            let event = is_recent(record.time, Timestamp::now())
                .then(|| event(record, object, &self.instance, omitted))
                .flatten();
            if let Some(event) = event {
                if !self.leadership.is_valid() {
                    // They are told when the lease is renewed, or by nobody if another has taken it.
                    return None;
                } else if !told.allowance.take(Instant::now()) {
                    told.omitted += 1;
                } else if let Err(error) = create(&api, &event).await {
                    tracing::warn!(policy = %object.key, "an Event could not be written, trying again: {error}");
                    let retry = Instant::now() + RETRY;
                    told.retry = Some(retry);
                    return Some(retry);
                } else {
                    told.omitted = 0;
                }
            }
            told.last = Some(record.id.clone());
        }
        told.retry = None;
        None
    }
}

impl Told {
    fn new(uid: &str) -> Self {
        Self { uid: uid.to_owned(), last: None, allowance: Allowance::full(), omitted: 0, retry: None }
    }
}

/// Creates an Event. What the API server will never take is given up, and said once.
async fn create(api: &Api<Event>, event: &Event) -> Result<(), String> {
    match tokio::time::timeout(TIMEOUT, api.create(&PostParams::default(), event)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
        Ok(Err(kube::Error::Api(status))) if (400..429).contains(&status.code) => {
            tracing::warn!("an Event was refused: {}", status.message);
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
    }
}

/// Whether a record is no history yet. Its time comes from outside, and may be the last there is.
fn is_recent(time: Timestamp, now: Timestamp) -> bool {
    now.duration_since(time) < OLDEST
}

/// The records of this epoch after the last that was told.
fn untold<'a>(
    records: &'a [ActionRecord],
    epoch: u64,
    last: Option<&str>,
) -> impl Iterator<Item = &'a ActionRecord> + use<'a> {
    let after =
        last.and_then(|last| records.iter().rposition(|record| record.id == last)).map_or(0, |at| at + 1);
    records.iter().skip(after).filter(move |record| record.epoch == epoch)
}

/// The Event for a record; `None` for kinds that are not told.
fn event(record: &ActionRecord, object: &PolicyObject, instance: &str, omitted: u32) -> Option<Event> {
    let (type_, reason, action) = match record.kind {
        ActionKind::AlertOverload => ("Warning", "Overloaded", "Diagnose"),
        // Part of a rolling update: expected, and over by itself. Or told late, and over already.
        ActionKind::AlertUnhealthy if record.severity == Severity::Info => {
            let restarts = record.evidence.get("reason").is_some_and(|reason| reason == "RollingUpdate");
            ("Normal", if restarts { "Restarting" } else { "Unhealthy" }, "Diagnose")
        }
        ActionKind::AlertUnhealthy => ("Warning", "Unhealthy", "Diagnose"),
        ActionKind::AlertUnknown => ("Warning", "Unknown", "Diagnose"),
        ActionKind::Recovered => ("Normal", "Recovered", "Diagnose"),
        // Of a treatment, its beginning and its end are news; its steps are in the actions log.
        ActionKind::ReassignPartitions if record.step.is_some() => return None,
        ActionKind::ReassignPartitions => match record.outcome {
            Some(Outcome::Intended) => ("Normal", "Treating", "Treat"),
            Some(Outcome::Done) => ("Normal", "Treated", "Treat"),
            Some(Outcome::Failed | Outcome::Aborted) => ("Warning", "GivenUp", "Treat"),
            Some(Outcome::Proposed) | None => ("Normal", "Recommended", "Recommend"),
        },
        ActionKind::Refused => ("Warning", "Refused", "Recommend"),
        ActionKind::ElectLeaders
        | ActionKind::Throttle
        | ActionKind::Cancel
        | ActionKind::Approved
        | ActionKind::Rejected
        | ActionKind::LeaderStarted
        | ActionKind::Other => return None,
    };
    let mut note = about(record.broker, &record.message);
    if omitted > 0 {
        note.push_str(&format!(" ({omitted} records before this one are in the actions log only)"));
    }
    // A name must be a DNS subdomain of at most 253 characters.
    let prefix: String = object.key.name.chars().take(200).collect();
    let name = format!("{}.{}", prefix.trim_end_matches(['.', '-']), record.id.to_lowercase());
    Some(Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(object.key.namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(type_.to_owned()),
        reason: Some(reason.to_owned()),
        action: Some(action.to_owned()),
        note: Some(cut(&note, MAX_NOTE)),
        event_time: Some(MicroTime(record.time)),
        regarding: Some(object.reference()),
        reporting_controller: Some("doctorkafka.dev/operator".to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    })
}

/// A text of at most so many bytes.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// A bucket of tokens.
#[derive(Debug)]
pub(super) struct Allowance {
    tokens: u32,
    since: Option<Instant>,
}

impl Allowance {
    pub fn full() -> Self {
        Self { tokens: BURST.0, since: None }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned =
            u32::try_from(now.duration_since(since).as_secs() / BURST.1.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST.0);
            self.since = Some(since + BURST.1 * earned);
        }
        let taken = self.tokens.checked_sub(1);
        self.tokens = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_wire::{BrokerId, Evidence};
    use kube::api::DynamicObject;

    fn record(id: &str, epoch: u64, kind: ActionKind) -> ActionRecord {
        ActionRecord {
            version: 1,
            id: id.into(),
            time: Timestamp::from_second(1_800_000_000).unwrap(),
            policy: "kafka/prod".into(),
            cluster: "c".into(),
            epoch,
            kind,
            severity: Severity::Warning,
            broker: Some(BrokerId(2)),
            message: "CPU usage 95% > 80%".into(),
            outcome: None,
            leadership: Vec::new(),
            digest: None,
            step: None,
            treatment: None,
            evidence: Evidence::new(),
        }
    }

    #[test]
    fn a_treatment_is_told_at_its_beginning_and_its_end() {
        let reason = |outcome, step| {
            let treated = ActionRecord { outcome, step, ..record("A", 1, ActionKind::ReassignPartitions) };
            event(&treated, &policy("prod"), "doctor", 0).and_then(|event| event.reason)
        };
        assert_eq!(reason(Some(Outcome::Proposed), None).as_deref(), Some("Recommended"));
        assert_eq!(reason(Some(Outcome::Intended), None).as_deref(), Some("Treating"));
        assert_eq!(reason(Some(Outcome::Done), None).as_deref(), Some("Treated"));
        assert_eq!(reason(Some(Outcome::Aborted), None).as_deref(), Some("GivenUp"));
        assert_eq!(reason(Some(Outcome::Intended), Some(0)), None, "a step is no news");
    }

    #[test]
    fn a_broker_that_goes_in_a_rolling_update_is_no_warning() {
        let told = |severity, cause: &str| {
            let mut record = ActionRecord { severity, ..record("A", 1, ActionKind::AlertUnhealthy) };
            record.evidence.insert("reason".to_owned(), cause.into());
            let event = event(&record, &policy("prod"), "doctor", 0).unwrap();
            (event.type_.unwrap(), event.reason.unwrap())
        };
        let normal = |reason: &str| ("Normal".to_owned(), reason.to_owned());
        assert_eq!(told(Severity::Info, "RollingUpdate"), normal("Restarting"));
        // What was over before it could be told.
        assert_eq!(told(Severity::Info, "ProcessDown"), normal("Unhealthy"));
        assert_eq!(told(Severity::Critical, "ProcessDown"), ("Warning".to_owned(), "Unhealthy".to_owned()));
    }

    fn policy(name: &str) -> PolicyObject {
        PolicyObject::read(&DynamicObject::new(name, &PolicyObject::resource()).within("kafka")).unwrap()
    }

    #[test]
    fn only_this_epoch_and_only_once() {
        use ActionKind::{AlertOverload, Recovered};
        let records =
            [record("1", 4, AlertOverload), record("2", 5, Recovered), record("3", 5, AlertOverload)];
        let ids = |epoch, last| untold(&records, epoch, last).map(|r| r.id.as_str()).collect::<Vec<_>>();
        assert_eq!(ids(5, None), ["2", "3"]);
        assert_eq!(ids(5, Some("2")), ["3"]);
        assert!(ids(5, Some("3")).is_empty());
        assert!(ids(6, None).is_empty(), "a new leader repeats nothing");
        assert_eq!(ids(5, Some("gone from the window")), ["2", "3"]);
    }

    #[test]
    fn history_is_not_told_and_no_time_is_too_far_away() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert!(is_recent(now - OLDEST + SignedDuration::from_secs(1), now));
        assert!(!is_recent(now - OLDEST, now) && !is_recent(Timestamp::MIN, now));
        assert!(is_recent(Timestamp::MAX, now));
    }

    #[test]
    fn an_event_says_who_and_what() {
        let made = event(&record("01KABC", 1, ActionKind::AlertOverload), &policy("prod"), "me", 0).unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("prod.01kabc"));
        assert_eq!(made.note.as_deref(), Some("broker 2: CPU usage 95% > 80%"));
        assert_eq!((made.type_.as_deref(), made.reason.as_deref()), (Some("Warning"), Some("Overloaded")));
        let kind = made.regarding.unwrap().kind;
        assert_eq!(kind.as_deref(), Some("KafkaHealthPolicy"));
        let recovered = event(&record("01KABC", 1, ActionKind::Recovered), &policy("prod"), "me", 3).unwrap();
        assert_eq!(recovered.type_.as_deref(), Some("Normal"));
        assert!(recovered.note.unwrap().ends_with("(3 records before this one are in the actions log only)"));
        assert!(event(&record("x", 1, ActionKind::LeaderStarted), &policy("prod"), "me", 0).is_none());
    }

    #[test]
    fn names_and_notes_stay_within_limits() {
        let name = format!("{}-{}", "a".repeat(199), "b".repeat(50));
        let mut long = record("01KABC", 1, ActionKind::Refused);
        long.message = "ö".repeat(2_000);
        let made = event(&long, &policy(&name), "me", 0).unwrap();
        assert_eq!(made.metadata.name.unwrap(), format!("{}.01kabc", "a".repeat(199)));
        let note = made.note.unwrap();
        assert!(note.len() <= MAX_NOTE && note.ends_with('…'));
    }

    #[test]
    fn a_storm_is_cut_short_and_a_trickle_is_not() {
        let (mut allowance, start) = (Allowance::full(), Instant::now());
        assert_eq!((0..1_000).filter(|_| allowance.take(start)).count(), 30);
        assert!(!allowance.take(start + Duration::from_secs(9)));
        assert!(allowance.take(start + Duration::from_secs(10)));
        assert!(!allowance.take(start + Duration::from_secs(19)));
        let later = start + Duration::from_secs(7_200);
        assert_eq!((0..1_000).filter(|_| allowance.take(later)).count(), 30);
    }
}
