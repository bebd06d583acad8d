//! The certificate that handshakes use, replaced while the server runs.

use super::state::{Pair, provider};
use doctorkafka_kafka::certificate_expiry;
use jiff::Timestamp;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

/// What is shown to clients. Handshakes fail until there is something.
#[derive(Debug, Default)]
pub struct Serving {
    current: RwLock<Option<Current>>,
    trusted: AtomicBool,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    certificate: String,
}

/// A certificate or key that cannot be shown. Shows nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No certificate in PEM.
    #[error("there is no certificate in PEM in it")]
    Certificate,
    /// No key in PEM.
    #[error("there is no private key in PEM in it")]
    Key,
    /// They are not of each other, or of a kind that TLS does not know.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(String),
}

impl Serving {
    /// Shows this pair from the next handshake on; says whether it is another than before.
    ///
    /// # Errors
    /// It cannot be shown; what was shown before still is.
    pub fn show(&self, pair: &Pair) -> Result<bool, Unusable> {
        let is_shown = |current: &Current| current.certificate == pair.certificate;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(is_shown) {
            return Ok(false);
        }
        let current = Current { key: Arc::new(key(pair)?), certificate: pair.certificate.clone() };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(current);
        Ok(true)
    }

    /// Notes that API servers have been told to trust what is shown, or that telling them is not this program's business.
    pub fn note_trusted(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// Whether that has been so at least once.
    pub fn was_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// Until when what is shown holds; `None` when nothing is.
    pub fn expiry(&self) -> Option<Timestamp> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        certificate_expiry(&current.as_ref()?.certificate)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|current| current.key.clone())
    }
}

/// A pair, ready for handshakes.
pub(super) fn key(pair: &Pair) -> Result<CertifiedKey, Unusable> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Unusable::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|_| Unusable::Key)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| Unusable::Pair(error.to_string()))
}
