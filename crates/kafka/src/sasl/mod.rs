//! Who the doctor says it is: SASL with a user's name and password, or with a token.

mod scram;
mod token;

pub(crate) use scram::{Scram, ServerSignature};
pub use token::BearerToken;
pub(crate) use token::CurrentToken;

use crate::{ConnectionError, Secret};
use std::{fmt, str::FromStr};

/// The longest name or password that is taken, bytes. Kafka itself sets none.
const MAX_LENGTH: usize = 4096;

/// How the doctor proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself is sent (RFC 4616): readable by everyone on the way unless the connection is encrypted.
    Plain,
    /// Challenge and response with SHA-256 (RFC 5802, RFC 7677): the password is not sent, and the broker proves that it
    /// knows it, too.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
    /// A token of an OAuth 2.0 server is sent (RFC 7628, KIP-255): readable by everyone on the way unless the connection
    /// is encrypted.
    OAuthBearer,
}

impl SaslMechanism {
    /// Every mechanism, those of passwords first, the weakest before the others.
    pub const ALL: [Self; 4] = [Self::Plain, Self::ScramSha256, Self::ScramSha512, Self::OAuthBearer];

    /// As it is registered and as Kafka names it: `SCRAM-SHA-512`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SaslMechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.as_str().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// What shows who the doctor is: a user with a password, or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl(pub(crate) Proof);

/// The two kinds of proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    Password(User),
    Token(CurrentToken),
}

/// A user, its password and how that is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) mechanism: SaslMechanism,
    pub(crate) name: String,
    pub(crate) password: Secret,
}

impl Sasl {
    /// A user with a password. Checks what can be checked without a broker.
    ///
    /// # Errors
    /// [`ConnectionError::Credential`] when the name or the password is empty, too long, or contains a NUL character,
    /// which separates the parts of a PLAIN message; or when the mechanism takes no password.
    pub fn new(mechanism: SaslMechanism, username: &str, password: Secret) -> Result<Self, ConnectionError> {
        if mechanism == SaslMechanism::OAuthBearer {
            let reason = format!("{mechanism} takes a token, and no user name and password");
            return Err(ConnectionError::Credential { what: "password".to_owned(), reason });
        }
        for (what, text) in [("user name", username), ("password", password.expose())] {
            let reason = match text {
                "" => "it is empty",
                text if text.len() > MAX_LENGTH => "it is longer than 4,096 bytes",
                text if text.contains('\0') => "it contains a NUL character",
                _ => continue,
            };
            return Err(ConnectionError::Credential { what: what.to_owned(), reason: reason.to_owned() });
        }
        Ok(Self(Proof::Password(User { mechanism, name: username.to_owned(), password })))
    }

    /// A token, by [`SaslMechanism::OAuthBearer`]. [`Connection::renew`](crate::Connection::renew) replaces it.
    pub fn bearer(token: BearerToken) -> Self {
        Self(Proof::Token(CurrentToken::new(token)))
    }

    /// How it is proven.
    pub fn mechanism(&self) -> SaslMechanism {
        match &self.0 {
            Proof::Password(user) => user.mechanism,
            Proof::Token(_) => SaslMechanism::OAuthBearer,
        }
    }

    pub(crate) fn token(&self) -> Option<&CurrentToken> {
        match &self.0 {
            Proof::Password(_) => None,
            Proof::Token(token) => Some(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_read_as_they_are_written() {
        for mechanism in SaslMechanism::ALL {
            assert_eq!(mechanism.to_string().parse(), Ok(mechanism));
        }
        assert_eq!("scram-sha-512".parse(), Ok(SaslMechanism::ScramSha512));
        let error = "GSSAPI".parse::<SaslMechanism>().unwrap_err();
        assert_eq!(error, "expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER");
    }

    #[test]
    fn what_cannot_be_is_named_and_not_shown() {
        let new = |user: &str, password: &str| Sasl::new(SaslMechanism::Plain, user, Secret::new(password));
        assert_eq!(new("", "x").unwrap_err().to_string(), "user name: it is empty");
        assert_eq!(new("doctor", "").unwrap_err().to_string(), "password: it is empty");
        let error = new("doctor", "hunter2\0").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let error = Sasl::new(SaslMechanism::OAuthBearer, "doctor", Secret::new("x")).unwrap_err();
        assert_eq!(error.to_string(), "password: OAUTHBEARER takes a token, and no user name and password");
        let good = new("doctor", "hunter2").unwrap();
        assert!(!format!("{good:?}").contains("hunter2"));
    }
}
