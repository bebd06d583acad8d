//! The client's side of SCRAM (RFC 5802) as Kafka speaks it: no channel binding, and text taken as it is, without the
//! normalisation of SASLprep (`ScramFormatter` in Kafka, and librdkafka, do the same).

use super::{SaslMechanism, User};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// How often the password is hashed. Fewer than Kafka's least, 4096, would let whoever poses as a broker guess at leisure;
/// more than this would keep us busy for long. Kafka itself allows 16,384.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=65_536;

/// The header of a client without channel binding, in Base64: `n,,`.
const NO_BINDING: &str = "biws";

/// One authentication.
pub(crate) struct Scram<'a> {
    user: &'a User,
    nonce: String,
}

/// What the server has to answer in the end, which shows that it knows the password.
#[derive(PartialEq, Eq)]
pub(crate) struct ServerSignature(Vec<u8>);

struct Algorithms {
    derive: pbkdf2::Algorithm,
    hmac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

fn algorithms(mechanism: SaslMechanism) -> Algorithms {
    match mechanism {
        SaslMechanism::Plain | SaslMechanism::OAuthBearer | SaslMechanism::ScramSha256 => Algorithms {
            derive: pbkdf2::PBKDF2_HMAC_SHA256,
            hmac: hmac::HMAC_SHA256,
            digest: &digest::SHA256,
        },
        SaslMechanism::ScramSha512 => Algorithms {
            derive: pbkdf2::PBKDF2_HMAC_SHA512,
            hmac: hmac::HMAC_SHA512,
            digest: &digest::SHA512,
        },
    }
}

impl<'a> Scram<'a> {
    /// Begins with some text that was never used before: printable, without a comma.
    pub(crate) fn new(user: &'a User, nonce: String) -> Self {
        Self { user, nonce }
    }

    /// The client's first message.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.bare())
    }

    fn bare(&self) -> String {
        let name = self.user.name.replace('=', "=3D").replace(',', "=2C");
        format!("n={name},r={}", self.nonce)
    }

    /// The client's answer to the server's first message, and what the server has to answer to that.
    ///
    /// # Errors
    /// Why the server's message is none, in words.
    pub(crate) fn prove(&self, server_first: &str) -> Result<(String, ServerSignature), String> {
        let mut fields = server_first.split(',');
        let mut field = |name: &str| {
            let value = fields.next().and_then(|field| field.strip_prefix(name)?.strip_prefix('='));
            value.ok_or_else(|| format!("the broker's challenge has no {name} where it should be"))
        };
        let (nonce, salt, iterations) = (field("r")?, field("s")?, field("i")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker's challenge answers another message than ours".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| "the broker's challenge has no salt in Base64")?;
        let iterations: u32 = iterations.parse().map_err(|_| "the broker's challenge has no number in i")?;
        let iterations = NonZeroU32::new(iterations)
            .filter(|iterations| ITERATIONS.contains(&iterations.get()))
            .ok_or_else(|| {
                format!("the broker asks for {iterations} iterations, and only {ITERATIONS:?} are taken")
            })?;

        let using = algorithms(self.user.mechanism);
        let hmac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(using.hmac, key), text);
        let mut salted = vec![0; using.digest.output_len()];
        pbkdf2::derive(using.derive, iterations, &salt, self.user.password.expose().as_bytes(), &mut salted);
        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let all = format!("{},{server_first},{without_proof}", self.bare());
        let client_key = hmac(&salted, b"Client Key");
        let stored_key = digest::digest(using.digest, client_key.as_ref());
        let signature = hmac(stored_key.as_ref(), all.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = hmac(&salted, b"Server Key");
        let expected = hmac(server_key.as_ref(), all.as_bytes());
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((message, ServerSignature(expected.as_ref().to_vec())))
    }
}

impl ServerSignature {
    /// Whether the server's last message shows that it knows the password.
    ///
    /// # Errors
    /// What it shows instead, in words.
    pub(crate) fn check(&self, server_final: &str) -> Result<(), String> {
        let field = server_final.split(',').next().unwrap_or_default();
        if let Some(error) = field.strip_prefix("e=") {
            let error: String = error.chars().take(100).collect();
            return Err(format!("the broker answered {}", error.escape_debug()));
        }
        let proven = field.strip_prefix("v=").and_then(|proof| STANDARD.decode(proof).ok());
        if proven.as_ref() == Some(&self.0) {
            Ok(())
        } else {
            Err("the broker did not prove that it knows the password: is it the right one?".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn user(mechanism: SaslMechanism) -> User {
        User { mechanism, name: "user".to_owned(), password: Secret::new("pencil") }
    }

    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard() {
        let user = user(SaslMechanism::ScramSha256);
        let scram = Scram::new(&user, "rOprNGfwEbeRWgbNEkqO".into());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (message, server) = scram.prove(CHALLENGE).unwrap();
        assert_eq!(
            message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        server.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        server.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=").unwrap_err();
        assert_eq!(server.check("e=other-error").unwrap_err(), "the broker answered other-error");
        server.check("").unwrap_err();
    }

    #[test]
    fn names_are_escaped() {
        let user = User { name: "a=b,c".to_owned(), ..user(SaslMechanism::ScramSha512) };
        assert_eq!(Scram::new(&user, "n".into()).first(), "n,,n=a=3Db=2Cc,r=n");
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        let user = user(SaslMechanism::ScramSha512);
        let scram = Scram::new(&user, "rOprNGfwEbeRWgbNEkqO".into());
        for (from, to, said) in [
            ("r=rOpr", "r=xOpr", "answers another message"),
            ("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "", "answers another message"),
            ("s=W", "s=%", "no salt in Base64"),
            (",i=4096", "", "has no i"),
            ("i=4096", "i=1", "asks for 1 iterations"),
            ("i=4096", "i=4000000000", "asks for 4000000000 iterations"),
            ("r=", "e=", "has no r"),
        ] {
            let Err(error) = scram.prove(&CHALLENGE.replacen(from, to, 1)) else {
                panic!("{to} in place of {from} was taken");
            };
            assert!(error.contains(said), "{error}");
        }
    }
}
