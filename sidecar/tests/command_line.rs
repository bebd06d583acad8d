//! What a person sees who starts the sidecar wrongly. No broker is needed.

#![expect(clippy::unwrap_used, reason = "helpers of tests, too, may fail loudly")]

use std::{
    io::BufRead,
    net::TcpListener,
    process::{Command, Output},
    time::Duration,
};

fn sidecar(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-sidecar"));
    for variable in ["BROKER_ID", "KAFKA_BROKERS", "LISTEN_ADDRESS", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command.args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_missing_is_named() {
    let output = sidecar(&[]);
    assert_eq!(output.status.code(), Some(2));
    let said = said(&output);
    assert!(said.contains("--broker-id") && said.contains("--kafka-brokers"), "{said}");
}

#[test]
fn bad_values_and_unknown_flags_exit_with_2() {
    for args in [
        ["--broker-id=x", "--kafka-brokers=localhost:9092"],
        ["--broker-id=1", "--kafka-brokers=localhost"],
        ["--broker-id=1", "--no-such-flag"],
    ] {
        assert_eq!(sidecar(&args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_environment_counts_as_flags_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_doctorkafka-sidecar"))
        .env("BROKER_ID", "many")
        .env("KAFKA_BROKERS", "localhost:9092")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("node.id"), "{}", said(&output));
}

#[test]
fn a_busy_port_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = sidecar(&["--broker-id=1", "--kafka-brokers=127.0.0.1:1", &format!("--listen={address}")]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn help_teaches() {
    let output = sidecar(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    for word in ["Examples:", "BROKER_ID", "KAFKA_BROKERS", "--simulate", "/metrics"] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_flag() {
    let basis = ["--broker-id=1", "--kafka-brokers=127.0.0.1:1", "--listen=off"];
    let output = sidecar(&[&basis[..], &["--tls-ca=/no/such/ca.crt"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("--tls-ca: cannot read /no/such/ca.crt: No such file"), "{text}");
    for (given, lacks) in [
        (vec!["--sasl-mechanism=PLAIN"], "--sasl-password-file"),
        (vec!["--sasl-mechanism=PLAIN", "--sasl-password-file=password"], "--sasl-username"),
        (vec!["--sasl-mechanism=OAUTHBEARER"], "--sasl-token-file"),
    ] {
        let output = sidecar(&[&basis[..], &given].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(lacks), "{}", said(&output));
    }
}

#[test]
fn a_sidecar_in_a_pod_lives_with_a_busy_port_and_a_missing_file() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let mut running = Command::new(env!("CARGO_BIN_EXE_doctorkafka-sidecar"))
        .args([
            "--broker-id=1",
            "--kafka-brokers=127.0.0.1:1",
            "--keep-going",
            "--tls-ca=/no/such/ca.crt",
            &listen,
        ])
        .env_remove("RUST_LOG")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = std::io::BufReader::new(running.stderr.take().unwrap());
    let (lines, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    let wait_for = |text: &str| {
        while !said.recv_timeout(Duration::from_secs(60)).unwrap().contains(text) {}
    };
    // It says both and goes on; were it to end, there would be no second line.
    wait_for("going on without pages");
    wait_for("nothing is reported until this is right: --tls-ca");
    assert!(running.try_wait().unwrap().is_none());
    running.kill().unwrap();
    running.wait().unwrap();
}
