//! Whether a broker's certificate is to be trusted, and a reason for people when it is not.
//!
//! The judgement is that of rustls (`WebPkiServerVerifier`: chain, validity, purpose, name). What is added: authorities
//! whose own certificate has expired no longer count, and the reason names whose certificate it is, who issued it and who
//! is trusted.

use super::{Authority, certificate::Summary};
use jiff::{SpanRound, Timestamp, Unit};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{fmt, sync::Arc};

/// So many of the trusted, or of the names in a certificate, are named.
const SHOWN: usize = 5;

pub(super) struct Verifier {
    trusted: Arc<[Authority]>,
    provider: Arc<CryptoProvider>,
}

/// Why a broker's certificate is not trusted, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Distrust(String);

impl Verifier {
    pub fn new(trusted: Arc<[Authority]>, provider: Arc<CryptoProvider>) -> Self {
        Self { trusted, provider }
    }

    /// Why rustls does not trust a certificate.
    fn explain(
        &self,
        error: Error,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Error {
        let Some(summary) = Summary::of(certificate) else { return error };
        let subject = &summary.subject;
        let reason = match &error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                // The last of the chain that the broker sent is the one whose issuer is missing.
                let last = chain.last().and_then(|last| Summary::of(last)).unwrap_or_else(|| summary.clone());
                let issuer = &last.issuer;
                format!(
                    "certificate {subject} is signed by unknown authority {issuer} (trusted: {})",
                    self.list(now)
                )
            }
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
                let names: Vec<_> = presented.iter().take(SHOWN).map(|name| plain_name(name)).collect();
                let names = if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") };
                format!("certificate {subject} is not for {}: it is for {names}", expected.to_str())
            }
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => {
                format!("certificate {subject} {}", expired(summary.not_after, now))
            }
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => format!("certificate {subject} is not valid yet; is the clock here right?"),
            error => format!("certificate {subject} is not accepted: {error}"),
        };
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Distrust(reason)))))
    }

    fn list(&self, now: Timestamp) -> String {
        if self.trusted.iter().all(|authority| authority.origin.is_none()) {
            return format!("the system's {} authorities", self.trusted.len());
        }
        let mut list: Vec<String> = self
            .trusted
            .iter()
            .take(SHOWN)
            .map(|Authority { summary, origin, .. }| {
                let origin = origin.as_deref().unwrap_or("the system");
                let expired = if summary.not_after <= now {
                    format!(", {}", expired(summary.not_after, now))
                } else {
                    String::new()
                };
                format!("{} from {origin}{expired}", summary.subject)
            })
            .collect();
        if self.trusted.len() > SHOWN {
            list.push(format!("{} more", self.trusted.len() - SHOWN));
        }
        list.join("; ")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let time = i64::try_from(now.as_secs()).ok().and_then(|secs| Timestamp::from_second(secs).ok());
        let time = time.unwrap_or(Timestamp::MAX);
        let valid = self.trusted.iter().filter(|authority| time < authority.summary.not_after);
        let roots: Vec<_> = valid.map(|authority| authority.anchor.clone()).collect();
        let verified = if roots.is_empty() {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
        } else {
            let roots = Arc::new(RootCertStore { roots });
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider));
            let webpki = builder.build().map_err(|error| Error::General(error.to_string()))?;
            webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        verified.map_err(|error| self.explain(error, end_entity, intermediates, time))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// `expired 3 days ago`.
pub(super) fn expired(not_after: Timestamp, now: Timestamp) -> String {
    let ago = now.duration_since(not_after);
    let round = SpanRound::new().largest(Unit::Hour).smallest(Unit::Minute);
    let ago = match ago.as_hours() {
        0..48 => jiff::Span::try_from(ago)
            .and_then(|span| span.round(round))
            .map_or(String::new(), |span| format!("{span:#}")),
        hours => format!("{} days", hours / 24),
    };
    format!("expired {ago} ago")
}

