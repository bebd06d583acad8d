//! Which of several standalone doctors leads: a consumer group on the actions log, one for each Kafka cluster.

use crate::fleet::Fleet;
use doctorkafka_doctor::Authority;
use doctorkafka_kafka::{Admin, AdminError, Connection, GroupElection, TopicSpec};
use std::time::Duration;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

/// The first and the longest pause between two tries at Kafka.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Takes part in the election until `cancel` is cancelled, and then until the group has been left.
///
/// Tries for as long as Kafka is away. What the election says goes to the engine and to the fleet.
pub(super) async fn take_part(
    connection: Connection,
    actions_log: String,
    authority: watch::Sender<Authority>,
    fleet: Fleet,
    cancel: CancellationToken,
) {
    let announce = |leading: bool| {
        fleet.set_leading(leading);
        authority.send_replace(if leading { Authority::Leading } else { Authority::Standby });
    };
    while let Some(cluster) = cancel.run_until_cancelled(prepared(&connection, &actions_log)).await {
        // Named after the cluster's id, like the transactional id, so that two names of one cluster meet.
        let group = format!("doctorkafka-{cluster}");
        let mut elected =
            GroupElection::start(connection.clone(), group.clone(), &actions_log, cancel.clone());
        tracing::info!(group, "taking part in the election");
        loop {
            let leading = *elected.borrow_and_update();
            announce(leading);
            tracing::info!(
                group,
                "{}",
                if leading { "elected, this instance leads" } else { "this instance stands by" }
            );
            if elected.changed().await.is_err() {
                break;
            }
        }
        announce(false);
        if cancel.is_cancelled() {
            return;
        }
        tracing::warn!(group, "the election has ended by itself, joining again");
        time::sleep(PAUSES.0).await;
    }
}

/// The cluster's id, once it is known and the actions log's topic is there to subscribe to.
async fn prepared(connection: &Connection, actions_log: &str) -> String {
    let admin = Admin::new(connection.clone());
    let mut pause = PAUSES.0;
    loop {
        match prepare(&admin, actions_log).await {
            Ok(cluster) => return cluster,
            Err(error) => tracing::warn!(
                "cannot take part in the election yet, trying again in {} ms: {error}",
                pause.as_millis()
            ),
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn prepare(admin: &Admin, actions_log: &str) -> Result<String, AdminError> {
    let cluster = admin.describe_cluster().await?;
    admin.ensure_topic(&TopicSpec::actions_log(actions_log, cluster.brokers.len())).await?;
    Ok(cluster.cluster_id)
}
