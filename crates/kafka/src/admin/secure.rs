//! The beginning of a connection: encryption (TLS) and authentication (SASL).
//!
//! Errors say what is wrong and which side has to change: most of these mistakes are made when a listener is set up.

use super::link::{Link, LinkError, Wire};
use crate::{
    Sasl, SaslMechanism, Tls,
    sasl::{Proof, Scram, ServerSignature},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use kafka_protocol::{
    ResponseError,
    messages::{SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::StrBytes,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::ServerName;
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// Random bytes in the nonce of a SCRAM exchange.
const NONCE: usize = 24;

/// So much of what a broker says of a failed authentication is passed on, characters.
const MAX_TEXT: usize = 300;

/// Encrypts a connection and checks that it leads to whom it should.
pub(super) async fn encrypt(stream: TcpStream, address: &str, tls: &Tls) -> Result<Box<dyn Wire>, LinkError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkError::Tls(format!("{host:?} is no name that a certificate can be for")))?;
    let connector = tokio_rustls::TlsConnector::from(tls.rustls());
    match connector.connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(match tls.explain(&error) {
            Some(reason) => LinkError::Tls(reason),
            None if is_cut(error.kind()) => LinkError::Tls(
                "the connection was closed during the handshake: this listener seems to speak plain text"
                    .into(),
            ),
            None => error.into(),
        }),
    }
}

/// What an error right after the handshake means. In TLS 1.3 a broker looks at the client's certificate only then.
pub(super) fn after_handshake(error: LinkError, tls: &Tls) -> LinkError {
    match error {
        LinkError::Alert(alert) => LinkError::Tls(tls.explain_alert(alert)),
        LinkError::Closed | LinkError::Io(_) if !tls.has_client_certificate() => LinkError::Tls(
            "the connection was closed right after the handshake: the broker may ask for a client certificate, and \
             none is set"
                .into(),
        ),
        error => error,
    }
}

/// Whether the beginning of an answer is that of a TLS alert or handshake, and not a frame's length.
pub(super) fn is_tls(start: [u8; 4]) -> bool {
    matches!(start, [0x15 | 0x16, 0x03, 0..=4, _])
}

fn is_cut(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

impl Link {
    /// Authenticates: SaslHandshake (API key 17) says how, SaslAuthenticate (36, KIP-152) carries the messages.
    pub(super) async fn authenticate(&mut self, sasl: &Sasl) -> Result<(), LinkError> {
        let mechanism = sasl.mechanism();
        let version = self.version::<SaslHandshakeRequest>()?;
        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.as_str()));
        let answer = self.call(&request, version).await?;
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            let offered: Vec<&str> = answer.mechanisms.iter().map(|name| &**name).collect();
            return Err(LinkError::Authentication(match error {
                ResponseError::UnsupportedSaslMechanism => format!(
                    "SASL {mechanism} is not enabled on this listener, which offers {}",
                    printable(&offered.join(", "))
                ),
                ResponseError::IllegalSaslState => {
                    format!("this listener does not authenticate by SASL, and SASL {mechanism} is set")
                }
                error => format!("SASL {mechanism}: {error}"),
            }));
        }
        let fail = |reason: String| LinkError::Authentication(format!("{}: {reason}", subject(sasl)));
        let user = match &sasl.0 {
            Proof::Password(user) => user,
            Proof::Token(token) => {
                let message = format!("n,,\x01auth=Bearer {}\x01\x01", token.get().expose());
                let answer = self.say(sasl, message).await?;
                // A token that is not accepted is answered with why, in JSON, and with an error once that is acknowledged
                // (RFC 7628, 3.2.3).
                if !answer.is_empty() {
                    self.say(sasl, "\x01".to_owned()).await?;
                    return Err(fail(printable(&answer)));
                }
                return Ok(());
            }
        };
        if mechanism == SaslMechanism::Plain {
            let message = format!("\0{}\0{}", user.name, user.password.expose());
            self.say(sasl, message).await?;
            return Ok(());
        }
        let scram = Scram::new(user, nonce()?);
        let challenge = self.say(sasl, scram.first()).await?;
        let (proof, expected): (String, ServerSignature) = scram.prove(&challenge).map_err(fail)?;
        let last = self.say(sasl, proof).await?;
        expected.check(&last).map_err(fail)
    }

    /// Sends one message of a mechanism and waits for the broker's.
    async fn say(&mut self, sasl: &Sasl, message: String) -> Result<String, LinkError> {
        let version = self.version::<SaslAuthenticateRequest>()?;
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message.into_bytes()));
        let asked = Instant::now();
        let answer = self.call(&request, version).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => {
                self.session_ends = match u64::try_from(answer.session_lifetime_ms) {
                    Ok(0) | Err(_) => None,
                    // Before its end, for what is slow and for clocks that do not run alike.
                    Ok(lifetime) => asked.checked_add(Duration::from_millis(lifetime) * 9 / 10),
                };
                Ok(String::from_utf8_lossy(&answer.auth_bytes).into_owned())
            }
            Some(error) => {
                let text =
                    answer.error_message.map(|text| format!(": {}", printable(&text))).unwrap_or_default();
                Err(LinkError::Authentication(format!("{}: {error}{text}", subject(sasl))))
            }
        }
    }
}

fn subject(sasl: &Sasl) -> String {
    match &sasl.0 {
        Proof::Password(user) => format!("SASL {} as user {}", user.mechanism, user.name),
        Proof::Token(token) => {
            format!("SASL {} {}", SaslMechanism::OAuthBearer, token.get().describe(Timestamp::now()))
        }
    }
}

fn nonce() -> Result<String, LinkError> {
    let mut bytes = [0; NONCE];
    SystemRandom::new().fill(&mut bytes).map_err(|_| LinkError::Io("no random numbers to be had".into()))?;
    Ok(STANDARD.encode(bytes))
}

/// Text of a broker, made fit for a log.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_told_from_a_length() {
        assert!(is_tls([0x15, 3, 3, 0]) && is_tls([0x16, 3, 1, 2]));
        assert!(!is_tls([0, 0, 1, 0]) && !is_tls(*b"HTTP"));
    }

    #[test]
    fn nonces_are_not_repeated_and_have_no_comma() {
        let (one, other) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(one, other);
        assert!(one.len() >= NONCE && !one.contains(','));
    }
}
