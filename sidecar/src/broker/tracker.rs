//! Follows the broker's process through its lives.
//!
//! The end of a process is told by the kernel at once (a pidfd becomes readable); its beginning is looked for once per
//! interval.

use super::{
    BrokerConfig, Selector,
    finder::{Candidate, Found, find, has_ended},
};
use doctorkafka_wire::BrokerId;
use jiff::Timestamp;
use procfs::process::Process;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

/// How often the process is looked at where the kernel offers no pidfd (before Linux 5.3, and in some sandboxes).
const POLL: Duration = Duration::from_millis(250);

/// What is seen of the broker.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Whether its process is there.
    pub presence: Presence,
    /// How often it has been replaced by a new one.
    pub restarts: u32,
    /// What its configuration said last; it outlives the process.
    pub config: Arc<BrokerConfig>,
}

/// Whether the broker's process is there.
#[derive(Debug, Clone)]
pub enum Presence {
    /// It is not.
    Absent,
    /// It is.
    Running(Arc<RunningBroker>),
    /// Several processes could be it. One of them may well be, so nobody may conclude that it is down.
    Unclear,
}

/// A running broker.
#[derive(Debug)]
pub struct RunningBroker {
    /// Its entry in `/proc`, which stays bound to this process when the number is given to another.
    pub process: Process,
    /// When it started, by our wall clock.
    pub started_at: Option<Timestamp>,
}

/// Starts following. The task ends when the receiver is dropped.
///
/// # Errors
/// When several processes could be the broker already now, unless that is to be lived with (`keep_going`): a mistake that
/// only a person can correct.
pub async fn track(
    selector: Selector,
    broker: BrokerId,
    probed_port: Option<u16>,
    interval: Duration,
    keep_going: bool,
) -> anyhow::Result<watch::Receiver<Sight>> {
    let mut tracker = Tracker { selector, broker, probed_port, interval, said: None, seen: None };
    let found = tracker.search().await;
    if let (Found::Several(pids), false) = (&found, keep_going) {
        anyhow::bail!(
            "processes {pids:?} all look like the broker and nothing tells which has node.id {broker}; narrow it \
             with --broker-match TEXT (a part of its command line), --broker-pid or --broker-pid-file"
        );
    }
    let config = Arc::new(BrokerConfig::default());
    let (sender, receiver) = watch::channel(Sight { presence: Presence::Absent, restarts: 0, config });
    let caught = tracker.take_in(found, &sender);
    tokio::spawn(tracker.follow(caught, sender));
    Ok(receiver)
}

struct Tracker {
    selector: Selector,
    broker: BrokerId,
    probed_port: Option<u16>,
    interval: Duration,
    /// What the log was last told, so that it is told once.
    said: Option<Said>,
    /// The last process that was found.
    seen: Option<(i32, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Running,
    Nothing(Vec<(i32, BrokerId)>),
    Several(Vec<i32>),
}

/// A process that was found, and the means to learn of its end.
struct Caught {
    running: Arc<RunningBroker>,
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Tracker {
    async fn follow(mut self, mut caught: Option<Caught>, sender: watch::Sender<Sight>) {
        loop {
            match caught.take() {
                Some(process) => {
                    tokio::select! {
                        () = process.ended() => {}
                        () = sender.closed() => return,
                    }
                    tracing::warn!(pid = process.running.process.pid(), "the broker's process has ended");
                    sender.send_modify(|sight| sight.presence = Presence::Absent);
                }
                None => {
                    tokio::select! {
                        () = tokio::time::sleep(self.interval) => {}
                        () = sender.closed() => return,
                    }
                }
            }
            let found = self.search().await;
            caught = self.take_in(found, &sender);
        }
    }

    async fn search(&self) -> Found {
        let (selector, broker, port) = (self.selector.clone(), self.broker, self.probed_port);
        let search = tokio::task::spawn_blocking(move || find(&selector, broker, port));
        search.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the search for the broker's process ended unexpectedly");
            Found::Nothing { others: Vec::new() }
        })
    }

    /// Tells the others, and the log, what a search found.
    fn take_in(&mut self, found: Found, sender: &watch::Sender<Sight>) -> Option<Caught> {
        match found {
            Found::One(candidate) => {
                let caught = Caught::new(&candidate)?;
                let name = (candidate.pid, candidate.start_ticks);
                let replaced = self.seen.replace(name).is_some_and(|before| before != name);
                sender.send_modify(|sight| {
                    sight.presence = Presence::Running(Arc::clone(&caught.running));
                    sight.restarts += u32::from(replaced);
                    // A properties file that cannot be read this time was readable before and says the same.
                    if candidate.config.known || !sight.config.known {
                        sight.config = Arc::new(candidate.config.clone());
                    }
                });
                let (restarts, config) = { (sender.borrow().restarts, Arc::clone(&sender.borrow().config)) };
                self.said = Some(Said::Running);
                tracing::info!(pid = candidate.pid, restarts, log_dirs = ?config.log_dirs, "found the broker's process");
                Some(caught)
            }
            Found::Nothing { others } => {
                set(sender, Presence::Absent);
                self.say(Said::Nothing(others));
                None
            }
            Found::Several(pids) => {
                set(sender, Presence::Unclear);
                self.say(Said::Several(pids));
                None
            }
        }
    }

