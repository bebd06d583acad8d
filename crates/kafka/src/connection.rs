//! How to reach one Kafka cluster.

/// Everything a client needs to connect. The one place from which every client, rdkafka's and ours, is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    bootstrap: Vec<String>,
    client_id: String,
}

/// A connection that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The list of bootstrap servers is empty or one of them is not `host:port`.
    #[error("bootstrap servers {given:?}: {reason}; expected host:port[,host:port...]")]
    Bootstrap {
        /// As given.
        given: String,
        /// What is wrong.
        reason: String,
    },
}

impl Connection {
    /// Parses `host:port[,host:port...]`.
    ///
    /// # Errors
    /// [`ConnectionError::Bootstrap`].
    pub fn new(bootstrap: &str, client_id: &str) -> Result<Self, ConnectionError> {
        let fail = |reason: String| ConnectionError::Bootstrap { given: bootstrap.to_owned(), reason };
        let servers: Vec<String> =
            bootstrap.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
        if servers.is_empty() {
            return Err(fail("it is empty".into()));
        }
        for server in &servers {
            let port = server.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                return Err(fail(format!("{server:?} is not host:port")));
            }
        }
        Ok(Self { bootstrap: servers, client_id: client_id.to_owned() })
    }

    /// The bootstrap servers, each `host:port`.
    pub fn bootstrap(&self) -> &[String] {
        &self.bootstrap
    }

    /// The client id that brokers see in their logs and quotas.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// A configuration for rdkafka's clients.
    pub fn rdkafka(&self) -> rdkafka::ClientConfig {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap.join(",")).set("client.id", &self.client_id);
        config
    }
}
