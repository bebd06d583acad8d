//! The election's I/O: one task makes the calls that [`Election`] asks for.

use super::super::{until, watch_backoff, watch_config};
use super::state::{Answer, Call, Election, Record, Step, Stored, Timing};
use doctorkafka_doctor::Authority;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle, time::sleep_until};
use tokio_util::sync::CancellationToken;

/// How long giving the lease back may take, all tries together. The others wait for its expiry then.
const RELEASE_LIMIT: Duration = Duration::from_millis(1500);

/// Which lease, and who asks for it.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name: everyone who stands in one election uses the same.
    pub name: String,
    /// This candidate's name, unique among all processes that ever stand.
    pub identity: String,
    /// How long things take.
    pub timing: Timing,
}

/// What the election says of this instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// Whether this instance leads, as it changes.
    pub authority: watch::Receiver<Authority>,
    valid_until: watch::Receiver<Option<Instant>>,
}

impl Leadership {
    /// Whether this instance leads at this very moment, by the monotonic clock.
    ///
    /// To be asked right before anything that only a leader may do: after a pause of the process it is right at once,
    /// while [`Leadership::authority`] is as old as the election task's last turn.
    pub fn is_valid(&self) -> bool {
        *self.authority.borrow() == Authority::Leading
            && self.valid_until.borrow().is_some_and(|deadline| Instant::now() < deadline)
    }
}

/// A candidate in an election.
#[derive(Debug)]
pub struct Lease {
    leadership: Leadership,
    resign: CancellationToken,
    release: CancellationToken,
    task: JoinHandle<()>,
}

impl Lease {
    /// Stands for election until [`Lease::resign`].
    ///
    /// `client` must not retry by itself, because the election's rhythm is its own.
    pub fn start(client: &Client, settings: LeaseSettings) -> Self {
        let (authority, authority_seen) = watch::channel(Authority::Standby);
        let (valid_until, valid_until_seen) = watch::channel(None);
        let (resign, release) = (CancellationToken::new(), CancellationToken::new());
        let candidate = Candidate {
            api: Api::namespaced(client.clone(), &settings.namespace),
            election: Election::new(settings.identity.clone(), settings.timing),
            settings,
            authority,
            valid_until,
            decided: false,
            published: None,
            trouble: None,
            refused: None,
        };
        let task = tokio::spawn(candidate.run(resign.clone(), release.clone()));
        let leadership = Leadership { authority: authority_seen, valid_until: valid_until_seen };
        Self { leadership, resign, release, task }
    }

    /// What the election says.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Leads no more, and does not yet give the lease back: for the time in which a leader's work ends.
    pub fn resign(&self) {
        self.resign.cancel();
    }