    fn say(&mut self, what: Said) {
        if self.said.as_ref() == Some(&what) {
            return;
        }
        match &what {
            Said::Nothing(others) if others.is_empty() => tracing::warn!("there is no broker process"),
            Said::Nothing(others) => {
                let others: Vec<String> =
                    others.iter().map(|(pid, id)| format!("{pid} is broker {id}")).collect();
                tracing::warn!(
                    "there is no process of broker {}; process {}",
                    self.broker,
                    others.join(", process ")
                );
            }
            Said::Several(pids) => tracing::error!(
                "processes {pids:?} all look like the broker; narrow it with --broker-match, --broker-pid or \
                 --broker-pid-file. Until then its figures are left out"
            ),
            Said::Running => {}
        }
        self.said = Some(what);
    }
}

fn set(sender: &watch::Sender<Sight>, presence: Presence) {
    sender.send_if_modified(|sight| {
        let changed = std::mem::discriminant(&sight.presence) != std::mem::discriminant(&presence);
        sight.presence = presence;
        changed
    });
}

impl Caught {
    /// `None` when the process has ended meanwhile.
    fn new(candidate: &Candidate) -> Option<Self> {
        let pid = Pid::from_raw(candidate.pid)?;
        // Deprecated for types that may change their descriptor; an `OwnedFd` cannot. The replacement is unsafe.
        #[expect(deprecated, reason = "sound for an OwnedFd, and this crate forbids unsafe code")]
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)
            .map_err(std::io::Error::from)
            .and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE))
            .inspect_err(|error| tracing::debug!(%error, "no pidfd; looking at the process instead"))
            .ok();
        // Between the search and the opening, the number may have been given to another process.
        let process = Process::new(candidate.pid).ok()?;
        let stat = process.stat().ok().filter(|stat| stat.starttime == candidate.start_ticks)?;
        if has_ended(stat.state, stat.num_threads) {
            return None;
        }
        let running = RunningBroker { process, started_at: started_at(candidate.start_ticks) };
        Some(Self { running: Arc::new(running), pidfd })
    }

    /// Returns when the process has ended.
    async fn ended(&self) {
        if let Some(pidfd) = &self.pidfd
            && pidfd.readable().await.is_ok()
        {
            return;
        }
        while self.running.process.stat().is_ok_and(|stat| !has_ended(stat.state, stat.num_threads)) {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The wall-clock time of a moment given in clock ticks since boot.
fn started_at(ticks: u64) -> Option<Timestamp> {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let started_ms = i64::try_from(ticks.checked_mul(1_000)? / procfs::ticks_per_second()).ok()?;
    let age_ms = since_boot.tv_sec.checked_mul(1_000)? + since_boot.tv_nsec / 1_000_000 - started_ms;
    Timestamp::now().checked_sub(jiff::SignedDuration::from_millis(age_ms)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    const SOON: Duration = Duration::from_secs(10);

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    async fn next(receiver: &mut watch::Receiver<Sight>) -> Sight {
        tokio::time::timeout(SOON, receiver.changed()).await.unwrap().unwrap();
        receiver.borrow_and_update().clone()
    }

    #[tokio::test]
    async fn an_end_is_noticed_at_once_and_a_new_process_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let mut first = sleeper();
        std::fs::write(&file, first.id().to_string()).unwrap();
        let selector = Selector::PidFile(file.clone());
        let mut sights = track(selector, BrokerId(1), None, Duration::from_millis(20), false).await.unwrap();
        let Presence::Running(running) = sights.borrow_and_update().presence.clone() else { panic!() };
        assert_eq!(running.process.pid().cast_unsigned(), first.id());
        let age = Timestamp::now().duration_since(running.started_at.unwrap());
        assert!(age.unsigned_abs() < SOON, "{age:?}");

        // Killed and not yet reaped: a zombie is no broker.
        first.kill().unwrap();
        let sight = next(&mut sights).await;
        assert!(matches!(sight.presence, Presence::Absent));
        first.wait().unwrap();

        let mut second = sleeper();
        std::fs::write(&file, second.id().to_string()).unwrap();
        let sight = next(&mut sights).await;
        assert!(matches!(sight.presence, Presence::Running(_)));
        assert_eq!(sight.restarts, 1);
        second.kill().unwrap();
        second.wait().unwrap();
    }

    #[tokio::test]
    async fn a_process_that_is_not_there_is_absent() {
        let selector = Selector::CommandLine(Some("no process has this text in its command line".into()));
        let sights = track(selector, BrokerId(1), None, Duration::from_secs(1), false).await.unwrap();
        assert!(matches!(sights.borrow().presence, Presence::Absent));
        assert_eq!(sights.borrow().restarts, 0);
    }
}
