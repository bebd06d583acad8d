//! What a broker's command line and properties file say of it.

use super::properties;
use doctorkafka_wire::BrokerId;
use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Main classes of Kafka brokers: Apache Kafka's, and the wrapper of Confluent's packages.
const MAIN_CLASSES: [&str; 2] = ["kafka.Kafka", "io.confluent.support.metrics.SupportedKafka"];

/// Largest properties file that is read, bytes.
const MAX_PROPERTIES: u64 = 1024 * 1024;

/// Where a broker stores its log when its properties do not say (`LogConfigs`, `log.dir`).
const DEFAULT_LOG_DIR: &str = "/tmp/kafka-logs";

/// What is known of a broker beside its process. All of it is optional: the properties file may not be readable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `node.id`, or `broker.id` of older releases.
    pub node_id: Option<BrokerId>,
    /// `log.dirs` or `log.dir`, as the broker sees them.
    pub log_dirs: Vec<PathBuf>,
    /// Where a client on the same machine can ask for ApiVersions without TLS, `host:port`.
    pub plain_listener: Option<String>,
    /// Whether the properties were read at all; if so, what is absent above is absent there.
    pub known: bool,
}

/// Whether this is the command line of a broker. Arguments are compared whole, so that neither a shell that carries the
/// command in one argument nor a log line with the class name is taken for one.
pub fn is_broker(args: &[String]) -> bool {
    let program = args.first().and_then(|program| Path::new(program).file_name());
    args.iter().any(|arg| MAIN_CLASSES.contains(&arg.as_str()))
        || program.is_some_and(|name| name == "kafka.Kafka")
}

impl BrokerConfig {
    /// Reads the properties file that a broker's command line names, through the broker's own root directory and
    /// working directory where those are accessible.
    pub fn read(pid: i32, args: &[String]) -> Self {
        let Some(file) = properties_file(args) else { return Self::default() };
        let text = candidates(pid, Path::new(file)).iter().find_map(|path| read_bounded(path));
        text.map(|text| Self::parse(&text, args)).unwrap_or_default()
    }

    /// What the text of a properties file, and the overrides on the command line, say.
    fn parse(text: &str, args: &[String]) -> Self {
        let mut properties = properties::parse(text);
        properties.extend(overrides(args));
        let get = |key: &str| properties.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
        let node_id = get("node.id").or_else(|| get("broker.id")).and_then(|id| id.parse().ok());
        let log_dirs = get("log.dirs").or_else(|| get("log.dir")).unwrap_or(DEFAULT_LOG_DIR);
        Self {
            node_id: node_id.filter(|id| *id >= 0).map(BrokerId),
            log_dirs: log_dirs
                .split(',')
                .map(str::trim)
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from)
                .collect(),
            plain_listener: plain_listener(&properties),
            known: true,
        }
    }
}

/// The argument after the main class; `kafka.docker`'s native image puts `start --config FILE` there.
fn properties_file(args: &[String]) -> Option<&str> {
    let is_class = |arg: &String| MAIN_CLASSES.contains(&arg.as_str()) || arg.ends_with("/kafka.Kafka");
    let rest = args.get(args.iter().position(is_class)? + 1..)?;
    let config = rest.iter().position(|arg| arg == "--config");
    rest.get(config.map_or(0, |at| at + 1)).map(String::as_str).filter(|file| !file.starts_with('-'))
}

fn overrides(args: &[String]) -> impl Iterator<Item = (String, String)> + '_ {
    args.windows(2)
        .filter(|pair| pair.first().is_some_and(|flag| flag == "--override"))
        .filter_map(|pair| pair.last()?.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
}

/// Where a path of the broker's may be found, best first.
fn candidates(pid: i32, path: &Path) -> Vec<PathBuf> {
    match path.strip_prefix("/") {
        Ok(inside) => vec![PathBuf::from(format!("/proc/{pid}/root")).join(inside), path.to_owned()],
        Err(_) => vec![PathBuf::from(format!("/proc/{pid}/cwd")).join(path)],
    }
}

