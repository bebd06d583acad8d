//! Listeners that encrypt or authenticate, beside the plain ones that the brokers and the testbed use themselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Certificates made for one occasion, in PEM, with ECDSA keys: an authority, and what it has signed.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub authority: String,
    /// A broker's certificate, for the address 127.0.0.1 and no other name.
    pub broker: Identity,
    /// A client's certificate; its principal is `User:CN=doctor`.
    pub client: Identity,
}

/// A certificate with its private key, both in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl Certificates {
    /// Makes them anew. The authority's name shows up in messages.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub fn generate(authority: &str) -> Result<Self> {
        Self::generate_until(authority, 2099)
    }

    /// The same with an authority that is valid until the first day of a year.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub fn generate_until(authority: &str, year: i32) -> Result<Self> {
        let mut params = params(authority)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_after = date_time_ymd(year, 1, 1);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let sign = |mut params: CertificateParams, purpose| {
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &authority)?;
            anyhow::Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
        };
        let mut broker = params_of_broker()?;
        broker.not_after = date_time_ymd(2099, 1, 1);
        Ok(Self {
            authority: authority.pem(),
            broker: sign(broker, ExtendedKeyUsagePurpose::ServerAuth)?,
            client: sign(self::params("doctor")?, ExtendedKeyUsagePurpose::ClientAuth)?,
        })
    }
}

fn params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    Ok(params)
}

fn params_of_broker() -> Result<CertificateParams> {
    let mut params = params("broker")?;
    params.subject_alt_names.push(rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    Ok(params)
}

/// One more listener of every broker.
#[derive(Debug, Clone)]
pub struct Listener {
    name: String,
    tls: bool,
    client_certificate: bool,
    mechanisms: Vec<String>,
}

impl Listener {
    /// A plain listener of this name: capital letters, as Kafka wants it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), tls: false, client_certificate: false, mechanisms: Vec::new() }
    }

    /// Encrypts, with the cluster's [`Certificates`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Encrypts, and demands a certificate of every client.
    #[must_use]
    pub fn mutual_tls(mut self) -> Self {
        self.client_certificate = true;
        self.tls()
    }

    /// Authenticates by these mechanisms: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`. Users of PLAIN are those given to
    /// [`KafkaClusterBuilder::user`](super::KafkaClusterBuilder::user); to be known by SCRAM they are added to the running
    /// cluster as well, which [`KafkaClusterBuilder::start`](super::KafkaClusterBuilder::start) does. OAUTHBEARER takes every
    /// [`unsecured_token`].
    #[must_use]
    pub fn sasl(mut self, mechanisms: &[&str]) -> Self {
        self.mechanisms = mechanisms.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn uses_tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn uses_scram(&self) -> bool {
        self.mechanisms.iter().any(|name| name.starts_with("SCRAM"))
    }

    pub(crate) fn protocol(&self) -> &'static str {
        match (self.tls, self.mechanisms.is_empty()) {
            (false, true) => "PLAINTEXT",
            (true, true) => "SSL",
            (false, false) => "SASL_PLAINTEXT",
            (true, false) => "SASL_SSL",
        }
    }

    /// The properties of this listener.
    pub(crate) fn properties(
        &self,
        certificates: Option<&Certificates>,
        users: &[(String, String)],
    ) -> Result<BTreeMap<String, String>> {
        let prefix = format!("listener.name.{}.", self.name.to_lowercase());
        let mut properties = BTreeMap::new();
        let mut set = |key: &str, value: String| properties.insert(format!("{prefix}{key}"), value);
        if self.tls {
            let certificates = certificates.context("a TLS listener without certificates")?;
            set("ssl.keystore.type", "PEM".into());
            set("ssl.keystore.certificate.chain", in_one_line(&certificates.broker.certificate));
            set("ssl.keystore.key", in_one_line(&certificates.broker.key));
            set("ssl.truststore.type", "PEM".into());
            set("ssl.truststore.certificates", in_one_line(&certificates.authority));
            set("ssl.client.auth", if self.client_certificate { "required" } else { "none" }.into());
        }
        if !self.mechanisms.is_empty() {
            set("sasl.enabled.mechanisms", self.mechanisms.join(","));
        }
        for mechanism in &self.mechanisms {
            let module = match mechanism.as_str() {
                "PLAIN" => {
                    let users = users.iter().map(|(name, password)| format!(" user_{name}=\"{password}\""));
                    format!("plain.PlainLoginModule required{}", users.collect::<String>())
                }
                // The broker itself wants a token before it checks those of others, by default without signatures.
                "OAUTHBEARER" => "oauthbearer.OAuthBearerLoginModule required \
                                  unsecuredLoginStringClaim_sub=\"broker\""
                    .to_owned(),
                _ => "scram.ScramLoginModule required".to_owned(),
            };
            let key = format!("{}.sasl.jaas.config", mechanism.to_lowercase());
            set(&key, format!("org.apache.kafka.common.security.{module};"));
        }
        Ok(properties)
    }
}

/// A token that OAUTHBEARER listeners take: a JSON Web Token without a signature (RFC 7515, appendix A.5), for Kafka's own
/// validator of such tokens, which is meant for tests (KIP-255).
pub fn unsecured_token(subject: &str, lifetime: Duration) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let ends = (now + lifetime).as_secs_f64();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"sub":"{subject}","iat":{},"exp":{ends:.3}}}"#, now.as_secs());
    format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims))
}

/// PEM as a value of a properties file.
fn in_one_line(pem: &str) -> String {
    pem.trim_end().lines().collect::<Vec<_>>().join("\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_says_how_it_encrypts_and_authenticates() {
        let certificates = Certificates::generate("test-ca").unwrap();
        let users = [("doctor".to_owned(), "secret".to_owned())];
        let listener = Listener::new("BOTH").mutual_tls().sasl(&["PLAIN", "SCRAM-SHA-512"]);
        assert_eq!((listener.protocol(), listener.uses_scram()), ("SASL_SSL", true));
        let properties = listener.properties(Some(&certificates), &users).unwrap();
        assert_eq!(properties["listener.name.both.ssl.client.auth"], "required");
        assert_eq!(properties["listener.name.both.sasl.enabled.mechanisms"], "PLAIN,SCRAM-SHA-512");
        assert_eq!(
            properties["listener.name.both.plain.sasl.jaas.config"],
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_doctor=\"secret\";"
        );
        let key = &properties["listener.name.both.ssl.keystore.key"];
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\\n") && !key.contains('\n'), "{key}");
        assert!(listener.properties(None, &users).is_err());
        assert_eq!(Listener::new("OPEN").protocol(), "PLAINTEXT");
    }
}
