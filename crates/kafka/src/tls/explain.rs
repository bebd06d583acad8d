//! What a failed handshake means, for people.

use super::{
    Tls,
    verifier::{Distrust, expired},
};
use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, Error};
use std::io;

impl Tls {
    /// What ended a handshake, or the first exchange after it: in TLS 1.3 a broker refuses a client's certificate only
    /// then. `None` when it was not TLS.
    pub(crate) fn explain(&self, error: &io::Error) -> Option<String> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<Distrust>() {
                    Some(distrust) => distrust.to_string(),
                    None => error.to_string(),
                }
            }
            Error::AlertReceived(alert) => self.explain_alert((*alert).into()),
            Error::InvalidMessage(_) => {
                "the answer is not TLS: this listener seems to speak plain text".to_owned()
            }
            error => error.to_string(),
        })
    }

    /// The alert with which a broker has ended a connection.
    pub(crate) fn alert(error: &io::Error) -> Option<u8> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::AlertReceived(alert) => Some((*alert).into()),
            _ => None,
        }
    }

    /// Whether a certificate is shown to brokers that ask for one.
    pub(crate) fn has_client_certificate(&self) -> bool {
        self.client.is_some()
    }

    /// What such an alert means.
    pub(crate) fn explain_alert(&self, alert: u8) -> String {
        use AlertDescription::{
            AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
            CertificateUnknown, DecryptError, HandshakeFailure, UnknownCA, UnsupportedCertificate,
        };
        let alert = AlertDescription::from(alert);
        let about_us = matches!(
            alert,
            AccessDenied
                | BadCertificate
                | CertificateExpired
                | CertificateRequired
                | CertificateRevoked
                | CertificateUnknown
                | DecryptError
                | HandshakeFailure
                | UnknownCA
                | UnsupportedCertificate
        );
        match &self.client {
            _ if !about_us => format!("the broker ended the handshake ({alert:?})"),
            None => format!(
                "the broker ended the handshake ({alert:?}): it asks for a client certificate, and none is set"
            ),
            Some(client) => {
                let (now, end) = (Timestamp::now(), client.summary.not_after);
                let why = if end <= now {
                    format!("it {}", expired(end, now))
                } else {
                    "is its authority among those that the broker trusts?".to_owned()
                };
                let subject = &client.summary.subject;
                format!("the broker does not accept the client certificate {subject} ({alert:?}): {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CertificatePem, KeyPem, Secret};
    use doctorkafka_testbed::Certificates;

    #[test]
    fn an_alert_is_explained_by_what_was_shown() {
        let certificates = Certificates::generate("prod-ca").unwrap();
        let pem = |text: &str| CertificatePem { origin: "file".into(), text: text.into() };
        let tls = Tls::trusting(&[pem(&certificates.authority)]).unwrap();
        let refused = u8::from(AlertDescription::CertificateExpired);
        assert!(tls.explain_alert(refused).ends_with("it asks for a client certificate, and none is set"));
        let other = tls.explain_alert(u8::from(AlertDescription::ProtocolVersion));
        assert_eq!(other, "the broker ended the handshake (ProtocolVersion)");

        let key = KeyPem { origin: "key".into(), text: Secret::new(&certificates.client.key) };
        let shown =
            tls.clone().with_client_certificate(&pem(&certificates.client.certificate), &key).unwrap();
        assert_ne!(tls, shown);
        let said = shown.explain_alert(refused);
        assert!(
            said.contains("certificate CN=doctor (CertificateExpired): is its authority among"),
            "{said}"
        );
        assert!(!format!("{shown:?}").contains(&certificates.client.key));
    }
}
