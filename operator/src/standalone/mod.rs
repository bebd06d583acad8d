//! The standalone adapter: one policy file, one engine, election through Kafka itself.
//!
//! It reads and watches the file and the Secrets that it names, and keeps an engine running for the newest policy that
//! can be. An edit that cannot be is refused, logged and shown, and the last good one stays in force.

mod edits;
mod election;
mod policy_file;
mod secrets_dir;
mod supervisor;

use crate::{cli::UsageError, fleet::Fleet};
use clap::Args;
use edits::Edits;
use policy_file::PolicyFile;
use std::{path::PathBuf, sync::Arc, time::Duration};
use supervisor::Supervised;
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "\
Examples:
  Watch the cluster that a policy file names:
    doctorkafka-operator standalone --policy deploy/examples/standalone.yaml

  The same policy for another cluster:
    KAFKA_BROKERS=kafka-1:9092,kafka-2:9092 doctorkafka-operator standalone --policy policy.yaml

  A second one on the same machine, which stands by and takes over:
    doctorkafka-operator standalone --policy policy.yaml --dashboard-listen 127.0.0.1:3002 --api-listen 127.0.0.1:3003

  What it knows:
    curl http://localhost:3001/api/v1/clusters

Instances for one Kafka cluster elect one that leads by a consumer group; all of them diagnose.";

/// Settings of the standalone adapter.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Policy", after_long_help = EXAMPLES)]
pub struct StandaloneArguments {
    /// The policy: a KafkaHealthPolicy in YAML. Watched; an edit takes effect within two seconds.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Bootstrap servers in place of the file's spec.kafka.bootstrapServers, host:port[,host:port...].
    #[arg(long, value_name = "SERVERS", env = "KAFKA_BROKERS")]
    pub bootstrap: Option<String>,
    /// Where the Secrets that the policy names are: the key KEY of Secret NAME is the file DIR/NAME/KEY, as Kubernetes
    /// mounts them. A changed file takes effect within ten seconds.
    #[arg(long, value_name = "DIR", env = "SECRETS_DIR")]
    pub secrets_dir: Option<PathBuf>,
}

/// How often the Secrets are read again.
const SECRETS_EVERY: Duration = Duration::from_secs(5);

/// Watches one cluster until `cancel` is cancelled.
///
/// # Errors
/// [`UsageError`] when the policy cannot be read or cannot be; any other when the engine has ended by itself.
pub async fn run(
    arguments: StandaloneArguments,
    fleet: Fleet,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let StandaloneArguments { policy: path, bootstrap, secrets_dir } = arguments;
    let check = |text: &str| PolicyFile::check(text, bootstrap.as_deref(), secrets_dir.as_deref());
    let shown = path.display().to_string();

    let mut edits = Edits::of(path);
    let mut text = edits.first().await;
    let first = match &text {
        Ok(text) => check(text),
        Err(error) => return Err(UsageError(format!("cannot read the policy {shown}: {error}")).into()),
    };
    let first = first
        .map_err(|errors| UsageError(format!("the policy {shown} cannot be:\n  {}", errors.join("\n  "))))?;
    if let Some(servers) = &bootstrap {
        tracing::info!(
            "{servers}, given by --bootstrap or KAFKA_BROKERS, stand in for the policy's bootstrap servers"
        );
    }
    let mut last = Ok(first.clone());
    let mut engine = Supervised::start(first, fleet.clone(), &cancel);
    let mut secrets = tokio::time::interval(SECRETS_EVERY);
    secrets.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            ended = engine.ended() => return ended,
            edit = edits.next() => text = edit,
            _ = secrets.tick(), if secrets_dir.is_some() => {}
        }
        let now = match &text {
            Ok(text) => check(text),
            Err(error) => Err(vec![format!("cannot read the file: {error}")]),
        };
        if now == last {
            continue;
        }
        match &now {
            Ok(policy) => {
                fleet.set_problem(engine.name(), None);
                engine = take_up(engine, policy.clone(), &fleet, &cancel).await;
                tracing::info!(policy = engine.name(), "the policy as it is now is in force");
            }
            Err(errors) => {
                let problem = errors.join("; ");
                tracing::warn!(
                    policy = engine.name(),
                    "{shown} as it is now is refused, the last good one stays in force: {problem}"
                );
                fleet.set_problem(engine.name(), Some(problem));
            }
        }
        last = now;
    }
    engine.stop().await;
    Ok(())
}

/// Puts an edited policy in force: in the running engine where that can be, else in a new one.
async fn take_up(
    engine: Supervised,
    policy: PolicyFile,
    fleet: &Fleet,
    cancel: &CancellationToken,
) -> Supervised {
    if engine.takes(&policy) {
        engine.set_policy(Arc::new(policy.policy));
        return engine;
    }
    tracing::info!(
        policy = engine.name(),
        "name, connection, a Secret of it or topics have changed: starting a new engine"
    );
    engine.stop().await;
    Supervised::start(policy, fleet.clone(), cancel)
}
