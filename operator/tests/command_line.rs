//! The binary's command line: what it refuses, and how.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output},
};

fn operator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"))
        .args(arguments)
        .env_remove("KAFKA_BROKERS")
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn policy(folder: &tempfile::TempDir, spec: &str) -> PathBuf {
    let path = folder.path().join("policy.yaml");
    let text = format!(
        "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {{name: prod}}\nspec:\n{spec}"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn unknown_flags_and_missing_ones_are_usage_errors() {
    for arguments in [
        &["run", "--no-such-flag"][..],
        &["standalone"],
        &["standalone", "--policy", "x", "--api-listen", "3001"],
        &["no-such-mode"],
        &[],
    ] {
        let output = operator(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
    assert!(stderr(&operator(&["run", "--no-such-flag"])).contains("--no-such-flag"));
}

#[test]
fn help_teaches() {
    for (mode, first) in
        [("standalone", "standalone --policy deploy/examples/standalone.yaml"), ("run", "operator run")]
    {
        let output = operator(&[mode, "--help"]);
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        let examples = help.split_once("Examples:").map(|(_, examples)| examples.to_owned());
        assert!(examples.is_some_and(|examples| examples.contains(first)), "{help}");
    }
    let help = String::from_utf8_lossy(&operator(&["standalone", "--help"]).stdout).into_owned();
    let http = help.split_once("HTTP:").and_then(|(_, rest)| rest.split_once("Policy:")).unwrap();
    assert!(!http.0.contains("--policy") && http.1.contains("--policy"), "{help}");
}

#[test]
fn a_busy_port_names_the_flag_that_chooses_another() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(&folder, "  kafka: {bootstrapServers: 'localhost:9092'}\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--dashboard-listen", "--api-listen"), ("--api-listen", "--dashboard-listen")] {
        let output =
            operator(&["standalone", "--policy", policy.to_str().unwrap(), flag, &address, other, "off"]);
        assert_eq!(output.status.code(), Some(1));
        let expected = format!("cannot listen on {address}: address in use; choose another with {flag}");
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}

#[test]
fn a_policy_that_cannot_be_is_refused_with_every_field() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--dashboard-listen", "off", "--api-listen", "off"];
    for (spec, expected) in [
        (
            "  kafka: {bootstrapServers: 'localhost:9092'}\n  topics: {metrics: a, actionsLog: a}\n  \
             detection: {cpu: {overloadedAbove: 80, recoveredBelow: 85}}\n",
            &[
                "spec.topics.actionsLog",
                "spec.detection.cpu.recoveredBelow: must be below overloadedAbove (80), got 85",
            ][..],
        ),
        (
            "  kafka: {bootstrapServers: 'localhost:9092', tls: {trustedCertificates: [{secretName: ca, certificate: \
             ca.crt}]}}\n",
            &["spec.kafka.tls.trustedCertificates[0] names Secret ca, key ca.crt: give --secrets-dir DIR"],
        ),
        ("  kafka: {bootstrapServers: 'localhost:9092', tsl: {}}\n", &["spec.kafka.tsl"]),
        ("  kafka: {bootstrapServers: 'localhost'}\n", &["spec.kafka.bootstrapServers"]),
    ] {
        let path = policy(&folder, spec);
        let output = operator(&[&["standalone", "--policy", path.to_str().unwrap()][..], &flags].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        for text in expected.iter().copied().chain([path.to_str().unwrap()]) {
            assert!(stderr(&output).contains(text), "{text:?} is not in {}", stderr(&output));
        }
    }

    let missing = folder.path().join("none.yaml");
    let output = operator(&[&["standalone", "--policy", missing.to_str().unwrap()][..], &flags].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("none.yaml"), "{}", stderr(&output));
}

#[test]
fn a_probe_tells_by_its_exit_code_what_is_answered() {
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream
                .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 6\r\n\r\nindeed").as_bytes())
                .unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let output = operator(&["probe", &url]);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("{url} answers {status}: indeed")), "{}", stderr(&output));
    }
    let output = operator(&["probe", "http://127.0.0.1:1/readyz"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("asking http://127.0.0.1:1/readyz"), "{}", stderr(&output));
}
