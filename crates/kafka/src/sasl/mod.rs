//! Who the doctor says it is: SASL with a user's name and password.

mod scram;

pub(crate) use scram::{Scram, ServerSignature};

use crate::{ConnectionError, Secret};
use std::{fmt, str::FromStr};

/// The longest name or password that is taken, bytes. Kafka itself sets none.
const MAX_LENGTH: usize = 4096;

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself is sent (RFC 4616): readable by everyone on the way unless the connection is encrypted.
    Plain,
    /// Challenge and response with SHA-256 (RFC 5802, RFC 7677): the password is not sent, and the broker proves that it
    /// knows it, too.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// Every mechanism, the weakest first.
    pub const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// As it is registered and as Kafka names it: `SCRAM-SHA-512`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
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

/// A user, its password and how that is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    mechanism: SaslMechanism,
    username: String,
    password: Secret,
}

impl Sasl {
    /// Checks what can be checked without a broker.
    ///
    /// # Errors
    /// [`ConnectionError::Credential`] when the name or the password is empty, too long, or contains a NUL character,
    /// which separates the parts of a PLAIN message.
    pub fn new(mechanism: SaslMechanism, username: &str, password: Secret) -> Result<Self, ConnectionError> {
        for (what, text) in [("user name", username), ("password", password.expose())] {
            let reason = match text {
                "" => "it is empty",
                text if text.len() > MAX_LENGTH => "it is longer than 4,096 bytes",
                text if text.contains('\0') => "it contains a NUL character",
                _ => continue,
            };
            return Err(ConnectionError::Credential { what: what.to_owned(), reason: reason.to_owned() });
        }
        Ok(Self { mechanism, username: username.to_owned(), password })
    }

    /// How the password is proven.
    pub fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    /// The user's name.
    pub fn username(&self) -> &str {
        &self.username
    }

    pub(crate) fn password(&self) -> &Secret {
        &self.password
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
        assert_eq!(error, "expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512");
    }

    #[test]
    fn what_cannot_be_is_named_and_not_shown() {
        let new = |user: &str, password: &str| Sasl::new(SaslMechanism::Plain, user, Secret::new(password));
        assert_eq!(new("", "x").unwrap_err().to_string(), "user name: it is empty");
        assert_eq!(new("doctor", "").unwrap_err().to_string(), "password: it is empty");
        let error = new("doctor", "hunter2\0").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let good = new("doctor", "hunter2").unwrap();
        assert!(!format!("{good:?}").contains("hunter2"));
    }
}