/// rustls writes names as `DnsName("kafka-1")` and `IpAddress(127.0.0.1)`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
        date_time_ymd,
    };

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn params(name: &str, until: i32) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["kafka-1".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        params
    }

    fn authority(name: &str, until: i32, issuer: Option<&Issuer>) -> Issuer {
        let mut params = params(name, until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names.clear();
        let key = KeyPair::generate().unwrap();
        match issuer {
            None => CertifiedIssuer::self_signed(params, key).unwrap(),
            Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer).unwrap(),
        }
    }

    fn broker(issuer: &Issuer) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        params("broker", 2040).signed_by(&key, issuer).unwrap().der().clone()
    }

    /// What is said of a chain for `host` in a year, when one authority is trusted.
    fn said(trusted: &Issuer, chain: &[CertificateDer<'_>], host: &str, year: i16) -> Result<(), String> {
        let trusted = Authority::of(trusted.der().clone(), Some("ca.crt")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new([trusted].into(), provider);
        let host = ServerName::try_from(host).unwrap();
        let now = jiff::civil::date(year, 1, 5).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        let now = std::time::Duration::from_secs(now.as_second().unsigned_abs());
        let now = UnixTime::since_unix_epoch(now);
        match verifier.verify_server_cert(&chain[0], &chain[1..], &host, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(CertificateError::Other(other))) => Err(other.0.to_string()),
            Err(error) => panic!("{error:?} is not explained"),
        }
    }

    #[test]
    fn a_chain_is_followed_to_a_trusted_root() {
        let root = authority("root", 2040, None);
        let middle = authority("middle", 2040, Some(&root));
        let broker = broker(&middle);
        assert_eq!(said(&root, &[broker.clone(), middle.der().clone()], "kafka-1", 2030), Ok(()));
        let error = said(&root, &[broker], "kafka-1", 2030).unwrap_err();
        assert_eq!(
            error,
            "certificate CN=broker is signed by unknown authority CN=middle (trusted: CN=root from ca.crt)"
        );
        let other = authority("other", 2040, None);
        let (chain, other) = (self::broker(&other), authority("root", 2040, None));
        let error = said(&other, &[chain], "kafka-1", 2030).unwrap_err();
        assert!(error.contains("unknown authority CN=other (trusted: CN=root from ca.crt)"), "{error}");
    }

    #[test]
    fn what_has_expired_is_said_to_have() {
        let root = authority("root", 2025, None);
        let broker = broker(&root);
        assert_eq!(said(&root, std::slice::from_ref(&broker), "kafka-1", 2024), Ok(()));
        let error = said(&root, std::slice::from_ref(&broker), "kafka-1", 2025).unwrap_err();
        assert!(error.ends_with("(trusted: CN=root from ca.crt, expired 4 days ago)"), "{error}");
        let lasting = authority("root", 2045, None);
        let broker = self::broker(&lasting);
        let error = said(&lasting, std::slice::from_ref(&broker), "kafka-1", 2040).unwrap_err();
        assert_eq!(error, "certificate CN=broker expired 4 days ago");
        let error = said(&lasting, &[broker], "kafka-1", 2019).unwrap_err();
        assert_eq!(error, "certificate CN=broker is not valid yet; is the clock here right?");
    }

    #[test]
    fn a_name_that_does_not_fit_is_told_with_those_that_do() {
        let root = authority("root", 2040, None);
        let broker = broker(&root);
        for host in ["kafka-2", "127.0.0.1"] {
            let error = said(&root, std::slice::from_ref(&broker), host, 2030).unwrap_err();
            assert_eq!(error, format!("certificate CN=broker is not for {host}: it is for kafka-1"));
        }
    }

    #[test]
    fn times_are_told_in_words() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(expired(at(0), at(90 * 60)), "expired 1h 30m ago");
        assert_eq!(expired(at(0), at(72 * 3600)), "expired 3 days ago");
    }
}
