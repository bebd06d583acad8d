//! Taking a snapshot: a few questions to any broker, then two or three to each.

use std::time::Duration;

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::{AdminError, BrokerInfo, ClusterDescription, LogDir, LogSpan};
use doctorkafka_wire::BrokerId;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use super::{
    snapshot::{LoadSnapshot, Missing},
    source::LoadSource,
};

/// Brokers that are asked at once.
const AT_ONCE: usize = 8;

/// All brokers together have so long.
const LIMIT: Duration = Duration::from_secs(60);

/// What one broker answered.
struct Answers {
    broker: BrokerId,
    dirs_at: Moment,
    dirs: Result<Vec<LogDir>, AdminError>,
    spans_at: Moment,
    spans: Option<Vec<Option<LogSpan>>>,
}

/// Reads where all partitions are, how large they are and how far they go. Changes nothing. `now` is the clock by which
/// the parts are dated.
///
/// What a single broker does not tell is missing in the snapshot, with the reason. Ends within about a minute and a half.
///
/// # Errors
/// The brokers or the topics cannot be read.
pub async fn take<S: LoadSource>(
    source: &S,
    now: impl Fn() -> Moment + Sync,
) -> Result<LoadSnapshot, AdminError> {
    take_within(LIMIT, source, now).await
}

/// The same with another limit for all brokers together.
pub(super) async fn take_within<S: LoadSource>(
    limit: Duration,
    source: &S,
    now: impl Fn() -> Moment + Sync,
) -> Result<LoadSnapshot, AdminError> {
    let at = now();
    let (cluster, topics, running) = tokio::join!(source.cluster(), source.topics(), source.reassignments());
    let ClusterDescription { cluster_id, brokers, .. } = cluster?;
    let mut snapshot =
        LoadSnapshot::begin(at, cluster_id, &brokers, topics?, running.map_err(|error| missing(&error)));
    let mut led = snapshot.led();
    let asked: Vec<(BrokerInfo, Vec<usize>)> = brokers
        .into_iter()
        .filter(|broker| !broker.fenced)
        .map(|broker| {
            let led = led.remove(&broker.id).unwrap_or_default();
            (broker, led)
        })
        .collect();
    // In rounds, so that never more than a few answers are there that have not been turned into numbers.
    let deadline = Instant::now() + limit;
    let mut left = asked.iter();
    loop {
        let round: Vec<&(BrokerInfo, Vec<usize>)> = left.by_ref().take(AT_ONCE).collect();
        if round.is_empty() {
            return Ok(snapshot);
        }
        let mut answers = Vec::with_capacity(round.len());
        let mut running = FuturesUnordered::new();
        for (broker, led) in &round {
            running.push(ask(source, broker, &snapshot, led, &now));
        }
        while let Ok(Some(answer)) = timeout_at(deadline, running.next()).await {
            answers.push(answer);
        }
        drop(running);
        for (broker, led) in round {
            match answers.iter().position(|answer| answer.broker == broker.id) {
                Some(at) => see(&mut snapshot, answers.swap_remove(at), led),
                None => snapshot.miss_dirs(broker.id, late(broker, limit)),
            }
        }
    }
}

async fn ask<S: LoadSource>(
    source: &S,
    broker: &BrokerInfo,
    snapshot: &LoadSnapshot,
    led: &[usize],
    now: &(impl Fn() -> Moment + Sync),
) -> Answers {
    let dirs_at = now();
    let dirs = source.log_dirs(broker).await;
    let spans_at = now();
    let spans = match &dirs {
        // A broker that does not answer at all is not asked again.
        Err(AdminError::Unreachable { .. }) => None,
        _ => source.log_spans(broker, &snapshot.by_topic(led)).await.ok(),
    };
    Answers { broker: broker.id, dirs_at, dirs, spans_at, spans }
}

fn see(snapshot: &mut LoadSnapshot, answers: Answers, led: &[usize]) {
    let Answers { broker, dirs_at, dirs, spans_at, spans } = answers;
    match dirs {
        Ok(dirs) => snapshot.see_dirs(broker, dirs_at, dirs),
        Err(error) => snapshot.miss_dirs(broker, missing(&error)),
    }
    if let Some(spans) = spans {
        snapshot.see_spans(broker, spans_at, led, &spans);
    }
}

fn missing(error: &AdminError) -> Missing {
    let denied = matches!(error, AdminError::Refused { code, .. } if code == "ClusterAuthorizationFailed");
    Missing { denied, message: error.to_string() }
}

fn late(broker: &BrokerInfo, limit: Duration) -> Missing {
    let message = format!("DescribeLogDirs: {} has not answered within {limit:?}", broker.address());
    Missing { denied: false, message }
}
