//! Encrypted connections: whom the doctor trusts and how it shows who it is.
//!
//! Both TLS libraries, rustls under our own client and OpenSSL under librdkafka, get the same certificates, read and
//! checked once. Two of OpenSSL's rules, which rustls does not have, are kept by both: a trusted authority ends when its
//! certificate does, and a trusted certificate that is no root needs its root beside it.

mod certificate;
mod explain;
mod pem;
mod verifier;

pub use pem::{CertificatePem, KeyPem};

use crate::ConnectionError;
use certificate::Summary;
use rustls::{
    ClientConfig, RootCertStore,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, pem::PemObject},
};
use std::{fmt, sync::Arc};
use verifier::Verifier;

/// How connections are encrypted. Made once and cheap to clone.
#[derive(Clone)]
pub struct Tls {
    trusted: Arc<[Authority]>,
    client: Option<Arc<ClientCertificate>>,
    rustls: Arc<ClientConfig>,
}

/// The first moment at which the first certificate of a PEM text no longer holds; `None` when there is none in it.
pub fn certificate_expiry(pem: &str) -> Option<jiff::Timestamp> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Summary::of(&certificate).map(|summary| summary.not_after)
}

/// One authority whose certificates are trusted.
#[derive(Clone, PartialEq)]
struct Authority {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    summary: Summary,
    /// Where it was given; `None` for the system's own.
    origin: Option<String>,
}

/// What the doctor shows of itself.
struct ClientCertificate {
    summary: Summary,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Tls {
    /// Trusts the authorities that the system trusts: `SSL_CERT_FILE` or `SSL_CERT_DIR` where set, else where the
    /// distribution has them.
    ///
    /// # Errors
    /// [`ConnectionError::Credential`] when there are none.
    pub fn trusting_the_system() -> Result<Self, ConnectionError> {
        let found = rustls_native_certs::load_native_certs();
        // What is no certificate in the system's own store is left out, as all programs do.
        let trusted: Arc<[Authority]> =
            found.certs.into_iter().filter_map(|certificate| Authority::of(certificate, None)).collect();
        if trusted.is_empty() {
            let reason = "the system has none; install ca-certificates, or name the certificates to trust";
            return Err(Self::unusable("trusted certificates", reason));
        }
        Self::new(trusted, None)
    }

    /// Trusts these authorities and no others.
    ///
    /// # Errors
    /// [`ConnectionError::Credential`] with the origin of what is no certificate, or of one that is no root while its
    /// root is not among them.
    pub fn trusting(given: &[CertificatePem]) -> Result<Self, ConnectionError> {
        let mut trusted = Vec::new();
        for pem in given {
            for certificate in pem::certificates(pem)? {
                let authority = Authority::of(certificate, Some(&pem.origin))
                    .ok_or_else(|| Self::unusable(&pem.origin, "what it holds is no X.509 certificate"))?;
                trusted.push(authority);
            }
        }
        if trusted.is_empty() {
            return Err(Self::unusable("trusted certificates", "there are none"));
        }
        let is_trusted = |name: &str| trusted.iter().any(|authority| authority.summary.subject == name);
        let rootless = trusted
            .iter()
            .find(|authority| !authority.summary.is_root && !is_trusted(&authority.summary.issuer));
        if let Some(Authority { summary, origin, .. }) = rootless {
            let reason = format!(
                "{} is no root: it was issued by {}, whose certificate has to be among the trusted, too",
                summary.subject, summary.issuer
            );
            return Err(Self::unusable(origin.as_deref().unwrap_or_default(), &reason));
        }
        Self::new(trusted.into(), None)
    }

    /// Shows a certificate when a broker asks for one (mutual TLS).
    ///
    /// # Errors
    /// [`ConnectionError::Credential`] with the origin of what is not PEM, or when the key is not the certificate's.
    pub fn with_client_certificate(
        self,
        certificate: &CertificatePem,
        key: &KeyPem,
    ) -> Result<Self, ConnectionError> {
        let chain = pem::certificates(certificate)?;
        let summary = chain.first().and_then(|first| Summary::of(first));
        let summary = summary
            .ok_or_else(|| Self::unusable(&certificate.origin, "what it holds is no X.509 certificate"))?;
        let client = ClientCertificate { summary, chain, key: pem::key(key)? };
        Self::new(self.trusted, Some(client)).map_err(|error| match error {
            ConnectionError::Credential { reason, .. } => {
                Self::unusable(&format!("{} with {}", certificate.origin, key.origin), &reason)
            }
            error => error,
        })
    }

    fn new(trusted: Arc<[Authority]>, client: Option<ClientCertificate>) -> Result<Self, ConnectionError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Self::unusable("TLS", &error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(Arc::clone(&trusted), provider)));
        let rustls = Arc::new(Self::identify(builder, client.as_ref())?);
        Ok(Self { trusted, client: client.map(Arc::new), rustls })
    }

    fn identify(
        builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>,
        client: Option<&ClientCertificate>,
    ) -> Result<ClientConfig, ConnectionError> {
        let Some(client) = client else { return Ok(builder.with_no_client_auth()) };
        builder.with_client_auth_cert(client.chain.clone(), client.key.clone_key()).map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => {
                    "the private key is not that of the certificate".to_owned()
                }
                error => error.to_string(),
            };
            Self::unusable("client certificate", &reason)
        })
    }

    fn unusable(what: &str, reason: &str) -> ConnectionError {
        ConnectionError::Credential { what: what.to_owned(), reason: reason.to_owned() }
    }

    /// Our own client's settings.
    pub(crate) fn rustls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.rustls)
    }

    /// Sets librdkafka up for the same.
    pub(crate) fn render(&self, config: &mut rdkafka::ClientConfig) {
        let trusted: Vec<_> = self.trusted.iter().map(|authority| authority.certificate.clone()).collect();
        config.set("ssl.ca.pem", pem::of_certificates(&trusted));
        if let Some(client) = &self.client {
            config.set("ssl.certificate.pem", pem::of_certificates(&client.chain));
            config.set("ssl.key.pem", pem::of_key(&client.key).expose());
        }
    }
}

impl Authority {
    fn of(certificate: CertificateDer<'static>, origin: Option<&str>) -> Option<Self> {
        let mut store = RootCertStore::empty();
        store.add(certificate.clone()).ok()?;
        let summary = Summary::of(&certificate)?;
        Some(Self { certificate, anchor: store.roots.pop()?, summary, origin: origin.map(str::to_owned) })
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.trusted == other.trusted && self.client == other.client
    }
}

impl Eq for Tls {}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        (&self.chain, &self.key) == (&other.chain, &other.key)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("trusted", &self.trusted.len())
            .field("client", &self.client.as_ref().map(|client| &client.summary.subject))
            .finish()
    }
}
