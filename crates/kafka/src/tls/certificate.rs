//! What people want to know of a certificate: whose it is, who issued it, and until when it holds.
//!
//! Read from its DER (X.509, RFC 5280) for messages only. Whether a certificate is to be trusted is not decided here.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Names from certificates come from anybody: so much of one is shown.
const MAX_NAME: usize = 120;

/// A certificate in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// `CN=kafka-1,O=io.strimzi`.
    pub subject: String,
    /// The same for who issued it.
    pub issuer: String,
    /// Whether it claims to be issued by itself, as a root is.
    pub is_root: bool,
    /// The first moment at which it no longer holds.
    pub not_after: Timestamp,
}

/// The kinds of DER elements that are looked into.
mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const OID: u8 = 0x06;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    pub const VERSION: u8 = 0xa0;
}

impl Summary {
    /// Reads a certificate; `None` when it is none.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(certificate).expect(tag::SEQUENCE)?);
        let mut signed = Der(certificate.expect(tag::SEQUENCE)?);
        let (kind, _) = signed.next()?;
        if kind == tag::VERSION {
            signed.expect(tag::INTEGER)?; // the serial number
        }
        signed.expect(tag::SEQUENCE)?; // the signature's algorithm
        let issuer = signed.expect(tag::SEQUENCE)?;
        let mut validity = Der(signed.expect(tag::SEQUENCE)?);
        let subject = signed.expect(tag::SEQUENCE)?;
        validity.next()?; // not before
        let (kind, not_after) = validity.next()?;
        Some(Self {
            subject: name(subject),
            issuer: name(issuer),
            is_root: subject == issuer,
            not_after: time(kind, not_after)?,
        })
    }
}

/// Elements of DER that follow each other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[kind, length], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((kind, content))
    }

    fn expect(&mut self, kind: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == kind).map(|(_, content)| content)
    }
}

/// A distinguished name, as far as it can be read.
fn name(sequence: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Der(sequence);
    while let Some(set) = sets.expect(tag::SET) {
        let mut pairs = Der(set);
        while let Some(pair) = pairs.expect(tag::SEQUENCE) {
            let mut pair = Der(pair);
            let (Some(oid), Some((_, value))) = (pair.expect(tag::OID), pair.next()) else { continue };
            let key = match oid {
                [0x55, 0x04, 0x03] => "CN",
                [0x55, 0x04, 0x0a] => "O",
                [0x55, 0x04, 0x0b] => "OU",
                [0x55, 0x04, 0x06] => "C",
                _ => continue,
            };
            parts.push(format!("{key}={}", String::from_utf8_lossy(value)));
        }
    }
    // The most telling part first, as people write it.
    parts.sort_by_key(|part| ["CN=", "OU=", "O="].iter().position(|key| part.starts_with(key)).unwrap_or(3));
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let name: String = parts.join(",").chars().map(printable).take(MAX_NAME).collect();
    if name.is_empty() { "without a name".to_owned() } else { name }
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ`; other forms are not allowed in certificates.
fn time(kind: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest): (i16, &str) = match kind {
        tag::UTC_TIME => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        tag::GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let time = DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, 0).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn says_whose_it_is_and_until_when() {
        for (year, shown) in [(2031, "2031-02-03T00:00:00Z"), (2077, "2077-02-03T00:00:00Z")] {
            let summary = Summary::of(&certificate(|params| {
                params.distinguished_name.push(DnType::OrganizationName, "io.strimzi");
                params.distinguished_name.push(DnType::CommonName, "cluster-ca v0");
                params.not_after = date_time_ymd(year, 2, 3);
            }))
            .unwrap();
            assert_eq!(summary.subject, "CN=cluster-ca v0,O=io.strimzi");
            assert_eq!(summary.issuer, summary.subject);
            assert!(summary.is_root);
            assert_eq!(summary.not_after.to_string(), shown);
        }
    }

    #[test]
    fn a_name_cannot_forge_a_log() {
        let forged = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, format!("a\n2026 ERROR {}", "x".repeat(500)));
        });
        let subject = Summary::of(&forged).unwrap().subject;
        assert!(!subject.contains('\n') && subject.chars().count() == MAX_NAME, "{subject}");
        assert_eq!(Summary::of(&certificate(|_| {})).unwrap().subject, "without a name");
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let good = certificate(|_| {});
        for end in 0..good.len() {
            let _ = Summary::of(&good[..end]);
        }
        assert_eq!(Summary::of(b""), None);
        assert_eq!(Summary::of(&good[..40]), None);
        assert_eq!(Summary::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