fn read_bounded(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    // A named pipe or a device in place of the file would never end.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_PROPERTIES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The first of `listeners` that is not a controller's and speaks without TLS, with a host that can be connected to.
fn plain_listener(properties: &HashMap<String, String>) -> Option<String> {
    let list = |key: &str| {
        let value = properties.get(key).map_or("", String::as_str);
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect::<Vec<_>>()
    };
    let controllers = list("controller.listener.names");
    let protocols = list("listener.security.protocol.map");
    // A listener without an entry in the map is named after its protocol.
    let protocol = |name: &str| {
        let mapped = protocols.iter().filter_map(|entry| entry.split_once(':')).find(|(of, _)| *of == name);
        mapped.map_or_else(|| name.to_owned(), |(_, protocol)| protocol.trim().to_owned())
    };
    let default = [String::from("PLAINTEXT://:9092")];
    let listeners = list("listeners");
    let listeners =
        if listeners.is_empty() { default.iter().map(String::as_str).collect() } else { listeners };
    listeners.iter().filter_map(|listener| listener.split_once("://")).find_map(|(name, address)| {
        let plain = matches!(protocol(name).as_str(), "PLAINTEXT" | "SASL_PLAINTEXT");
        if controllers.contains(&name) || !plain {
            return None;
        }
        let (host, port) = address.rsplit_once(':')?;
        port.parse::<u16>().ok().filter(|port| *port > 0)?;
        let host = match host {
            "" | "0.0.0.0" => "127.0.0.1",
            "[::]" => "[::1]",
            host => host,
        };
        Some(format!("{host}:{port}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn brokers_are_known_by_a_whole_argument() {
        assert!(is_broker(&args(
            "java -Xmx1G -cp /opt/kafka/libs/* kafka.Kafka /etc/kafka/server.properties"
        )));
        assert!(is_broker(&args("/opt/kafka/kafka.Kafka start --config /mnt/server.properties")));
        assert!(!is_broker(&args("java -cp x org.apache.kafka.tools.TopicCommand --list")));
        assert!(!is_broker(&["sh".into(), "-c".into(), "java kafka.Kafka server.properties".into()]));
        assert!(!is_broker(&[]));
    }

    #[test]
    fn finds_the_properties_file() {
        for (line, file) in [
            ("java -cp x kafka.Kafka /etc/kafka/server.properties", Some("/etc/kafka/server.properties")),
            ("java -cp x kafka.Kafka s.properties --override node.id=3", Some("s.properties")),
            ("/opt/kafka/kafka.Kafka start --config /mnt/s.properties", Some("/mnt/s.properties")),
            ("java kafka.Kafka", None),
            ("java kafka.Kafka --version", None),
        ] {
            assert_eq!(properties_file(&args(line)), file, "{line}");
        }
    }

    #[test]
    fn reads_a_kraft_node() {
        let config = BrokerConfig::parse(
            "process.roles=broker,controller\nnode.id=2\nlog.dirs=/data/a, /data/b\n\
             listeners=CONTROLLER://:9093,TLS://:9094,PLAIN://0.0.0.0:29092\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,TLS:SSL,PLAIN:SASL_PLAINTEXT\n",
            &args("java kafka.Kafka s.properties --override log.dirs=/data/c --override node.id=12"),
        );
        assert_eq!(config.node_id, Some(BrokerId(12)));
        assert_eq!(config.log_dirs, [PathBuf::from("/data/c")]);
        assert_eq!(config.plain_listener.as_deref(), Some("127.0.0.1:29092"));
        assert!(config.known);
    }

    #[test]
    fn a_broker_with_only_tls_has_no_plain_listener() {
        let config = BrokerConfig::parse("broker.id=1\nlisteners=SSL://:9093,SASL_SSL://b:9094\n", &[]);
        assert_eq!(config.plain_listener, None);
        assert_eq!(config.node_id, Some(BrokerId(1)));
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = BrokerConfig::parse("node.id=-1\n", &[]);
        assert_eq!(config.node_id, None, "-1 asks Kafka for a generated id");
        assert_eq!(config.log_dirs, [PathBuf::from("/tmp/kafka-logs")]);
        assert_eq!(config.plain_listener.as_deref(), Some("127.0.0.1:9092"));
    }

    #[test]
    fn relative_paths_start_where_the_broker_does() {
        assert_eq!(
            candidates(7, Path::new("config/s.properties")),
            [PathBuf::from("/proc/7/cwd/config/s.properties")]
        );
        assert_eq!(candidates(7, Path::new("/etc/s"))[0], Path::new("/proc/7").join("root/etc/s"));
    }
}
