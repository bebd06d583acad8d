//! PEM in and out.

use super::Tls;
use crate::{ConnectionError, Secret};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Certificates as they are given, and where they come from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePem {
    /// Such as `Secret kafka/prod-cluster-ca-cert, key ca.crt` or the path of a file.
    pub origin: String,
    /// One or more certificates in PEM.
    pub text: String,
}

/// A private key as it is given, and where it comes from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPem {
    /// As for [`CertificatePem`].
    pub origin: String,
    /// The key in PEM: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub text: Secret,
}

pub(super) fn certificates(pem: &CertificatePem) -> Result<Vec<CertificateDer<'static>>, ConnectionError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.text.as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Tls::unusable(&pem.origin, "there is no certificate in PEM in it")),
        Err(_) => Err(Tls::unusable(&pem.origin, "what is between BEGIN and END is not PEM")),
    }
}

pub(super) fn key(pem: &KeyPem) -> Result<PrivateKeyDer<'static>, ConnectionError> {
    let text = pem.text.expose();
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Tls::unusable(
            &pem.origin,
            "the private key is encrypted; store it without a passphrase",
        ));
    }
    // The reason may quote what was read, and so is not passed on.
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| Tls::unusable(&pem.origin, "there is no private key in PEM in it"))
}

/// The certificates in PEM and nothing else.
pub(super) fn of_certificates(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| encode("CERTIFICATE", certificate)).collect()
}

/// The key in PEM and nothing else.
pub(super) fn of_key(key: &PrivateKeyDer<'_>) -> Secret {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    Secret::new(&encode(label, key.secret_der()))
}

fn encode(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = STANDARD.encode(der);
    while !rest.is_empty() {
        let next = rest.split_off(rest.len().min(64));
        pem.push_str(&rest);
        pem.push('\n');
        rest = next;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
