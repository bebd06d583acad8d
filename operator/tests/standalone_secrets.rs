//! The standalone mode on a cluster that asks for TLS and a password, which come from files.

#![allow(clippy::unwrap_used)]

use doctorkafka_testbed::{KafkaCluster, Listener, Process, free_port, wait_until};
use serde_json::Value;
use std::{fs, time::Duration};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_password_takes_effect() {
    let listener = Listener::new("BOTH").tls().sasl(&["SCRAM-SHA-256"]);
    let kafka = KafkaCluster::builder().brokers(1).user("doctor", "rightpassword").listener(listener);
    let kafka = kafka.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    for (secret, key, value) in [
        ("prod-ca", "ca.crt", kafka.certificates().authority.as_str()),
        ("doctor", "password", "wrongpassword\n"),
    ] {
        fs::create_dir_all(secrets.join(secret)).unwrap();
        fs::write(secrets.join(secret).join(key), value).unwrap();
    }
    let policy = folder.path().join("policy.yaml");
    fs::write(
        &policy,
        format!(
            "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {{name: prod}}\nspec:\n  kafka:\n    \
             bootstrapServers: '{}'\n    \
             tls: {{trustedCertificates: [{{secretName: prod-ca, certificate: ca.crt}}]}}\n    \
             authentication: {{scramSha256: {{username: doctor, passwordSecret: {{secretName: doctor, password: password}}}}}}\n",
            kafka.bootstrap_of("BOTH")
        ),
    )
    .unwrap();
    let api = format!("127.0.0.1:{}", free_port().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
    command.arg("standalone").arg("--policy").arg(&policy).arg("--secrets-dir").arg(&secrets);
    command.args(["--dashboard-listen", "off", "--api-listen", &api]);
    let doctor = Process::spawn("doctor", command, folder.path().join("doctor.log")).unwrap();
    let until = async |what: &str, holds: fn(&Value) -> bool| {
        if let Err(error) = wait_until(what, LIMIT, || async { holds(&report(&api)) }).await {
            panic!("{error}\nreport: {:#}\nlog: {}", report(&api), doctor.log_tail());
        }
    };

    until("the wrong password to be told", |report| {
        let error = report["kafka"]["error"].as_str().unwrap_or_default();
        error.contains("SASL SCRAM-SHA-256 as user doctor: SaslAuthenticationFailed")
    })
    .await;
    fs::write(secrets.join("doctor/password"), "rightpassword\n").unwrap();
    until("it to lead", |report| report["role"]["epoch"].as_u64() == Some(1)).await;

    fs::remove_file(secrets.join("prod-ca/ca.crt")).unwrap();
    wait_until("the loss to be told", LIMIT, || async {
        let log = fs::read_to_string(doctor.log()).unwrap();
        log.contains("spec.kafka.tls.trustedCertificates[0]: cannot read ")
    })
    .await
    .unwrap();
    assert_eq!(report(&api)["role"]["epoch"].as_u64(), Some(1), "the last good one stays in force");
    let log = fs::read_to_string(doctor.log()).unwrap();
    assert!(!log.contains("wrongpassword") && !log.contains("rightpassword"), "{log}");
    assert!(doctor.terminate().await.unwrap().success());
}

/// What the API says of the cluster; nothing while it does not answer.
fn report(api: &str) -> Value {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5)));
    let agent: ureq::Agent = config.build().into();
    let answer = agent.get(format!("http://{api}/api/v1/clusters")).call();
    let body = answer.ok().and_then(|mut answer| answer.body_mut().read_to_string().ok());
    let clusters: Value = serde_json::from_str(&body.unwrap_or_default()).unwrap_or_default();
    clusters[0].clone()
}
