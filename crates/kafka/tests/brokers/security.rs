//! Every client over every kind of listener, and what is said when client and listener do not fit.

use crate::{
    support::{EVENTUALLY, leader_of, within},
    tokens,
};
use anyhow::{Context, Result};
use doctorkafka_kafka::{
    ActionLogReader, ActionLogWriter, Admin, CertificatePem, Connection, GroupElection, KeyPem, LogEvent,
    MetricsEvent, ReportPublisher, ReportReader, Sasl, SaslMechanism, Secret, Standing, Tls, TopicSpec,
};
use doctorkafka_testbed::{Certificates, KafkaCluster, KafkaVersion, Listener, wait_until};
use doctorkafka_wire::{ActionRecord, BrokerId, BrokerReport, METRICS_TOPIC};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOG: &str = "_doctor_actions_log";
const USER: &str = "doctor";
const PASSWORD: &str = "correcthorsebatterystaple";

async fn cluster(version: KafkaVersion, brokers: i32) -> Result<KafkaCluster> {
    KafkaCluster::builder()
        .version(version)
        .brokers(brokers)
        .user(USER, PASSWORD)
        .listener(Listener::new("TLS").tls())
        .listener(Listener::new("MUTUAL").mutual_tls())
        .listener(Listener::new("SASL").sasl(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]))
        .listener(Listener::new("OAUTH").sasl(&["OAUTHBEARER"]))
        .listener(Listener::new("BOTH").tls().sasl(&["SCRAM-SHA-512"]))
        .start()
        .await
}

fn trusted(certificates: &Certificates) -> CertificatePem {
    CertificatePem { origin: "Secret kafka/ca, key ca.crt".into(), text: certificates.authority.clone() }
}

fn tls(certificates: &Certificates) -> Result<Tls> {
    Ok(Tls::trusting(&[trusted(certificates)])?)
}

fn mutual_tls(trusted: &Certificates, own: &Certificates) -> Result<Tls> {
    let certificate = CertificatePem { origin: "user.crt".into(), text: own.client.certificate.clone() };
    let key = KeyPem { origin: "user.key".into(), text: Secret::new(&own.client.key) };
    Ok(tls(trusted)?.with_client_certificate(&certificate, &key)?)
}

fn sasl(mechanism: SaslMechanism, password: &str) -> Result<Sasl> {
    Ok(Sasl::new(mechanism, USER, Secret::new(password))?)
}

pub fn to(kafka: &KafkaCluster, listener: &str) -> Result<Connection> {
    Ok(Connection::new(&kafka.bootstrap_of(listener), "test")?)
}

fn every_way(kafka: &KafkaCluster) -> Result<Vec<(&'static str, Connection)>> {
    use SaslMechanism::{Plain, ScramSha256, ScramSha512};
    let certificates = kafka.certificates();
    Ok(vec![
        ("TLS", to(kafka, "TLS")?.with_tls(tls(certificates)?)),
        ("MUTUAL", to(kafka, "MUTUAL")?.with_tls(mutual_tls(certificates, certificates)?)),
        ("SASL", to(kafka, "SASL")?.with_sasl(sasl(Plain, PASSWORD)?)),
        ("SASL", to(kafka, "SASL")?.with_sasl(sasl(ScramSha256, PASSWORD)?)),
        ("SASL", to(kafka, "SASL")?.with_sasl(sasl(ScramSha512, PASSWORD)?)),
        ("BOTH", to(kafka, "BOTH")?.with_tls(tls(certificates)?).with_sasl(sasl(ScramSha512, PASSWORD)?)),
        ("OAUTH", tokens::by_a_good_token(kafka)?),
    ])
}

pub fn report(sequence: u64) -> Result<BrokerReport> {
    let text = format!(
        r#"{{"version":1,"brokerId":1,"incarnation":1,"sequence":{sequence},"sampledAt":"2026-11-22T14:02:11Z",
            "uptimeMs":1,"intervalMs":1000,"process":{{"state":"running"}}}}"#
    );
    Ok(BrokerReport::decode(text.as_bytes())?)
}

