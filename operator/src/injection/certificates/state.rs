//! What the Secret holds, and what is to be done next. Pure: the time is an argument.

use super::issue::{Issued, issue};
use k8s_openapi::ByteString;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Keys of the Secret.
const AUTHORITIES: &str = "ca.crt";
const SERVING: [&str; 2] = ["tls.crt", "tls.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];

/// The end of a certificate in PEM.
const END: &str = "-----END CERTIFICATE-----";

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a certificate holds.
    pub lifetime: Duration,
    /// How long before its end it is renewed.
    pub renew_before: Duration,
    /// How long a new authority has been seen trusted before its certificate serves: API servers learn of it by a watch.
    pub settle: Duration,
    /// How often Secret and webhook configuration are looked at.
    pub poll: Duration,
}

impl Default for Timing {
    /// 90 days, renewed 30 days before the end.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            lifetime: 90 * day,
            renew_before: 30 * day,
            settle: Duration::from_secs(120),
            poll: Duration::from_secs(30),
        }
    }
}

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// What the Secret holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What the API server is to trust; each in PEM.
    pub authorities: Vec<String>,
    /// What is shown.
    pub serving: Option<Pair>,
    /// What is shown next.
    pub next: Option<Pair>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// There is nothing that can serve: issue a certificate and show it at once.
    Begin,
    /// The end comes near: issue the next certificate, and let its authority be trusted.
    Prepare,
    /// Show the next certificate.
    Promote,
}

impl State {
    /// Reads a Secret's data. What is of no use is as if it were not there.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Self {
        let text = |key: &str| {
            let text = String::from_utf8(data.get(key)?.0.clone()).ok()?;
            (!text.trim().is_empty()).then_some(text)
        };
        let pair =
            |[certificate, key]: [&str; 2]| Some(Pair { certificate: text(certificate)?, key: text(key)? });
        let authorities = text(AUTHORITIES).unwrap_or_default();
        let authorities = authorities.split_inclusive(END).map(str::trim).filter(|part| part.ends_with(END));
        Self {
            authorities: authorities.map(|part| format!("{part}\n")).collect(),
            serving: pair(SERVING),
            next: pair(NEXT),
        }
    }

    /// Puts it into a Secret's data, whose other keys stay.
    pub fn write(&self, data: &mut BTreeMap<String, ByteString>) {
        for (names, pair) in [(SERVING, &self.serving), (NEXT, &self.next)] {
            for (name, text) in
                names.into_iter().zip(pair.iter().flat_map(|pair| [&pair.certificate, &pair.key]))
            {
                data.insert(name.to_owned(), ByteString(text.clone().into_bytes()));
            }
            if pair.is_none() {
                names.into_iter().for_each(|name| {
                    data.remove(name);
                });
            }
        }
        data.insert(AUTHORITIES.to_owned(), ByteString(self.bundle().into_bytes()));
    }

    /// All authorities, as the webhook configuration has them.
    pub fn bundle(&self) -> String {
        self.authorities.concat()
    }

    /// What is to be done. `trusted_for` says for how long the webhook configuration has been seen with exactly these
    /// authorities.
    pub fn step(
        &self,
        names: &[String],
        timing: &Timing,
        trusted_for: Option<Duration>,
        now: SystemTime,
    ) -> Step {
        let holds = |pair: &Option<Pair>, at| {
            pair.as_ref().is_some_and(|pair| holds(pair, &self.authorities, names, at))
        };
        let later = now + timing.renew_before;
        if !holds(&self.serving, now) {
            return if holds(&self.next, now) { Step::Promote } else { Step::Begin };
        }
        if holds(&self.serving, later) {
            return Step::Keep;
        }
        if !holds(&self.next, later) {
            return Step::Prepare;
        }
        if trusted_for.is_some_and(|trusted| trusted >= timing.settle) { Step::Promote } else { Step::Keep }
    }

    /// The state after a step.
    ///
    /// # Errors
    /// A name that cannot be in a certificate.
    pub fn after(
        &self,
        step: Step,
        names: &[String],
        timing: &Timing,
        now: SystemTime,
    ) -> Result<Self, rcgen::Error> {
        Ok(match step {
            Step::Keep => self.clone(),
            Step::Promote => Self { serving: self.next.clone(), next: None, ..self.clone() },
            Step::Begin => {
                let Issued { authority, certificate, key } = issue(names, timing.lifetime, now)?;
                Self { authorities: vec![authority], serving: Some(Pair { certificate, key }), next: None }
            }
            Step::Prepare => {
                let Issued { authority, certificate, key } = issue(names, timing.lifetime, now)?;
                let mut authorities = self.authorities.clone();
                // Only what still vouches for the certificate that is shown.
                authorities.retain(|old| {
                    self.serving
                        .as_ref()
                        .is_some_and(|pair| holds(pair, std::slice::from_ref(old), names, now))
                });
                authorities.push(authority);
                Self { authorities, serving: self.serving.clone(), next: Some(Pair { certificate, key }) }
            }
        })
    }
}

