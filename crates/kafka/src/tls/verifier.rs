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
                format!("certificate {subject} {}", until(summary.not_after, now))
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
                    format!(", {}", until(summary.not_after, now))
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
fn until(not_after: Timestamp, now: Timestamp) -> String {
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