fn record(id: &str) -> Result<ActionRecord> {
    let text = format!(
        r#"{{"version":1,"id":"{id}","time":"2026-11-22T14:02:11Z","policy":"kafka/prod","cluster":"test","epoch":1,
            "kind":"ALERT_OVERLOAD","severity":"warning","message":"CPU usage 95% > 80%"}}"#
    );
    Ok(ActionRecord::decode(text.as_bytes())?)
}

/// Asks, publishes and reads a report, writes and reads the actions log, and is elected.
async fn all_clients(
    kafka: &KafkaCluster,
    listener: &str,
    connection: &Connection,
    round: u64,
) -> Result<()> {
    let admin = Admin::new(connection.clone());
    // A SCRAM user is known to every broker some moments after it was made.
    let cluster =
        wait_until("an answer", EVENTUALLY, || async { admin.describe_cluster().await.ok() }).await?;
    assert_eq!(cluster.cluster_id, kafka.cluster_id());
    let bootstrap = kafka.bootstrap_of(listener);
    let addresses: Vec<String> = cluster.brokers.iter().map(|broker| broker.address()).collect();
    assert_eq!(addresses.join(","), bootstrap, "the brokers by the same listener");
    for address in addresses {
        admin.probe(&address, EVENTUALLY).await?;
    }
    admin.ensure_topic(&TopicSpec::metrics(METRICS_TOPIC, kafka.brokers().len())).await?;
    admin.ensure_topic(&TopicSpec::actions_log(LOG, kafka.brokers().len())).await?;
    leader_of(&admin, LOG, 0).await?;

    let cancel = CancellationToken::new();
    let _end = cancel.clone().drop_guard();
    let publisher = ReportPublisher::start(connection, METRICS_TOPIC, BrokerId(1))?;
    publisher.publish(&report(round)?, false);
    let mut reports = ReportReader::start(connection.clone(), METRICS_TOPIC, cancel.clone());
    let read = async {
        loop {
            if let MetricsEvent::Record { report, .. } =
                reports.recv().await.context("the reader has ended")?
                && report.sequence == round
            {
                return anyhow::Ok(());
            }
        }
    };
    within("the report", EVENTUALLY, read).await??;

    let id = format!("record {round}");
    let mut writer = ActionLogWriter::open(connection.clone(), LOG, kafka.cluster_id()).await?;
    writer.append(vec![record(&id)?]).await?;
    let mut log = ActionLogReader::start(connection.clone(), LOG, 100, cancel.clone());
    let read = async {
        loop {
            if let LogEvent::Record { record, .. } = log.recv().await.context("the reader has ended")?
                && record.id == id
            {
                return anyhow::Ok(());
            }
        }
    };
    within("the record", EVENTUALLY, read).await??;

    let group = format!("doctorkafka-{round}");
    let mut standing = GroupElection::start(connection.clone(), group, LOG, cancel.clone());
    within("the election", EVENTUALLY, standing.wait_for(|standing| *standing == Standing::Leading))
        .await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_of_kafka_4_3_speaks_tls_and_sasl() -> Result<()> {
    let kafka = cluster(KafkaVersion::V4_3_1, 2).await?;
    for (round, (listener, connection)) in (1..).zip(every_way(&kafka)?) {
        all_clients(&kafka, listener, &connection, round).await.with_context(|| format!("{connection:?}"))?;
    }
    tokens::a_rotated_token_is_taken_over_without_an_error(&kafka, 1_000).await?;
    tokens::a_token_that_is_not_accepted_is_told_and_not_shown(&kafka).await?;
    mistakes_are_explained(&kafka).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_of_kafka_3_9_speaks_tls_and_sasl() -> Result<()> {
    let kafka = cluster(KafkaVersion::V3_9_2, 1).await?;
    for (round, (listener, connection)) in (1..).zip(every_way(&kafka)?) {
        all_clients(&kafka, listener, &connection, round).await.with_context(|| format!("{connection:?}"))?;
    }
    tokens::a_rotated_token_is_taken_over_without_an_error(&kafka, 1_000).await?;
    tokens::a_token_that_is_not_accepted_is_told_and_not_shown(&kafka).await
}

async fn mistakes_are_explained(kafka: &KafkaCluster) -> Result<()> {
    use SaslMechanism::{Plain, ScramSha256, ScramSha512};
    let right = kafka.certificates();
    let other = Certificates::generate("another-ca")?;
    let expired = Certificates::generate_until("expired-ca", 2021)?;
    let by_name = to(kafka, "TLS")?.bootstrap().join(",").replace("127.0.0.1", "localhost");
    let said_of = [
        (
            to(kafka, "TLS")?.with_tls(tls(&other)?),
            "TLS: certificate CN=broker is signed by unknown authority CN=testbed-ca (trusted: CN=another-ca from \
             Secret kafka/ca, key ca.crt)",
        ),
        (
            to(kafka, "TLS")?.with_tls(tls(&expired)?),
            "(trusted: CN=expired-ca from Secret kafka/ca, key ca.crt, expired ",
        ),
        (
            Connection::new(&by_name, "test")?.with_tls(tls(right)?),
            "TLS: certificate CN=broker is not for localhost: it is for 127.0.0.1",
        ),
        (to(kafka, "TLS")?, "TLS: this listener speaks TLS, and the connection is in plain text"),
        (
            Connection::new(&kafka.bootstrap(), "test")?.with_tls(tls(right)?),
            "TLS: the connection was closed during the handshake: this listener seems to speak plain text",
        ),
        (to(kafka, "MUTUAL")?.with_tls(tls(right)?), "it asks for a client certificate, and none is set"),
        (
            to(kafka, "MUTUAL")?.with_tls(mutual_tls(right, &other)?),
            "TLS: the broker does not accept the client certificate CN=doctor",
        ),
        (to(kafka, "SASL")?, "or this listener asks for SASL authentication, and none is set"),
        (
            to(kafka, "SASL")?.with_sasl(sasl(Plain, "wrong")?),
            "SASL PLAIN as user doctor: SaslAuthenticationFailed: Authentication failed: Invalid username or password",
        ),
        (
            to(kafka, "SASL")?.with_sasl(sasl(ScramSha256, "wrong")?),
            "SASL SCRAM-SHA-256 as user doctor: SaslAuthenticationFailed: Authentication failed during \
             authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256",
        ),
        (
            to(kafka, "BOTH")?.with_tls(tls(right)?).with_sasl(sasl(Plain, PASSWORD)?),
            "SASL PLAIN is not enabled on this listener, which offers SCRAM-SHA-512",
        ),
        (
            to(kafka, "TLS")?.with_tls(tls(right)?).with_sasl(sasl(ScramSha512, PASSWORD)?),
            "this listener does not authenticate by SASL, and SASL SCRAM-SHA-512 is set",
        ),
    ];
    for (connection, expected) in said_of {
        let error = Admin::new(connection.clone()).describe_cluster().await.expect_err(expected);
        let (shown, debug) = (error.to_string(), format!("{error:?} {connection:?}"));
        eprintln!("{shown}");
        assert!(shown.contains(expected), "{shown}\n  instead of\n{expected}");
        for secret in [PASSWORD, "\"wrong\"", "PRIVATE KEY"] {
            assert!(!shown.contains(secret) && !debug.contains(secret), "{secret} in {shown} {debug}");
        }
    }
    librdkafka_refuses_what_we_refuse(kafka, &tls(&expired)?).await
}

/// Nothing goes out to a broker that is not trusted, by either client.
async fn librdkafka_refuses_what_we_refuse(kafka: &KafkaCluster, untrusting: &Tls) -> Result<()> {
    let connection = to(kafka, "TLS")?.with_tls(untrusting.clone());
    let publisher = ReportPublisher::start(&connection, METRICS_TOPIC, BrokerId(1))?;
    publisher.publish(&report(1000)?, false);
    assert!(!publisher.flush(Duration::from_secs(3)).await);
    assert_eq!(publisher.stats().acknowledged, 0);
    Ok(())
}
