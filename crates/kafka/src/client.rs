//! What all librdkafka clients have in common.

use crate::sasl::CurrentToken;
use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::ConsumerContext,
    error::{KafkaError, KafkaResult},
};
use std::error::Error;

/// Makes a client. An error of rdkafka's shows the value that was refused, which may be a secret; this one does not.
pub(crate) fn create<C, T>(config: &ClientConfig, context: C) -> KafkaResult<T>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    config.create_with_context(context).map_err(redacted)
}

fn redacted(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::ClientConfig(result, text, key, _) => {
            // The text is librdkafka's, and may quote the value.
            let text = if key.starts_with("ssl.") || key.starts_with("sasl.") { String::new() } else { text };
            KafkaError::ClientConfig(result, text, key, "[value not shown]".to_owned())
        }
        KafkaError::Nul(_) => KafkaError::ClientCreation("a setting contains a NUL character".to_owned()),
        error => error,
    }
}

/// Puts librdkafka's log lines among ours. They are details: a broker that is down makes librdkafka log an error several
/// times a second, and what matters of it comes back as the error of a call or an event.
#[derive(Debug, Clone)]
pub(crate) struct Quiet(pub(crate) Tokens);

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.current()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::trace!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

/// Where a client's context gets the token that librdkafka asks for, each time it authenticates by OAUTHBEARER.
#[derive(Debug, Clone)]
pub(crate) struct Tokens(pub(crate) Option<CurrentToken>);

impl Tokens {
    /// The newest token. An error, a token that has expired, makes librdkafka ask again after 10 s.
    pub(crate) fn current(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.0.as_ref().ok_or("there is no token")?;
        Ok(token.for_librdkafka()?)
    }
}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Debug => tracing::trace!(facility, message, "librdkafka"),
        _ => tracing::debug!(?level, facility, message, "librdkafka"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::BaseConsumer;

    #[test]
    fn a_setting_that_is_refused_is_not_shown() {
        for (key, value) in
            [("ssl.key.pem", "hunter2\0"), ("ssl.key.pem", "hunter2"), ("nonsense", "hunter2")]
        {
            let mut config = ClientConfig::new();
            config.set("security.protocol", "ssl").set(key, value);
            let Err(error) = create::<_, BaseConsumer<Quiet>>(&config, Quiet(Tokens(None))) else {
                panic!("{key} was taken");
            };
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        }
    }
}
