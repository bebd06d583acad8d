//! New certificates.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use std::time::{Duration, SystemTime};

/// Clocks of API servers may be behind ours.
const SKEW: Duration = Duration::from_secs(3600);

/// A certificate and the authority that issued it, PEM.
#[derive(Clone)]
pub struct Issued {
    /// The authority's certificate.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Makes an authority and, by it, a certificate for a server with these names (host names or addresses). The authority's
/// key exists only in here: nobody can issue another certificate by it.
///
/// # Errors
/// A name that cannot be in a certificate.
pub fn issue(names: &[String], lifetime: Duration, now: SystemTime) -> Result<Issued, rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    // Two authorities that are trusted at once have two names.
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    authority.distinguished_name = common_name(format!("doctorkafka-injection-authority-{since}"));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    hold(&mut authority, lifetime, now);
    let authority = CertifiedIssuer::self_signed(authority, authority_key)?;

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(names.to_vec())?;
    server.distinguished_name = common_name("doctorkafka-injection".to_owned());
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    hold(&mut server, lifetime, now);
    let certificate = server.signed_by(&key, &authority)?;
    Ok(Issued { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

fn common_name(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn hold(certificate: &mut CertificateParams, lifetime: Duration, now: SystemTime) {
    certificate.not_before = (now - SKEW).into();
    certificate.not_after = (now + lifetime).into();
}
