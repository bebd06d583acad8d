//! The rules of the CRD for policies that no API server has seen.

use crate::{
    Authentication, Bounds, BrokerList, ClusterTls, CruiseControl, Duration, Executor, Kafka,
    KafkaHealthPolicySpec, Limits, Maintenance, MaintenanceWindow, Thresholds, Topics, cel,
};
use crate::{BrokerFailure, Detection};
use std::fmt::Display;

/// A value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Violation {
    /// The field, as a path from the root: `spec.detection.cpu.recoveredBelow`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl KafkaHealthPolicySpec {
    /// Checks every rule that the API server checks, for policies that come from a file. What the types themselves rule
    /// out (a percentage of 300) does not come this far.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = Found(Vec::new());
        found.kafka(&self.kafka);
        found.topics(&self.topics);
        found.detection(&self.detection);
        found.duration(
            "spec.remedies.brokerFailure.healAfter",
            self.remedies.broker_failure.heal_after,
            BrokerFailure::HEAL_AFTER,
        );
        found.limits(&self.limits);
        found.maintenance(&self.maintenance);
        found.brokers("spec.drain.brokers", &self.drain.brokers, BrokerList::MAX_BROKERS);
        found.brokers("spec.demote.brokers", &self.demote.brokers, BrokerList::MAX_BROKERS);
        found.executor(&self.executor);
        found.0
    }
}

struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, field: impl Into<String>, message: impl Display) {
        self.0.push(Violation { field: field.into(), message: message.to_string() });
    }

    fn duration(&mut self, field: &str, duration: Duration, bounds: Bounds) {
        if !bounds.contain(duration) {
            self.add(field, format!("{bounds}; got {duration}"));
        }
    }

    fn length(&mut self, field: &str, text: &str, max: usize) {
        let length = text.chars().count();
        if length == 0 {
            self.add(field, "must not be empty");
        } else if length > max {
            self.add(field, format!("must have at most {max} characters, got {length}"));
        }
    }

    fn items(&mut self, field: &str, length: usize, max: usize) {
        if length > max {
            self.add(field, format!("must have at most {max} items, got {length}"));
        }
    }

    fn url(&mut self, field: &str, url: &str, max: usize, expected: &str) {
        self.length(field, url, max);
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if !host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', ' '])) {
            self.add(field, format!("{expected}; got {url}"));
        }
    }

    fn exactly_one(&mut self, field: &str, fields: &[&str], present: &[bool]) {
        if present.iter().filter(|present| **present).count() != 1 {
            self.add(field, cel::exactly_one_message(fields));
        }
    }

    fn kafka(&mut self, kafka: &Kafka) {
        let field = "spec.kafka.bootstrapServers";
        self.length(field, &kafka.bootstrap_servers, Kafka::MAX_BOOTSTRAP);
        let servers = kafka.bootstrap_servers.split(',').enumerate();
        if !servers
            .map(|(n, server)| if n == 0 { server } else { server.trim_start_matches(' ') })
            .all(is_address)
        {
            self.add(field, format!("{}; got {}", Kafka::BOOTSTRAP_EXPECTED, kafka.bootstrap_servers));
        }
        if let Some(tls) = &kafka.tls {
            let field = "spec.kafka.tls.trustedCertificates";
            self.items(field, tls.trusted_certificates.len(), ClusterTls::MAX_CERTIFICATES);
            for (n, certificate) in tls.trusted_certificates.iter().enumerate() {
                self.length(&format!("{field}[{n}].secretName"), &certificate.secret_name, 253);
                self.length(&format!("{field}[{n}].certificate"), &certificate.certificate, 253);
            }
        }
        if let Some(authentication) = &kafka.authentication {
            self.authentication(authentication);
            if authentication.tls.is_some() && kafka.tls.is_none() {
                self.add("spec.kafka.tls", Kafka::CLIENT_CERTIFICATE_NEEDS_TLS);
            }
        }
    }

    fn authentication(&mut self, authentication: &Authentication) {
        let Authentication { scram_sha512, scram_sha256, plain, tls, oauthbearer } = authentication;
        let root = "spec.kafka.authentication";
        let passwords = [scram_sha512, scram_sha256, plain];
        self.exactly_one(
            root,
            Authentication::FIELDS,
            &[
                scram_sha512.is_some(),
                scram_sha256.is_some(),
                plain.is_some(),
                tls.is_some(),
                oauthbearer.is_some(),
            ],
        );
        for (password, name) in passwords.into_iter().zip(Authentication::FIELDS) {
            let Some(password) = password else { continue };
            self.length(&format!("{root}.{name}.username"), &password.username, 256);
            let secret = &password.password_secret;
            self.length(&format!("{root}.{name}.passwordSecret.secretName"), &secret.secret_name, 253);
            self.length(&format!("{root}.{name}.passwordSecret.password"), &secret.password, 253);
        }
        if let Some(tls) = tls {
            let pair = &tls.certificate_and_key;
            for (name, text) in
                [("secretName", &pair.secret_name), ("certificate", &pair.certificate), ("key", &pair.key)]
            {
                self.length(&format!("{root}.tls.certificateAndKey.{name}"), text, 253);
            }
        }
        if let Some(oauth) = oauthbearer {
            let root = format!("{root}.oauthbearer");
            self.length(&format!("{root}.accessToken.secretName"), &oauth.access_token.secret_name, 253);
            self.length(&format!("{root}.accessToken.key"), &oauth.access_token.key, 253);
        }
    }

    fn topics(&mut self, topics: &Topics) {
        for (name, topic) in [("metrics", &topics.metrics), ("actionsLog", &topics.actions_log)] {
            let field = format!("spec.topics.{name}");
            self.length(&field, topic, Topics::MAX_LENGTH);
            let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
            if !topic.chars().all(legal) || matches!(topic.as_str(), "." | "..") {
                self.add(field, format!("{}; got {topic}", Topics::EXPECTED));
            }
        }
        if topics.metrics == topics.actions_log {
            self.add(
                "spec.topics.actionsLog",
                format!("must be another topic than metrics ({})", topics.metrics),
            );
        }
    }

    fn detection(&mut self, detection: &Detection) {
        let root = "spec.detection";
        self.duration(
            &format!("{root}.heartbeatTimeout"),
            detection.heartbeat_timeout,
            Detection::HEARTBEAT_TIMEOUT,
        );
        for (name, thresholds) in [
            ("cpu", detection.cpu),
            ("memory", detection.memory),
            ("disk", detection.disk),
            ("network", detection.network),
        ] {
            let (above, below) = (thresholds.overloaded_above, thresholds.recovered_below);
            if below >= above {
                self.add(
                    format!("{root}.{name}.recoveredBelow"),
                    format!("must be below overloadedAbove ({}), got {}", above.get(), below.get()),
                );
            }
            self.duration(
                &format!("{root}.{name}.sustainedFor"),
                thresholds.sustained_for,
                Thresholds::SUSTAINED_FOR,
            );
        }
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits { moves_per_broker, moves_per_cluster, .. } = *limits;
        for (name, moves) in [("movesPerBroker", moves_per_broker), ("movesPerCluster", moves_per_cluster)] {
            if !(1..=Limits::MAX_MOVES).contains(&moves) {
                self.add(
                    format!("spec.limits.{name}"),
                    format!("must be from 1 to {}, got {moves}", Limits::MAX_MOVES),
                );
            }
        }
        if moves_per_broker > moves_per_cluster {
            self.add(
                "spec.limits.movesPerBroker",
                format!("must be at most movesPerCluster ({moves_per_cluster}), got {moves_per_broker}"),
            );
        }
        self.duration("spec.limits.cooldown", limits.cooldown, Limits::COOLDOWN);
    }

    fn maintenance(&mut self, maintenance: &Maintenance) {
        let root = "spec.maintenance";
        self.items(&format!("{root}.windows"), maintenance.windows.len(), Maintenance::MAX_WINDOWS);
        for (n, window) in maintenance.windows.iter().enumerate() {
            self.duration(
                &format!("{root}.windows[{n}].duration"),
                window.duration,
                MaintenanceWindow::DURATION,
            );
            if let Some((day, repeated)) = first_repeated(&window.days) {
                self.add(format!("{root}.windows[{n}].days[{day}]"), format!("{repeated:?} is there twice"));
            }
        }
        self.brokers(&format!("{root}.brokers"), &maintenance.brokers, Maintenance::MAX_BROKERS);
    }

    fn brokers(&mut self, field: &str, brokers: &[i32], max: usize) {
        self.items(field, brokers.len(), max);
        for (n, broker) in brokers.iter().enumerate().filter(|(_, broker)| **broker < 0) {
            self.add(format!("{field}[{n}]"), format!("must be a broker id, 0 or more, got {broker}"));
        }
        if let Some((n, broker)) = first_repeated(brokers) {
            self.add(format!("{field}[{n}]"), format!("{broker} is there twice"));
        }
    }

    fn executor(&mut self, executor: &Executor) {
        let Executor { native, cruise_control } = executor;
        self.exactly_one("spec.executor", Executor::FIELDS, &[native.is_some(), cruise_control.is_some()]);
        if let Some(CruiseControl { url }) = cruise_control {
            self.url("spec.executor.cruiseControl.url", url, 512, CruiseControl::EXPECTED);
        }
    }
}

fn first_repeated<T: PartialEq>(items: &[T]) -> Option<(usize, &T)> {
    items.iter().enumerate().find(|(n, item)| items[..*n].contains(item))
}

/// Whether a text is `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let port_is_one =
        port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0') && port.parse::<u16>().is_ok();
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let host_is_one = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| {
            !ip.is_empty() && ip.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }),
        None => {
            host.bytes().all(name)
                && host.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                && host.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
        }
    };
    port_is_one && host_is_one
}
