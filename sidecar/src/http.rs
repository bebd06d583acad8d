//! The sidecar's own pages: `/healthz`, `/metrics`, and with `--simulate` a spike on demand.

use crate::{args::Listen, metrics, simulate::Simulator};
use anyhow::Context;
use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use doctorkafka_kafka::{PublisherStats, ReportPublisher};
use doctorkafka_wire::{BrokerId, BrokerReport};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// How long the measuring loop may rest before the sidecar counts as broken, in intervals and at least so long.
const LATE_INTERVALS: u32 = 5;
const LATE_AT_LEAST: Duration = Duration::from_secs(10);

/// A spike of this length unless asked for another, seconds, and the longest.
const SPIKE_SECONDS: u64 = 20;
const LONGEST_SPIKE_SECONDS: u64 = 600;

/// What the pages show.
pub struct Board {
    broker: BrokerId,
    started: Instant,
    interval: Duration,
    publisher: Mutex<Arc<ReportPublisher>>,
    simulator: Option<Arc<Mutex<Simulator>>>,
    last: Mutex<(Instant, Option<BrokerReport>)>,
}

impl Board {
    /// An empty board.
    pub fn new(
        broker: BrokerId,
        started: Instant,
        interval: Duration,
        publisher: Arc<ReportPublisher>,
        simulator: Option<Arc<Mutex<Simulator>>>,
    ) -> Self {
        let (publisher, last) = (Mutex::new(publisher), Mutex::new((started, None)));
        Self { broker, started, interval, publisher, simulator, last }
    }

    /// Shows the counts of another publisher.
    pub fn publish_by(&self, publisher: Arc<ReportPublisher>) {
        *self.publisher.lock().unwrap_or_else(PoisonError::into_inner) = publisher;
    }

    /// Takes in what was measured last.
    pub fn show(&self, report: BrokerReport) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Some(report));
    }

    fn stats(&self) -> PublisherStats {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner).stats()
    }

    fn last(&self) -> (Instant, Option<BrokerReport>) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes the port, so that a busy one is known before anything else starts. `None` when no pages are wanted.
///
/// # Errors
/// The address cannot be listened on.
pub async fn bind(listen: &Listen) -> anyhow::Result<Option<TcpListener>> {
    let Listen::At(address) = listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot serve /healthz and /metrics at {address}; free it, or choose another with --listen ADDRESS:PORT \
             or LISTEN_ADDRESS (several sidecars on one machine need one each), or use --listen off"
        )
    })?;
    Ok(Some(listener))
}

/// Serves the pages until the runtime ends.
pub fn serve(listener: TcpListener, board: Arc<Board>) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /healthz and /metrics");
    }
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_page))
        .route("/simulate/spike", post(spike))
        .with_state(board);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the pages are no longer served");
        }
    });
}

/// The sidecar's own health: whether it measures. Neither Kafka's nor the broker's, or a restart of the sidecar would
/// take away the news when it is needed; that reports do not reach Kafka is said, and no failure.
async fn healthz(State(board): State<Arc<Board>>) -> Response {
    let age = board.last().0.elapsed();
    let late = age > (board.interval * LATE_INTERVALS).max(LATE_AT_LEAST);
    if late {
        let text = format!("the last measurement was {} s ago\n", age.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    match board.stats().trouble {
        Some(trouble) => format!("ok, but {trouble}\n").into_response(),
        None => "ok\n".into_response(),
    }
}

async fn metrics_page(State(board): State<Arc<Board>>) -> Response {
    let stats = board.stats();
    let (_, last) = board.last();
    match metrics::render(&metrics::View { broker: board.broker, last: last.as_ref(), stats: &stats }) {
        Ok(page) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn spike(State(board): State<Arc<Board>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let Some(simulator) = &board.simulator else {
        return (StatusCode::NOT_FOUND, "this sidecar does not simulate; start it with --simulate\n")
            .into_response();
    };
    let seconds = match query.get("seconds").map(|text| text.parse::<u64>()) {
        None => SPIKE_SECONDS,
        Some(Ok(seconds)) if (1..=LONGEST_SPIKE_SECONDS).contains(&seconds) => seconds,
        Some(_) => {
            let text = format!("seconds must be a number from 1 to {LONGEST_SPIKE_SECONDS}\n");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let uptime = board.started.elapsed();
    simulator.lock().unwrap_or_else(PoisonError::into_inner).spike(uptime, Duration::from_secs(seconds));
    tracing::info!(seconds, "simulating a spike of CPU, as asked");
    format!("a spike of CPU for {seconds} s\n").into_response()
}
