//! The election's rules, without I/O and without a clock.
//!
//! The semantics are those of client-go's leader election:
//!
//! * every write names the version it replaces, so of two writers one is refused ([`Answer::Conflict`]) and reads again;
//! * a lease has run out when its record was not seen to change for its duration, judged on the *local monotonic*
//!   clock: the times written in the record are for people, and a clock that is an hour wrong changes nothing;
//! * the holder gives itself less time ([`Timing::renew_deadline`]) than the others give it ([`Timing::duration`]),
//!   counted from *sending* its last successful write, so it stops leading before anyone else can begin.
//!
//! Two things are added. A holder whose deadline passed because nobody answers is [`Authority::Uncertain`], not a
//! stand-by: nobody else can take a lease through a dead API server. And a candidate that could not read for a while
//! gives the holder two retry periods to show itself before it calls the lease expired: silence on a dead line is not
//! death.
//!
//! A lease is no fence: a process may be paused between looking at its clock and acting. What must be fenced is fenced
//! where it happens, by the actions log's transactions and by the `resourceVersion` of a status write.

use doctorkafka_doctor::Authority;
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// How long things take in an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Lease timing that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A lease stores its duration as a whole number of seconds, at least 1 (`spec.leaseDurationSeconds`).
    #[error("--lease-duration must be a whole number of seconds from 1 to 3600, got {0:?}")]
    Duration(Duration),
    /// The holder must stop before another may begin.
    #[error("--lease-renew-deadline must be below --lease-duration ({duration:?}), got {renew_deadline:?}")]
    Deadline {
        /// Duration of the lease.
        duration: Duration,
        /// The deadline given.
        renew_deadline: Duration,
    },
    /// There must be time for at least two tries before the deadline.
    #[error(
        "--lease-retry-period must be above zero and at most half of --lease-renew-deadline ({renew_deadline:?}), got {retry:?}"
    )]
    Retry {
        /// The deadline.
        renew_deadline: Duration,
        /// The period given.
        retry: Duration,
    },
}

impl Timing {
    /// Checks that lease duration > renew deadline >= 2 x retry period > 0.
    ///
    /// # Errors
    /// [`TimingError`], which names the flag that is wrong.
    pub fn new(duration: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, TimingError> {
        if duration.subsec_nanos() != 0 || !(1..=3600).contains(&duration.as_secs()) {
            return Err(TimingError::Duration(duration));
        }
        if renew_deadline >= duration {
            return Err(TimingError::Deadline { duration, renew_deadline });
        }
        if retry.is_zero() || retry * 2 > renew_deadline {
            return Err(TimingError::Retry { renew_deadline, retry });
        }
        Ok(Self { duration, renew_deadline, retry })
    }

    /// The longest one call to the API server may take: short enough for a second try before the deadline.
    pub fn call_timeout(&self) -> Duration {
        ((self.renew_deadline - self.retry) / 2).max(self.retry)
    }

    /// The pause between two tries.
    pub fn retry(&self) -> Duration {
        self.retry
    }
}

/// What stands in a lease. The times are by the writer's wall clock and nothing is decided by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None` when it was given back.
    pub holder: Option<String>,
    /// How long it is valid after a change.
    pub duration: Duration,
    /// Since when this holder has it.
    pub acquired: Timestamp,
    /// When it was last renewed.
    pub renewed: Timestamp,
    /// How often it changed hands.
    pub transitions: i32,
}

/// A record with the version the API server gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it says.
    pub record: Record,
    /// `metadata.resourceVersion`: opaque, compared for equality only.
    pub version: String,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this moment, unless somebody hints that the lease has changed.
    Wait(Instant),
    /// A call to the API server; its outcome goes to [`Election::answered`].
    Call(Call),
    /// The lease was given back or is not ours; the election is over.
    Done,
}

/// A call to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Read the lease.
    Read,
    /// Create it.
    Create(Record),
    /// Replace it, if its version is still this one.
    Replace {
        /// The new content.
        record: Record,
        /// The version it replaces.
        version: String,
    },
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is no such lease.
    Absent,
    /// It was read.
    Read(Stored),
    /// It was written, and this is what stands there now.
    Written(Stored),
    /// Somebody else was faster: it exists already, or its version is another.
    Conflict,
    /// No answer, or one that says nothing about the lease. A write may have happened nevertheless.
    Failed,
}

/// What one candidate knows and does.
#[derive(Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    knowledge: Knowledge,
    /// The newest version seen, and when it was seen first.
    seen: Option<(Stored, Instant)>,
    /// When the last write that made or kept this candidate the holder was sent.
    renewed: Option<Instant>,
    /// Whether a try has failed since then. If none has, it is not the line that was dead.
    failed: bool,
    /// The holder is not given up before this moment, because the line was dead and it could not show itself.
    grace: Option<Instant>,
    /// Nothing is done before this moment.
    rest: Option<Instant>,
    /// Whether the last answer was a conflict: one is answered by reading at once, a row of them is not.
    collided: bool,
    resigned: bool,
}

/// Whether what is known of the lease can be acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// It must be read first.
    Stale,
    /// It is as seen.
    Seen,
    /// It does not exist.
    Absent,
}

impl Election {
    /// A candidate that knows nothing yet. `identity` must be unique among all processes that ever stand.
    pub fn new(identity: String, timing: Timing) -> Self {
        Self {
            identity,
            timing,
            knowledge: Knowledge::Stale,
            seen: None,
            renewed: None,
            failed: false,
            grace: None,
            rest: None,
            collided: false,
            resigned: false,
        }
    }

