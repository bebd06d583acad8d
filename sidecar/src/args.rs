//! What was asked for: flags, each also an environment variable.

use clap::{Parser, builder::FalseyValueParser};
use doctorkafka_kafka::{Connection, SecurityFlags};
use doctorkafka_wire::BrokerId;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

const EXAMPLES: &str = "\
Examples:
  Beside a broker on this machine; its process, log directories and listener are found by its command line:
    BROKER_ID=1 KAFKA_BROKERS=localhost:9092 doctorkafka-sidecar

  In a pod that shares its process namespace with the broker's container:
    doctorkafka-sidecar --broker-id 1 --kafka-brokers prod-kafka-bootstrap:9092 --probe 127.0.0.1:9092

  The same for a broker that tells its id itself, by its volume or its properties file:
    doctorkafka-sidecar --broker-id auto --data-dir /var/lib/kafka/data --kafka-brokers prod-kafka-bootstrap:9092

  Several brokers on one machine, told apart by their properties files or by a part of the command line:
    doctorkafka-sidecar --broker-id 2 --kafka-brokers localhost:9092 --broker-match server-2.properties --listen off

  With TLS and a password; files that change are read again:
    doctorkafka-sidecar --broker-id 1 --kafka-brokers prod-kafka-bootstrap:9093 --tls-ca /etc/kafka-ca/ca.crt \\
      --sasl-mechanism SCRAM-SHA-512 --sasl-username sidecar --sasl-password-file /etc/kafka-user/password

  With broker figures from the JMX exporter:
    doctorkafka-sidecar --broker-id 1 --kafka-brokers localhost:9092 --scrape http://127.0.0.1:9404/metrics

  For a demonstration, with spikes of CPU laid over what is measured:
    doctorkafka-sidecar --broker-id 1 --kafka-brokers localhost:9092 --simulate --seed 7
    curl -X POST 'http://localhost:7070/simulate/spike?seconds=20'

Pages served at --listen: /healthz (the sidecar's own health) and /metrics (Prometheus).
RUST_LOG sets what is logged, for example RUST_LOG=debug.";

/// Measures one Kafka broker and publishes a report about it every second.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES, max_term_width = 110)]
pub struct Args {
    /// The broker's node.id; or auto, which waits until meta.properties in a --data-dir or the broker's own properties file
    /// names it.
    #[arg(long, env = "BROKER_ID", value_name = "ID", value_parser = broker_id)]
    pub broker_id: Identity,

    /// A volume of the broker's as it is mounted here, for --broker-id auto; may be repeated.
    #[arg(long = "data-dir", env = "DATA_DIRS", value_name = "PATH", value_delimiter = ',')]
    pub data_dirs: Vec<PathBuf>,

    /// Kafka's bootstrap servers, host:port[,host:port...].
    #[arg(
        long,
        env = "KAFKA_BROKERS",
        value_name = "SERVERS",
        value_parser = connection,
        visible_alias = "bootstrap-server"
    )]
    pub kafka_brokers: Connection,

    /// TLS and SASL for publishing. The probe of the broker's own listener stays in plain text.
    #[command(flatten)]
    pub security: SecurityFlags,

    /// The topic that reports are published to.
    #[arg(long, env = "METRICS_TOPIC", value_name = "TOPIC", default_value = doctorkafka_wire::METRICS_TOPIC)]
    pub metrics_topic: String,

    /// Time between two reports, from 100ms to 10s. The doctor waits for no report longer than that.
    #[arg(long, env = "REPORT_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// The broker's process id. For a broker that will never be restarted under another.
    #[arg(long, env = "BROKER_PID", value_name = "PID", group = "selector", value_parser = clap::value_parser!(i32).range(1..))]
    pub broker_pid: Option<i32>,

    /// A file with the broker's process id. It is read again after the process has ended.
    #[arg(long, env = "BROKER_PID_FILE", value_name = "FILE", group = "selector")]
    pub broker_pid_file: Option<PathBuf>,

    /// Text that the broker's command line contains, when several brokers run here and their properties files, which
    /// name the node.id, cannot be read.
    #[arg(long, env = "BROKER_MATCH", value_name = "TEXT", group = "selector")]
    pub broker_match: Option<String>,

    /// Where to ask the broker for its ApiVersions once per interval: host:port, or off. With auto it is the first
    /// listener without TLS in the broker's properties file, or 127.0.0.1:9092 when that file cannot be read.
    #[arg(long, env = "PROBE", value_name = "HOST:PORT", default_value = "auto", value_parser = probe_target)]
    pub probe: ProbeTarget,

    /// A log directory of the broker, as the broker sees it; may be repeated. Found in the broker's properties file
    /// unless given.
    #[arg(long = "log-dir", env = "LOG_DIRS", value_name = "PATH", value_delimiter = ',')]
    pub log_dirs: Vec<PathBuf>,

    /// What the broker's network link carries in one direction, bytes a second. Told by physical interfaces.
    #[arg(
        long,
        env = "NETWORK_CAPACITY",
        value_name = "BYTES_PER_SEC",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub network_capacity: Option<u64>,

    /// A Prometheus page of the broker (JMX exporter, Strimzi reporter), read every ten seconds; http only.
    #[arg(long, env = "SCRAPE_URL", value_name = "URL", value_parser = scrape_url)]
    pub scrape: Option<String>,

    /// Go on where a mistake would end the program: wait for certificates, keys and passwords that are not there yet, serve
    /// no pages on a busy port, report without figures while several processes may be the broker. For a sidecar in a pod,
    /// which must not keep its broker's pod from being ready.
    #[arg(long, env = "KEEP_GOING", value_parser = FalseyValueParser::new())]
    pub keep_going: bool,

    /// Where to serve /healthz and /metrics: address:port, or off.
    #[arg(long, env = "LISTEN_ADDRESS", value_name = "ADDRESS", default_value = "0.0.0.0:7070", value_parser = listen)]
    pub listen: Listen,

    /// Lay random spikes of CPU over what is measured. Reports then say that they are simulated.
    #[arg(long, env = "SIMULATE", value_parser = FalseyValueParser::new())]
    pub simulate: bool,

    /// The same seed and broker id always give the same spikes.
    #[arg(long, env = "SIMULATE_SEED", value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Also fall silent from time to time for 12 to 20 seconds.
    #[arg(long, env = "SIMULATE_GAPS", value_parser = FalseyValueParser::new(), requires = "simulate")]
    pub simulate_gaps: bool,
}

