//! `doctorkafka-operator list`, `approve` and `reject`: decisions about treatments without Kubernetes, by the actions log.

mod treatments;

use crate::cli::UsageError;
use anyhow::{Context, anyhow};
use clap::Args;
use doctorkafka_doctor::{Vote, refused_decision};
use doctorkafka_kafka::{ActionLogReader, Connection, LogEvent, SecurityFlags, note};
use doctorkafka_wire::{ACTIONS_LOG_TOPIC, ActionKind, ActionRecord, Outcome};
use jiff::Timestamp;
use std::{
    future::Future,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use treatments::{SHOWN, Treatments};

/// How much of the log is read: as much as a doctor reads when it takes over.
const TAIL: i64 = 40_000;

/// For reading it.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// How often it is said that the doctor has not answered yet.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The decision is written, and no doctor has answered it in time.
const UNANSWERED: u8 = 3;

/// Which cluster, and where its actions log is.
#[derive(Debug, Clone, Args)]
pub struct ClusterArguments {
    /// The cluster, host:port[,host:port...].
    #[arg(long, value_name = "SERVERS")]
    pub bootstrap: String,
    /// The actions log; the policy names it in topics.actionsLog.
    #[arg(long, value_name = "TOPIC", default_value = ACTIONS_LOG_TOPIC)]
    pub actions_log: String,
    /// How to connect.
    #[command(flatten)]
    pub security: SecurityFlags,
}

/// A decision about a treatment.
#[derive(Debug, Clone, Args)]
pub struct DecisionArguments {
    /// The treatment's digest, as `list` shows it, or as many of its first digits as tell it from the others.
    #[arg(value_name = "DIGEST")]
    pub digest: String,
    /// Who decides. Default: the user and the host.
    #[arg(long = "as", value_name = "NAME")]
    pub by: Option<String>,
    /// Why; it goes into the actions log.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long to wait for the doctor's answer; 0s does not wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub wait: Duration,
    /// Where to write it.
    #[command(flatten)]
    pub log: ClusterArguments,
}

/// Shows the treatments of the actions log.
///
/// # Errors
/// The log cannot be read, and [`UsageError`].
pub fn list(arguments: &ClusterArguments) -> anyhow::Result<ExitCode> {
    run(async {
        let (treatments, _) = Log::open(arguments)?.read().await?;
        io::stdout().write_all(treatments.table().as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Approves or rejects a treatment and waits for the doctor's answer.
///
/// # Errors
/// The log cannot be read or written, the doctor refuses, and [`UsageError`] for a digest that means no treatment that
/// waits.
pub fn decide(approved: bool, arguments: &DecisionArguments) -> anyhow::Result<ExitCode> {
    let by = arguments.by.clone().unwrap_or_else(user);
    if by.trim().is_empty() || by.chars().count() > 200 {
        return Err(UsageError("--as: a name of 1 to 200 characters is needed".to_owned()).into());
    }
    if arguments.reason.as_ref().is_some_and(|reason| reason.chars().count() > 500) {
        return Err(UsageError("--reason: at most 500 characters".to_owned()).into());
    }
    run(async {
        let log = Log::open(&arguments.log)?;
        let (connection, topic) = (log.connection.clone(), arguments.log.actions_log.clone());
        let (treatments, mut news) = log.read().await?;
        let told =
            treatments.open(&arguments.digest, approved).map_err(|error| UsageError(error.to_string()))?;
        let vote = Vote {
            approved,
            digest: &told.digest,
            policy: &told.policy,
            cluster: &told.cluster,
            by: &by,
            reason: arguments.reason.as_deref(),
        };
        let record = vote.record(Timestamp::now());
        note(connection, &topic, &record).await?;
        let what = if approved { "approved" } else { "rejected" };
        eprintln!("{what} {} ({}) as {by}", &told.digest[..SHOWN], told.what);
        if arguments.wait.is_zero() {
            return Ok(ExitCode::SUCCESS);
        }
        match tokio::time::timeout(arguments.wait, answer(&mut news, &record)).await {
            Ok(Ok(message)) => {
                writeln!(io::stdout(), "{message}")?;
                Ok(ExitCode::SUCCESS)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                eprintln!(
                    "no doctor has followed it within {:?}: none leads, or a rule puts it off (cool-down, a maintenance \
                     window); it stands for a day, and `doctorkafka-operator list` tells what becomes of it",
                    arguments.wait
                );
                Ok(ExitCode::from(UNANSWERED))
            }
        }
    })
}

/// Waits until the log says what became of a decision.
async fn answer(news: &mut mpsc::Receiver<LogEvent>, decision: &ActionRecord) -> anyhow::Result<String> {
    let mut say = tokio::time::interval(SAY_EVERY);
    say.tick().await;
    let mut seconds = 0;
    let mut written = false;
    loop {
        tokio::select! {
            event = news.recv() => match event.context("the reader of the actions log has ended")? {
                LogEvent::Record { record, .. } if record.id == decision.id => written = true,
                LogEvent::Record { record, .. } if written => {
                    if let Some(answer) = answered(&record, decision) {
                        return answer;
                    }
                }
                _ => {}
            },
            _ = say.tick() => {
                seconds += SAY_EVERY.as_secs();
                eprintln!("waiting for the doctor's answer, {seconds} s");
            }
        }
    }
}

/// What a record says of a decision, if anything.
fn answered(record: &ActionRecord, decision: &ActionRecord) -> Option<anyhow::Result<String>> {
    if refused_decision(record) == Some(decision.id.as_str()) {
        return Some(Err(anyhow!("the doctor refuses: {}", record.message)));
    }
    if record.digest != decision.digest || record.step.is_some() {
        return None;
    }
    let approved = decision.kind == ActionKind::Approved;
    match (record.kind, record.outcome) {
        (ActionKind::ReassignPartitions, Some(Outcome::Intended)) if approved => {
            Some(Ok(format!("begun: {}", record.message)))
        }
        // It was begun before the rejection was heard, and is stopped.
        (ActionKind::ReassignPartitions, Some(Outcome::Proposed | Outcome::Intended)) => None,
        (ActionKind::ReassignPartitions, Some(outcome)) if !approved => Some(Ok(format!(
            "{}: {}",
            if outcome == Outcome::Done { "done already" } else { "stopped" },
            record.message
        ))),
        (ActionKind::Cancel, _) if !approved => Some(Ok(format!("withdrawn: {}", record.message))),
        (ActionKind::Cancel, _) => Some(Err(anyhow!("it was withdrawn: {}", record.message))),
        (ActionKind::Refused, _) if approved => {
            Some(Err(anyhow!("approved, and not begun by a rule: {}", record.message)))
        }
        _ => None,
    }
}

/// The actions log of a cluster.
struct Log<'a> {
    arguments: &'a ClusterArguments,
    connection: Connection,
}

impl<'a> Log<'a> {
    fn open(arguments: &'a ClusterArguments) -> anyhow::Result<Self> {
        let connection = Connection::new(&arguments.bootstrap, "doctorkafka-decide")
            .map_err(|error| UsageError(format!("--bootstrap: {error}")))?;
        Ok(Self { arguments, connection: arguments.security.secure(connection)? })
    }

    /// Reads the newest part of the log, and goes on telling what comes.
    async fn read(self) -> anyhow::Result<(Treatments, mpsc::Receiver<LogEvent>)> {
        let ClusterArguments { bootstrap, actions_log, .. } = self.arguments;
        let mut news = ActionLogReader::start(self.connection, actions_log, TAIL, CancellationToken::new());
        let mut treatments = Treatments::default();
        let mut lost = None;
        let read = async {
            while let Some(event) = news.recv().await {
                match event {
                    LogEvent::Record { record, .. } => treatments.apply(&record),
                    LogEvent::CaughtUp => return true,
                    LogEvent::Restarted => treatments = Treatments::default(),
                    LogEvent::Skipped { .. } => {}
                    LogEvent::Lost { error } => lost = Some(error),
                }
            }
            false
        };
        if tokio::time::timeout(READ_WITHIN, read).await != Ok(true) {
            let why = lost.unwrap_or_else(|| format!("not within {READ_WITHIN:?}"));
            return Err(anyhow!("cannot read actions log {actions_log} of {bootstrap}: {why}"));
        }
        Ok((treatments, news))
    }
}

fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let outcome = runtime.block_on(work);
    // A native client may still be closing its connections; nothing waits for it.
    runtime.shutdown_background();
    outcome
}

/// `ann@host`, as far as the system tells.
fn user() -> String {
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody".to_owned());
    format!("{name}@{}", rustix::system::uname().nodename().to_string_lossy())
}

fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration up to 1h, for example 60s or 0s";
    let duration: jiff::SignedDuration = text.trim().parse().map_err(|_| expected)?;
    let longest = Duration::from_secs(3_600);
    Duration::try_from(duration).ok().filter(|given| *given <= longest).ok_or_else(|| expected.to_owned())
}
