//! The Kubernetes adapter: `doctorkafka-operator run`.
//!
//! ```text
//! controller   watches policies, has each attended by a
//! supervisor   dereference (secrets) -> validate -> engine; puts what is known on the board
//! platform     pods, nodes, volumes and other operators -> engine
//! writer       board -> status -> API server, by the leader only
//! events       board -> Events -> API server, by the leader only
//! reassignments  board <-> KafkaReassignment objects, by the leader only
//! lease        who leads
//! ```
//!
//! Every replica watches and diagnoses; only the leader writes.

mod address;
mod args;
mod claims;
mod conditions;
mod controller;
mod events;
mod facts;
mod fence;
pub mod lease;
mod object;
mod pace;
mod platform;
mod reassignments;
mod secrets;
mod status;
mod supervisor;
mod validate;
mod writer;

use crate::{
    fleet::Fleet,
    injection::{InjectionArguments, Webhook},
};
use anyhow::Context;
pub use args::RunArguments;
use claims::Claims;
use controller::Controller;
use doctorkafka_doctor::Authority;
use events::EventWriter;
use facts::Board;
use kube::{
    Client, Config,
    runtime::watcher::{self, ExponentialBackoff},
};
use lease::{Leadership, Lease};
use reassignments::{Approvals, ReassignmentWriter};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use supervisor::Shared;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use writer::StatusWriter;

/// Longest wait for a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A watch is ended by the server and begun anew after so long, so that one on a dead line is noticed.
const WATCH_SECONDS: u32 = 60;

/// Longest silence on a connection: more than a watch may last.
const READ_TIMEOUT: Duration = Duration::from_secs(75);

/// First and longest pause before an interrupted watch is tried again.
const WATCH_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long the engines may take to end before the lease is given back without waiting for them. Their last records
/// may then be fenced by the next leader, which is the lesser evil than that nobody leads.
const STOP_LIMIT: Duration = Duration::from_millis(700);

/// Reconciles policies until `cancel` is cancelled.
///
/// # Errors
/// Arguments that cannot be, or no way to an API server. One that does not answer is waited for.
pub async fn run(
    arguments: RunArguments,
    injection: InjectionArguments,
    fleet: Fleet,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let timing = arguments.timing()?;
    let mut config = Config::infer().await.context(
        "no way to a Kubernetes API server: set KUBECONFIG, or run in a pod with a service account",
    )?;
    // Everything here has a rhythm of its own for trying again.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let settings = arguments.lease(&config.default_namespace, timing);
    let injection = injection.settings(&settings.namespace)?;
    let identity = settings.identity.clone();
    let namespaces = arguments.namespaces();
    let scope = if namespaces.is_empty() { "all namespaces".to_owned() } else { namespaces.join(", ") };
    let lease = (&settings.namespace, &settings.name);
    tracing::info!(identity, "watching policies in {scope}; leader by lease {}/{}", lease.0, lease.1);
    let client =
        Client::try_from(config).context("the configuration for the Kubernetes API server cannot be used")?;
    // Every replica serves the webhook, from before the first election to after the last engine.
    let webhook = match injection {
        Some(settings) => {
            let webhook = Webhook::start(&client, &namespaces, settings, fleet.injection()).await?;
            let cancel = cancel.clone();
            Some(tokio::spawn(async move {
                let served = webhook.serve(&cancel).await;
                cancel.cancel();
                served
            }))
        }
        None => None,
    };

    let lease = Lease::start(&client, settings);
    let leadership = lease.leadership();
    let board = Arc::new(Board::default());
    let status = StatusWriter::new(client.clone(), leadership.clone(), board.clone(), fleet.clone());
    let events = EventWriter::new(client.clone(), leadership.clone(), board.clone(), &identity);
    let approvals = Arc::new(Approvals::default());
    let treatments =
        ReassignmentWriter::new(client.clone(), leadership.clone(), board.clone(), approvals.clone());
    let writers = [
        AbortOnDropHandle::new(tokio::spawn(treatments.run(namespaces.clone()))),
        AbortOnDropHandle::new(tokio::spawn(status.run())),
        AbortOnDropHandle::new(tokio::spawn(events.run())),
        AbortOnDropHandle::new(tokio::spawn(announce(leadership.clone(), fleet.clone()))),
    ];
    let claims = Claims::default();
    let mut controller =
        Controller::new(Arc::new(Shared { client, identity, fleet, claims, board, approvals, leadership }));
    cancel.run_until_cancelled(controller.run(&namespaces)).await;

    lease.resign();
    drop(writers);
    let left = controller.stop(STOP_LIMIT).await;
    if left > 0 {
        tracing::warn!("{left} engines have not ended within {STOP_LIMIT:?}");
    }
    lease.release().await;
    match webhook {
        Some(webhook) => webhook.await.context("the injection webhook ended unexpectedly")?,
        None => Ok(()),
    }
}

/// Tells the fleet whether this instance leads, from when the election has said so for the first time.
async fn announce(mut leadership: Leadership, fleet: Fleet) {
    while leadership.authority.changed().await.is_ok() {
        let leading = *leadership.authority.borrow_and_update() == Authority::Leading;
        fleet.set_leading(leading);
    }
}

/// How everything here is watched.
pub(crate) fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// How an interrupted watch is tried again.
pub(crate) fn watch_backoff() -> ExponentialBackoff {
    let (first, longest) = WATCH_PAUSES;
    let pauses = backon::ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
    pauses.with_factor(2.0).with_jitter().without_max_times().into()
}

/// Sleeps until then; for ever without a moment.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