    /// Gives the lease back if it is held, so that another can take it at once. Takes at most two seconds.
    pub async fn release(self) {
        self.resign.cancel();
        self.release.cancel();
        let mut task = self.task;
        if tokio::time::timeout(RELEASE_LIMIT * 4 / 3, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// The election's task.
struct Candidate {
    api: Api<Object>,
    settings: LeaseSettings,
    election: Election,
    authority: watch::Sender<Authority>,
    valid_until: watch::Sender<Option<Instant>>,
    /// Whether the lease has ever been seen.
    decided: bool,
    published: Option<Authority>,
    /// What was last logged as going wrong, so that an outage is one line and not one every two seconds.
    trouble: Option<String>,
    /// What was last logged as being refused to the watch.
    refused: Option<String>,
}

impl Candidate {
    async fn run(mut self, resign: CancellationToken, release: CancellationToken) {
        tokio::select! {
            biased;
            () = resign.cancelled() => {}
            () = self.stand() => {}
        }
        // A call that was under way may have been carried out: the election has to look again before it writes.
        self.election.answered(Instant::now(), Instant::now(), Answer::Failed);
        self.election.resign();
        self.publish();
        release.cancelled().await;
        if tokio::time::timeout(RELEASE_LIMIT, self.give_back()).await.is_err() {
            tracing::warn!("lease {} could not be given back; it expires by itself", self.name());
        }
    }

    async fn stand(&mut self) {
        // Only a hint that looking is worth while: what counts is read, in order, by this task.
        let config = watch_config().fields(&format!("metadata.name={}", self.settings.name));
        let mut hints = pin!(watcher(self.api.clone(), config).backoff(watch_backoff()));
        loop {
            match self.election.next(Instant::now(), Timestamp::now()) {
                Step::Done => return,
                Step::Call(call) => self.call(call).await,
                Step::Wait(rest) => {
                    let deadline = self.deadline();
                    tokio::select! {
                        () = sleep_until(rest.into()) => {}
                        () = until(deadline) => {}
                        hint = hints.next() => match hint {
                            Some(Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_))) => self.election.hint(),
                            Some(Err(error)) => self.unwatched(&error),
                            Some(Ok(_)) | None => {}
                        }
                    }
                }
            }
            self.publish();
        }
    }

    async fn give_back(&mut self) {
        loop {
            match self.election.next(Instant::now(), Timestamp::now()) {
                Step::Done => return,
                Step::Call(call) => self.call(call).await,
                Step::Wait(rest) => sleep_until(rest.into()).await,
            }
        }
    }

    /// Makes a call, and goes on publishing while it is under way: the lease may run out meanwhile.
    async fn call(&mut self, call: Call) {
        let sent = Instant::now();
        let limit = self.settings.timing.call_timeout();
        let work = tokio::time::timeout(limit, perform(self.api.clone(), self.settings.name.clone(), call));
        let mut work = pin!(work);
        let outcome = loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = until(deadline) => self.publish(),
                outcome = &mut work => break outcome,
            }
        };
        let answer = match outcome {
            Ok(Ok(answer)) => {
                if self.trouble.take().is_some() {
                    tracing::info!("lease {}: the API server answers again", self.name());
                }
                answer
            }
            Ok(Err(error)) => self.failed(format!("{:#}", anyhow::Error::new(error))),
            Err(_) => self.failed(format!("no answer within {limit:?}")),
        };
        self.election.answered(sent, Instant::now(), answer);
    }

    /// The watch failed. Only a refusal is told: what else goes wrong, the calls meet as well.
    fn unwatched(&mut self, error: &watcher::Error) {
        let (watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status)) = error
        else {
            return;
        };
        if status.code == 403 && self.refused.as_ref() != Some(&status.message) {
            let (name, message) = (self.name(), &status.message);
            tracing::warn!("lease {name} is not watched, so taking over may be slow: {message}");
            self.refused = Some(status.message.clone());
        }
    }

    fn failed(&mut self, error: String) -> Answer {
        if self.trouble.as_ref() != Some(&error) {
            tracing::warn!(
                "lease {}: {error}; trying again every {:?}",
                self.name(),
                self.settings.timing.retry()
            );
            self.trouble = Some(error);
        }
        Answer::Failed
    }

    /// The end of the present leadership, while it lies ahead.
    fn deadline(&self) -> Option<Instant> {
        self.election.valid_until().filter(|deadline| *deadline > Instant::now())
    }

    /// Says what holds now, from when the lease has been seen for the first time.
    fn publish(&mut self) {
        self.decided |= self.election.has_looked();
        if !self.decided {
            return;
        }
        self.valid_until.send_replace(self.election.valid_until());
        let authority = self.election.authority(Instant::now());
        if self.published.replace(authority) != Some(authority) {
            self.authority.send_replace(authority);
            let holder = self.election.holder().unwrap_or("nobody");
            match authority {
                Authority::Leading => tracing::info!("leading: lease {} is held", self.name()),
                Authority::Standby => {
                    tracing::info!("standing by: lease {} is held by {holder}", self.name())
                }
                Authority::Uncertain => tracing::warn!(
                    "uncertain whether this instance leads: lease {} could not be renewed in time",
                    self.name()
                ),
            }
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.settings.namespace, self.settings.name)
    }
}

/// One call. What says nothing about the lease itself (refused, forbidden, overloaded) is an error.
async fn perform(api: Api<Object>, name: String, call: Call) -> Result<Answer, kube::Error> {
    let parameters = PostParams::default();
    let outcome = match call {
        Call::Read => {
            let found = api.get_opt(&name).await?;
            return Ok(found.map_or(Answer::Absent, |object| Answer::Read(parse(object))));
        }
        Call::Create(record) => api.create(&parameters, &render(&name, None, record)).await,
        Call::Replace { record, version } => {
            api.replace(&name, &parameters, &render(&name, Some(version), record)).await
        }
    };
    match outcome {
        Ok(object) => Ok(Answer::Written(parse(object))),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Answer::Conflict),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Answer::Absent),
        Err(error) => Err(error),
    }
}

fn render(name: &str, version: Option<String>, record: Record) -> Object {
    Object {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: version,
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: record.holder,
            lease_duration_seconds: Some(i32::try_from(record.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(MicroTime(record.acquired)),
            renew_time: Some(MicroTime(record.renewed)),
            lease_transitions: Some(record.transitions),
            ..LeaseSpec::default()
        }),
    }
}

/// Reads any lease, however it was written: what is absent or absurd is taken as free or zero.
fn parse(object: Object) -> Stored {
    let spec = object.spec.unwrap_or_default();
    let time = |time: Option<MicroTime>| time.map_or(Timestamp::UNIX_EPOCH, |MicroTime(time)| time);
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    let record = Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        acquired: time(spec.acquire_time),
        renewed: time(spec.renew_time),
        transitions: spec.lease_transitions.unwrap_or_default(),
    };
    Stored { record, version: object.metadata.resource_version.unwrap_or_default() }
}
