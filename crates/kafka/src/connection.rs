//! How to reach one Kafka cluster.

use crate::{Sasl, Tls, client::Tokens, sasl::Proof};

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

    /// Authenticates every connection.
    #[must_use]
    pub fn with_sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Lets all clients of this connection show another bearer token from now on, when that is all that `newer` differs in:
    /// tokens live for minutes or hours, and to start every client anew each time would make the doctor forget what it
    /// knows. What is already connected authenticates again when the broker asks for it (KIP-368). The two are equal after
    /// it; when they are not, new clients have to be made.
    pub fn renew(&self, newer: &Self) {
        let tokens = |connection: &Self| connection.sasl().and_then(Sasl::token).cloned();
        if let (Some(token), Some(next)) = (tokens(self), tokens(newer))
            && (&self.bootstrap, &self.client_id, &self.tls)
                == (&newer.bootstrap, &newer.client_id, &newer.tls)
        {
            token.set(next.get());
        }
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
            config.set("sasl.mechanism", sasl.mechanism().as_str());
            if let Proof::Password(user) = &sasl.0 {
                config.set("sasl.username", &user.name).set("sasl.password", user.password.expose());
            }
        }
        config
    }

    /// What librdkafka's clients ask for tokens.
    pub(crate) fn tokens(&self) -> Tokens {
        Tokens(self.sasl().and_then(Sasl::token).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BearerToken, Secret};

    #[test]
    fn only_a_token_is_renewed_and_only_for_the_same_cluster() {
        let by = |bootstrap: &str, token: &str| {
            let token = BearerToken::new("Secret kafka/doctor, key token", &Secret::new(token)).unwrap();
            Connection::new(bootstrap, "test").unwrap().with_sasl(Sasl::bearer(token))
        };
        let (held, next) = (by("a:9092", "first"), by("a:9092", "second"));
        let client = held.clone();
        assert_ne!(held, next);
        held.renew(&next);
        assert_eq!(client, next);
        held.renew(&by("b:9092", "third"));
        held.renew(&Connection::new("a:9092", "test").unwrap());
        assert_eq!(client, next, "no other cluster gets it");
    }
}
