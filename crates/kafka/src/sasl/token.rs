//! Bearer tokens, as OAuth 2.0 servers issue them (RFC 6750).

use crate::{ConnectionError, Secret};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use rdkafka::client::OAuthToken;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The longest token that is taken, bytes. Kafka takes messages of 512 KiB (`sasl.server.max.receive.size`).
const MAX_LENGTH: usize = 64 * 1024;

/// librdkafka wants to know when a token ends, and asks for the next one when four fifths of its time are over. One that does
/// not say when it ends is asked for again so often.
const UNKNOWN_LIFETIME: SignedDuration = SignedDuration::from_secs(60);

/// A token that shows who the doctor is. Neither `Debug` nor any error shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BearerToken {
    origin: String,
    value: Secret,
    subject: Option<String>,
    expires: Option<Timestamp>,
}

impl BearerToken {
    /// Takes a token that was found at `origin`, which is told in errors. What a JSON Web Token (RFC 7519) says of itself,
    /// its subject and its end, is read and not checked: that is up to the broker. Any other token is taken as it is.
    ///
    /// # Errors
    /// [`ConnectionError::Credential`] when it is empty, longer than 64 KiB, or contains what no bearer token does.
    pub fn new(origin: &str, value: &Secret) -> Result<Self, ConnectionError> {
        let text = value.expose().trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        let reason = match text {
            "" => "it is empty",
            text if text.len() > MAX_LENGTH => "it is longer than 64 KiB",
            text if !text.chars().all(allowed) => {
                "it is no bearer token: those have letters, digits and -._~+/= in one line"
            }
            _ => {
                let claims = claims(text);
                return Ok(Self {
                    origin: origin.to_owned(),
                    value: Secret::new(text),
                    subject: claims.as_ref().and_then(|claims| Some(claims.get("sub")?.as_str()?.to_owned())),
                    expires: claims.as_ref().and_then(|claims| {
                        // A NumericDate, seconds that may have a fraction.
                        Timestamp::from_second(claims.get("exp")?.as_f64()? as i64).ok()
                    }),
                });
            }
        };
        Err(ConnectionError::Credential { what: origin.to_owned(), reason: reason.to_owned() })
    }

    /// When it ends, if it says so.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    pub(crate) fn expose(&self) -> &str {
        self.value.expose()
    }

    /// Where it is from and whose it says it is, and whether it has ended.
    pub(crate) fn describe(&self, now: Timestamp) -> String {
        let mut text = format!("by the token of {}", self.origin);
        if let Some(subject) = &self.subject {
            let subject: String = subject.chars().filter(|c| !c.is_control()).take(100).collect();
            text.push_str(&format!(", whose subject is {subject}"));
        }
        if let Some(expires) = self.expires.filter(|expires| *expires <= now) {
            text.push_str(&format!(" and which expired at {expires}"));
        }
        text
    }

    /// The same for librdkafka.
    fn for_librdkafka(&self, now: Timestamp) -> Result<OAuthToken, String> {
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(format!("SASL OAUTHBEARER {}", self.describe(now)));
        }
        let ends = self.expires.unwrap_or(now + UNKNOWN_LIFETIME);
        Ok(OAuthToken {
            token: self.expose().to_owned(),
            // It stays inside librdkafka. The broker takes the principal from the token.
            principal_name: self.subject.clone().unwrap_or_default().replace('\0', ""),
            lifetime_ms: ends.as_millisecond(),
        })
    }
}

/// What a JSON Web Token says, unchecked; `None` when it is none.
fn claims(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

/// The token in force, which is replaced while clients are at work: they show the newest whenever they authenticate.
#[derive(Clone)]
pub(crate) struct CurrentToken(Arc<Mutex<BearerToken>>);

impl CurrentToken {
    pub(crate) fn new(token: BearerToken) -> Self {
        Self(Arc::new(Mutex::new(token)))
    }

    pub(crate) fn get(&self) -> BearerToken {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, token: BearerToken) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    pub(crate) fn for_librdkafka(&self) -> Result<OAuthToken, String> {
        self.get().for_librdkafka(Timestamp::now())
    }
}

impl PartialEq for CurrentToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.get() == other.get()
    }
}

impl Eq for CurrentToken {}

impl fmt::Debug for CurrentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "Secret kafka/doctor, key token";

    fn token(text: &str) -> Result<BearerToken, ConnectionError> {
        BearerToken::new(ORIGIN, &Secret::new(text))
    }

    fn jwt(claims: &str) -> BearerToken {
        token(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_web_token_tells_whose_it_is_and_when_it_ends() {
        let jwt = jwt(r#"{"sub":"doctor","exp":1000.5}"#);
        assert_eq!(jwt.expires(), Some(at(1000)));
        assert_eq!(jwt.describe(at(999)), format!("by the token of {ORIGIN}, whose subject is doctor"));
        assert!(jwt.describe(at(1000)).ends_with(" and which expired at 1970-01-01T00:16:40Z"));
        let given = jwt.for_librdkafka(at(999)).unwrap();
        assert_eq!((given.principal_name.as_str(), given.lifetime_ms), ("doctor", 1_000_000));
        let expired = jwt.for_librdkafka(at(1000)).err().unwrap();
        assert!(expired.contains("which expired at"), "{expired}");
    }

    #[test]
    fn a_token_that_says_nothing_is_taken_and_asked_for_again() {
        for opaque in
            [token("abc-._~+/=").unwrap(), token("a.b.c").unwrap(), jwt("[]"), jwt(r#"{"exp":"x"}"#)]
        {
            assert_eq!(
                (opaque.expires(), opaque.describe(at(0))),
                (None, format!("by the token of {ORIGIN}"))
            );
            let given = opaque.for_librdkafka(at(1)).unwrap();
            assert_eq!((given.principal_name.as_str(), given.lifetime_ms), ("", 61_000));
        }
        assert_eq!(token("abc\n"), token("abc"), "the line's end is no part of it");
    }

    #[test]
    fn what_is_no_token_is_refused_and_none_is_shown() {
        for (text, said) in [
            ("\n", "it is empty"),
            ("hunter2 hunter2", "it is no bearer token"),
            ("hunter2\u{1}auth=x", "it is no bearer token"),
            (&"hunter2".repeat(10_000), "it is longer than 64 KiB"),
        ] {
            let error = token(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(&format!("{ORIGIN}: {said}")) && !shown.contains("hunter2"), "{shown}");
        }
        let current = CurrentToken::new(token("hunter2").unwrap());
        assert!(!format!("{current:?}").contains("hunter2"));
    }

    #[test]
    fn a_new_token_reaches_who_holds_the_old() {
        let (one, other) = (CurrentToken::new(token("a").unwrap()), CurrentToken::new(token("b").unwrap()));
        let held = one.clone();
        assert_ne!(one, other);
        one.set(other.get());
        assert_eq!(held, other);
        assert_eq!(held.for_librdkafka().unwrap().token, "b");
    }
}
