//! How to reach one Kafka cluster.

use crate::{Sasl, Tls};

/// Everything a client needs to connect. The one place from which every client, rdkafka's and ours, is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    bootstrap: Vec<String>,
    client_id: String,
    tls: Option<Tls>,
    sasl: Option<Sasl>,
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
    /// A certificate, a private key, a user name or a password cannot be used. Never shows its content.
    #[error("{what}: {reason}")]
    Credential {
        /// Which one, by where it was given.
        what: String,
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
        Ok(Self { bootstrap: servers, client_id: client_id.to_owned(), tls: None, sasl: None })
    }

    /// Encrypts every connection.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Authenticates every connection with a user's name and password.
    #[must_use]
    pub fn with_sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// The bootstrap servers, each `host:port`.
    pub fn bootstrap(&self) -> &[String] {
        &self.bootstrap
    }

    /// The client id that brokers see in their logs and quotas.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(crate) fn sasl(&self) -> Option<&Sasl> {
        self.sasl.as_ref()
    }

    /// A configuration for rdkafka's clients. It holds secrets, and rdkafka's `Debug` of it shows some of them: it is for
    /// [`crate::client::create`] alone.
    pub(crate) fn rdkafka(&self) -> rdkafka::ClientConfig {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap.join(",")).set("client.id", &self.client_id);
        config.set(
            "security.protocol",
            match (&self.tls, &self.sasl) {
                (None, None) => "plaintext",
                (Some(_), None) => "ssl",
                (None, Some(_)) => "sasl_plaintext",
                (Some(_), Some(_)) => "sasl_ssl",
            },
        );
        if let Some(tls) = &self.tls {
            tls.render(&mut config);
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism().as_str())
                .set("sasl.username", sasl.username())
                .set("sasl.password", sasl.password().expose());
        }
        config
    }
}