    /// Whether this candidate leads at `now`.
    pub fn authority(&self, now: Instant) -> Authority {
        match self.valid_until() {
            Some(deadline) if now < deadline => Authority::Leading,
            // Nobody answered: nobody else can have got the lease by way of this API server.
            Some(_) if self.failed => Authority::Uncertain,
            // Time passed without a failed try, so this process was paused, and another may have taken over.
            _ => Authority::Standby,
        }
    }

    /// The moment at which this candidate ceases to lead unless it renews; `None` when it does not hold the lease.
    pub fn valid_until(&self) -> Option<Instant> {
        self.renewed.map(|sent| sent + self.timing.renew_deadline)
    }

    /// Who holds the lease, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().and_then(|(stored, _)| stored.record.holder.as_deref())
    }

    /// Whether it is known what the lease says, or that there is none.
    pub fn has_looked(&self) -> bool {
        self.knowledge != Knowledge::Stale
    }

    /// Gives up: from now on this candidate does not lead. [`Election::next`] then gives the lease back, if it is ours.
    pub fn resign(&mut self) {
        self.resigned = true;
        self.renewed = None;
        self.rest = None;
    }

    /// Somebody says that the lease has changed. A holder need not care: its next write will tell.
    pub fn hint(&mut self) {
        if self.renewed.is_none() {
            self.knowledge = Knowledge::Stale;
            self.rest = None;
        }
    }

    /// What to do at `now`; `wall` is the time to write into the record.
    pub fn next(&self, now: Instant, wall: Timestamp) -> Step {
        if let Some(rest) = self.rest.filter(|rest| *rest > now) {
            return Step::Wait(rest);
        }
        match (self.knowledge, &self.seen) {
            (Knowledge::Absent, _) if self.resigned => Step::Done,
            (Knowledge::Absent, _) => Step::Call(Call::Create(self.record(wall, wall, 0))),
            (Knowledge::Seen, Some((stored, _))) => self.act_on(stored, now, wall),
            (Knowledge::Stale | Knowledge::Seen, _) => Step::Call(Call::Read),
        }
    }

    /// Takes in what came of a call that was sent at `sent` and ended at `now`.
    pub fn answered(&mut self, sent: Instant, now: Instant, answer: Answer) {
        let collided = std::mem::replace(&mut self.collided, matches!(answer, Answer::Conflict));
        // From start to start, so that a slow call does not stretch the rhythm, but never without any rest.
        let rhythm = (sent + self.timing.retry).max(now + self.timing.retry / 8);
        match answer {
            Answer::Failed => {
                self.knowledge = Knowledge::Stale;
                self.failed = true;
                self.rest = Some(rhythm);
            }
            Answer::Conflict => {
                self.knowledge = Knowledge::Stale;
                self.rest = collided.then_some(rhythm);
            }
            Answer::Absent => {
                self.knowledge = Knowledge::Absent;
                self.seen = None;
                self.rest = None;
            }
            Answer::Read(stored) => {
                self.see(stored, now);
                self.rest = self.expiry().map(|expiry| rhythm.min(expiry.max(now)));
            }
            Answer::Written(stored) => {
                if !self.resigned {
                    self.renewed = Some(sent);
                }
                self.failed = false;
                self.see(stored, now);
                self.rest = (!self.resigned).then_some(rhythm);
            }
        }
    }

    // === private ===

    fn see(&mut self, stored: Stored, now: Instant) {
        self.knowledge = Knowledge::Seen;
        let mine = stored.record.holder.as_ref() == Some(&self.identity);
        if !mine {
            self.renewed = None;
            // A holder that could not be read could not show itself either.
            if std::mem::take(&mut self.failed) {
                self.grace = Some(now + self.timing.retry * 2);
            }
        }
        if self.seen.as_ref().is_none_or(|(seen, _)| seen.version != stored.version) {
            self.seen = Some((stored, now));
        }
    }

    /// When another's lease has run out. `None` when nobody else holds it.
    fn expiry(&self) -> Option<Instant> {
        let (stored, since) = self.seen.as_ref()?;
        stored.record.holder.as_ref().filter(|holder| **holder != self.identity)?;
        let expiry = *since + stored.record.duration;
        Some(self.grace.map_or(expiry, |grace| expiry.max(grace)))
    }

    fn act_on(&self, stored: &Stored, now: Instant, wall: Timestamp) -> Step {
        let Stored { record: current, version } = stored;
        let replace = |record| Step::Call(Call::Replace { record, version: version.clone() });
        let mine = current.holder.as_ref() == Some(&self.identity);
        if self.resigned {
            return if mine { replace(Self::given_back(current, wall)) } else { Step::Done };
        }
        match self.expiry() {
            // It may have been renewed since it was read.
            Some(expiry) if now < expiry => Step::Call(Call::Read),
            None if mine => replace(self.record(current.acquired, wall, current.transitions)),
            Some(_) | None => replace(self.record(wall, wall, current.transitions.saturating_add(1))),
        }
    }

    fn record(&self, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> Record {
        let holder = Some(self.identity.clone());
        Record { holder, duration: self.timing.duration, acquired, renewed, transitions }
    }

    fn given_back(current: &Record, wall: Timestamp) -> Record {
        let duration = Duration::from_secs(1);
        Record { holder: None, duration, acquired: wall, renewed: wall, transitions: current.transitions }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "simulation.rs"]
mod simulation;