/// Which broker is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The one beside us, whatever its `node.id`.
    Auto,
    /// This one.
    Given(BrokerId),
}

/// Which listener is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// As the broker's properties say, or the customary one.
    Auto,
    /// None.
    Off,
    /// This one, `host:port`.
    Fixed(String),
}

/// Where pages are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

fn broker_id(text: &str) -> Result<Identity, String> {
    match text.trim() {
        "auto" => Ok(Identity::Auto),
        number => match number.parse::<i32>() {
            Ok(id) if id >= 0 => Ok(Identity::Given(BrokerId(id))),
            _ => Err("expected the broker's node.id, a number from 0, or auto".into()),
        },
    }
}

fn connection(text: &str) -> Result<Connection, String> {
    Connection::new(text, "doctorkafka-sidecar").map_err(|error| error.to_string())
}

fn interval(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration from 100ms to 10s, for example 1s";
    let duration: jiff::SignedDuration = text.trim().parse().map_err(|_| expected)?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| (Duration::from_millis(100)..=Duration::from_secs(10)).contains(duration))
        .ok_or_else(|| expected.into())
}

fn probe_target(text: &str) -> Result<ProbeTarget, String> {
    match text.trim() {
        "auto" => Ok(ProbeTarget::Auto),
        "off" => Ok(ProbeTarget::Off),
        address => {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            match port.and_then(|port| port.parse::<u16>().ok()) {
                Some(1..) => Ok(ProbeTarget::Fixed(address.to_owned())),
                _ => Err("expected host:port, auto or off".into()),
            }
        }
    }
}

fn scrape_url(text: &str) -> Result<String, String> {
    let host =
        text.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => {
            Err("expected an address that begins with http://, for example http://127.0.0.1:9404/metrics"
                .into())
        }
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    match text.trim() {
        "off" => Ok(Listen::Off),
        address => address
            .parse()
            .map(Listen::At)
            .map_err(|_| "expected an IP address and port, for example 127.0.0.1:7070, or off".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        let given = ["doctorkafka-sidecar", "--broker-id", "2", "--kafka-brokers", "localhost:9092"];
        Args::try_parse_from(given.iter().chain(more))
    }

    #[test]
    fn what_is_needed_is_enough() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.broker_id, Identity::Given(BrokerId(2)));
        assert_eq!(args.metrics_topic, "_doctor_metrics");
        assert_eq!(args.interval, Duration::from_secs(1));
        assert_eq!(args.probe, ProbeTarget::Auto);
        assert!(!args.simulate);
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for (flags, named) in [
            (["--broker-id", "-1"], "--broker-id"),
            (["--broker-id", "one"], "node.id"),
            (["--kafka-brokers", "localhost"], "host:port"),
            (["--kafka-brokers", ""], "--kafka-brokers"),
            (["--interval", "0s"], "100ms to 10s"),
            (["--interval", "-5s"], "100ms to 10s"),
            (["--interval", "11s"], "100ms to 10s"),
            (["--probe", "nowhere"], "host:port, auto or off"),
            (["--scrape", "https://127.0.0.1/"], "http://"),
            (["--scrape", "http:///metrics"], "http://"),
            (["--listen", "localhost"], "--listen"),
            (["--network-capacity", "0"], "--network-capacity"),
            (["--broker-pid", "0"], "--broker-pid"),
        ] {
            let [flag, value] = flags;
            let needed = [["--broker-id", "2"], ["--kafka-brokers", "localhost:9092"]];
            let kept = needed.into_iter().filter(|[name, _]| *name != flag).chain([[flag, value]]);
            let given = kept.map(|[name, value]| format!("{name}={value}"));
            let all = std::iter::once("doctorkafka-sidecar".to_owned()).chain(given);
            let error = Args::try_parse_from(all).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(named), "{flags:?}: {error}");
        }
    }

    #[test]
    fn a_broker_may_tell_its_id_itself() {
        let given = ["doctorkafka-sidecar", "--broker-id=auto", "--data-dir=/data/0,/data/1", "--keep-going"];
        let args = Args::try_parse_from(given.into_iter().chain(["--kafka-brokers=localhost:9092"])).unwrap();
        assert_eq!(args.broker_id, Identity::Auto);
        assert_eq!(args.data_dirs, [PathBuf::from("/data/0"), PathBuf::from("/data/1")]);
        assert!(args.keep_going);
    }

    #[test]
    fn one_way_to_find_the_broker_at_a_time() {
        let error = parse(&["--broker-pid", "7", "--broker-match", "x"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn gaps_need_simulation() {
        assert_eq!(parse(&["--simulate-gaps"]).unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
        assert!(parse(&["--simulate", "--simulate-gaps", "--seed", "7"]).unwrap().simulate_gaps);
    }
}
