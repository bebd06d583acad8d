//! Which of several standalone doctors leads: a consumer group on the actions log, one for each Kafka cluster.

use crate::fleet::Fleet;
use doctorkafka_doctor::Authority;
use doctorkafka_kafka::{Admin, AdminError, Connection, GroupElection, Standing, TopicSpec};
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
    let announce = |standing: Standing| {
        fleet.set_leading(standing != Standing::Standby);
        authority.send_replace(match standing {
            Standing::Standby => Authority::Standby,
            Standing::Leading => Authority::Leading,
            Standing::Unconfirmed => Authority::Uncertain,
        });
    };
    while let Some(cluster) = cancel.run_until_cancelled(prepared(&connection, &actions_log)).await {
        // Named after the cluster's id, like the transactional id, so that two names of one cluster meet.
        let group = format!("doctorkafka-{cluster}");
        let mut elected =
            GroupElection::start(connection.clone(), group.clone(), &actions_log, cancel.clone());
        tracing::info!(group, "taking part in the election");
        loop {
            let standing = *elected.borrow_and_update();
            announce(standing);
            let said = match standing {
                Standing::Standby => "this instance stands by",
                Standing::Leading => "elected, this instance leads",
                Standing::Unconfirmed => {
                    "the group's coordinator is away: this instance goes on writing the actions log until fenced"
                }
            };
            tracing::info!(group, "{said}");
            if elected.changed().await.is_err() {
                break;
            }
        }
        announce(Standing::Standby);
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
