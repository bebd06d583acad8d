//! OAUTHBEARER: tokens that are rotated while clients are at work, sessions that brokers end, and tokens that are refused.

use crate::{
    security::{report, to},
    support::EVENTUALLY,
};
use anyhow::{Context, Result, ensure};
use doctorkafka_kafka::{Admin, BearerToken, Connection, ReportPublisher, Sasl, Secret};
use doctorkafka_testbed::{KafkaCluster, unsecured_token};
use doctorkafka_wire::{BrokerId, METRICS_TOPIC};
use std::time::{Duration, Instant};

/// Where the tokens of these tests come from, as messages tell it.
const ORIGIN: &str = "Secret kafka/doctor, key token";

/// Long enough for clients to authenticate on a busy machine.
const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(3600);

/// A connection by this token.
pub fn by_token(kafka: &KafkaCluster, token: &str) -> Result<Connection> {
    let token = BearerToken::new(ORIGIN, &Secret::new(token))?;
    Ok(to(kafka, "OAUTH")?.with_sasl(Sasl::bearer(token)))
}

/// A connection by a token that is good for longer than any test.
pub fn by_a_good_token(kafka: &KafkaCluster) -> Result<Connection> {
    by_token(kafka, &unsecured_token("doctor", LONG))
}

/// A broker ends a session with its token (KIP-368), and closes the connection at the next request. Neither client takes
/// that for a fault of the broker, and both go on by the token that has come meanwhile.
pub async fn a_rotated_token_is_taken_over_without_an_error(kafka: &KafkaCluster, round: u64) -> Result<()> {
    let connection = by_token(kafka, &unsecured_token("doctor", SHORT))?;
    let ended = Instant::now() + SHORT + Duration::from_secs(1);
    let never_renewed = by_token(kafka, &unsecured_token("doctor", SHORT))?;
    let left_behind = Admin::new(never_renewed.clone());
    left_behind.describe_cluster().await?;
    let admin = Admin::new(connection.clone());
    admin.describe_cluster().await?;
    let publisher = ReportPublisher::start(&connection, METRICS_TOPIC, BrokerId(1))?;
    publisher.publish(&report(round)?, false);
    ensure!(publisher.flush(EVENTUALLY).await, "{:?}", publisher.stats());

    connection.renew(&by_a_good_token(kafka)?);
    let mut sent = 1;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while Instant::now() < ended {
        ticks.tick().await;
        admin.describe_cluster().await.context("while sessions end")?;
        publisher.publish(&report(round + sent)?, false);
        sent += 1;
    }
    ensure!(publisher.flush(EVENTUALLY).await, "{:?}", publisher.stats());
    let stats = publisher.stats();
    assert!(stats.acknowledged >= sent, "{stats:?}");
    assert_eq!((stats.failed, stats.overflowed), (0, 0), "{stats:?}");

    let error = left_behind.describe_cluster().await.expect_err("its token has expired").to_string();
    let said =
        format!("SASL OAUTHBEARER by the token of {ORIGIN}, whose subject is doctor and which expired at ");
    assert!(error.contains(&said) && error.contains("SaslAuthenticationFailed"), "{error}");
    never_renewed.renew(&connection);
    left_behind.describe_cluster().await.context("with a good token")?;
    Ok(())
}

/// The broker's reason is told, and never the token.
pub async fn a_token_that_is_not_accepted_is_told_and_not_shown(kafka: &KafkaCluster) -> Result<()> {
    // What is no web token, and what is signed, which a validator of unsigned tokens does not take.
    for token in ["hunter2hunter2", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkb2N0b3IifQ.aHVudGVyMg"] {
        let connection = by_token(kafka, token)?;
        let error = Admin::new(connection.clone()).describe_cluster().await.expect_err(token);
        let said = format!("SASL OAUTHBEARER by the token of {ORIGIN}");
        let shown = format!("{error} {error:?} {connection:?}");
        assert!(shown.contains(&said), "{shown}");
        assert!(shown.contains("SaslAuthenticationFailed: {\"status\":\"invalid_token\"}"), "{shown}");
        assert!(!shown.contains(token), "{shown}");
    }
    Ok(())
}