/// Whether a client that trusts these authorities would take the certificate for all of these names at that time.
fn holds(pair: &Pair, authorities: &[String], names: &[String], at: SystemTime) -> bool {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes());
        let Ok(()) = certificate.map_err(drop).and_then(|found| roots.add(found).map_err(drop)) else {
            return false;
        };
    }
    let Ok(certificate) = CertificateDer::from_pem_slice(pair.certificate.as_bytes()) else { return false };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let (Ok(verifier), Ok(since)) = (verifier, at.duration_since(SystemTime::UNIX_EPOCH)) else {
        return false;
    };
    let at = UnixTime::since_unix_epoch(since);
    super::serving::key(pair).is_ok()
        && names.iter().all(|name| {
            let name = ServerName::try_from(name.as_str());
            name.is_ok_and(|name| verifier.verify_server_cert(&certificate, &[], &name, &[], at).is_ok())
        })
}

/// The cryptography of all TLS here.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn names() -> Vec<String> {
        vec!["doctorkafka-injection.doctorkafka.svc".into(), "127.0.0.1".into()]
    }

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    /// A Secret's way: what is written is read.
    fn stored(state: &State) -> State {
        let mut data = BTreeMap::new();
        state.write(&mut data);
        State::read(&data)
    }

    fn begun() -> State {
        let timing = Timing::default();
        let empty = State::read(&BTreeMap::new());
        assert_eq!(empty.step(&names(), &timing, None, start()), Step::Begin);
        stored(&empty.after(Step::Begin, &names(), &timing, start()).unwrap())
    }

    #[test]
    fn a_renewal_has_no_gap() {
        let timing = Timing::default();
        let first = begun();
        let step = |state: &State, trusted: Option<Duration>, day: u32| {
            state.step(&names(), &timing, trusted, start() + day * DAY)
        };
        assert_eq!(step(&first, None, 0), Step::Keep);
        assert_eq!(step(&first, Some(90 * DAY), 59), Step::Keep);
        assert_eq!(step(&first, None, 61), Step::Prepare);

        let now = start() + 61 * DAY;
        let prepared = stored(&first.after(Step::Prepare, &names(), &timing, now).unwrap());
        assert!(prepared.serving == first.serving && prepared.authorities.len() == 2);
        assert_eq!(step(&prepared, None, 61), Step::Keep, "not before it is trusted");
        assert_eq!(step(&prepared, Some(timing.settle / 2), 61), Step::Keep);
        assert_eq!(step(&prepared, Some(timing.settle), 61), Step::Promote);
        assert_eq!(step(&prepared, None, 91), Step::Promote, "nothing is to be lost any more");

        let second = stored(&prepared.after(Step::Promote, &names(), &timing, now).unwrap());
        assert!(second.serving == prepared.next && second.next.is_none());
        assert_eq!(second.authorities, prepared.authorities, "a replica may still show the old certificate");
        assert_eq!(step(&second, None, 62), Step::Keep);

        let third = second.after(Step::Prepare, &names(), &timing, now + 61 * DAY).unwrap();
        assert_eq!(third.authorities.len(), 2, "the first authority is gone");
        assert_eq!(third.authorities[0], second.authorities[1]);
    }

    #[test]
    fn what_cannot_serve_is_replaced_at_once() {
        let timing = Timing::default();
        let first = begun();
        let other_name = ["elsewhere.doctorkafka.svc".to_owned()];
        assert_eq!(first.step(&other_name, &timing, None, start()), Step::Begin);
        assert_eq!(first.step(&names(), &timing, None, start() + 91 * DAY), Step::Begin);
        for spoil in [
            |state: &mut State| state.authorities.clear(),
            |state: &mut State| state.authorities = begun().authorities,
            |state: &mut State| state.serving.as_mut().unwrap().key = "nonsense".into(),
            |state: &mut State| state.serving.as_mut().unwrap().key = begun().serving.unwrap().key,
            |state: &mut State| state.serving.as_mut().unwrap().certificate = "nonsense".into(),
            |state: &mut State| state.authorities.push("nonsense -----END CERTIFICATE-----\n".into()),
        ] {
            let mut spoilt = first.clone();
            spoil(&mut spoilt);
            assert_eq!(stored(&spoilt).step(&names(), &timing, None, start()), Step::Begin);
        }
    }

    #[test]
    fn other_keys_of_the_secret_stay() {
        let mut data = BTreeMap::from([("note".to_owned(), ByteString(b"mine".to_vec()))]);
        begun().write(&mut data);
        assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "note", "tls.crt", "tls.key"]);
        let binary = BTreeMap::from([("ca.crt".to_owned(), ByteString(vec![0xff, 0xfe]))]);
        assert!(State::read(&binary) == State::default());
    }
}
