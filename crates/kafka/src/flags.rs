//! Command line flags that say how a connection is encrypted and authenticated. They name files, never a secret itself.

use crate::{
    BearerToken, CertificatePem, Connection, ConnectionError, KeyPem, Sasl, SaslMechanism, Secret, Tls,
};
use clap::{Args, builder::FalseyValueParser};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The largest file that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// TLS and SASL, for every program that takes a Kafka connection from its command line.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS and SASL")]
pub struct SecurityFlags {
    /// Encrypt the connection, and trust the authorities that the system trusts.
    #[arg(long, env = "TLS", value_parser = FalseyValueParser::new())]
    pub tls: bool,

    /// Encrypt the connection, and trust the authorities in this PEM file instead; may be repeated.
    #[arg(long, env = "TLS_CA", value_name = "FILE", value_delimiter = ',')]
    pub tls_ca: Vec<PathBuf>,

    /// The client certificate to show, PEM.
    #[arg(long, env = "TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM, without a passphrase.
    #[arg(long, env = "TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// How to authenticate: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
    #[arg(long, env = "SASL_MECHANISM", value_name = "NAME", requires = "sasl_proof")]
    pub sasl_mechanism: Option<SaslMechanism>,

    /// The user's name; for all mechanisms but OAUTHBEARER.
    #[arg(
        long,
        env = "SASL_USERNAME",
        value_name = "NAME",
        requires = "sasl_password_file",
        conflicts_with = "sasl_token_file"
    )]
    pub sasl_username: Option<String>,

    /// A file with the user's password in one line.
    #[arg(
        long,
        env = "SASL_PASSWORD_FILE",
        value_name = "FILE",
        requires_all = ["sasl_mechanism", "sasl_username"],
        group = "sasl_proof"
    )]
    pub sasl_password_file: Option<PathBuf>,

    /// For OAUTHBEARER: a file with the access token, which whoever issues it keeps up to date.
    #[arg(
        long,
        env = "SASL_TOKEN_FILE",
        value_name = "FILE",
        requires = "sasl_mechanism",
        group = "sasl_proof"
    )]
    pub sasl_token_file: Option<PathBuf>,
}

/// A file that cannot be used, by the flag that names it. Shows nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// It cannot be read.
    #[error("{flag}: cannot read {}: {error}", .path.display())]
    Unreadable {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What it holds is of no use.
    #[error("{flag}: {error}")]
    Unusable {
        /// The flag.
        flag: &'static str,
        /// What is wrong with which file.
        error: ConnectionError,
    },
    /// A token for a mechanism of passwords.
    #[error("--sasl-token-file: {mechanism} takes a user's name and password; tokens are for OAUTHBEARER")]
    TokenWithoutOAuth {
        /// The mechanism that was asked for.
        mechanism: SaslMechanism,
    },
    /// A client certificate without TLS.
    #[error(
        "--tls-cert: a client certificate needs an encrypted connection; give --tls or --tls-ca FILE, too"
    )]
    CertificateWithoutTls,
}

impl SecurityFlags {
    /// The connection as it is asked for. Reads the files.
    ///
    /// # Errors
    /// See [`SecurityError`].
    pub fn secure(&self, mut connection: Connection) -> Result<Connection, SecurityError> {
        let unusable = |flag| move |error| SecurityError::Unusable { flag, error };
        let trusted: Vec<_> =
            self.tls_ca.iter().map(|path| pem("--tls-ca", path)).collect::<Result<_, _>>()?;
        let tls = match trusted.as_slice() {
            [] if self.tls => Some(Tls::trusting_the_system().map_err(unusable("--tls"))?),
            [] => None,
            trusted => Some(Tls::trusting(trusted).map_err(unusable("--tls-ca"))?),
        };
        let tls = match (tls, &self.tls_cert, &self.tls_key) {
            (Some(tls), Some(certificate), Some(key)) => {
                let certificate = pem("--tls-cert", certificate)?;
                let text = text("--tls-key", key)?;
                let key = KeyPem { origin: key.display().to_string(), text: Secret::new(&text) };
                Some(tls.with_client_certificate(&certificate, &key).map_err(unusable("--tls-cert"))?)
            }
            (None, Some(_), _) => return Err(SecurityError::CertificateWithoutTls),
            (tls, ..) => tls,
        };
        if let Some(tls) = tls {
            connection = connection.with_tls(tls);
        }
        if let (Some(mechanism), Some(user), Some(path)) =
            (self.sasl_mechanism, &self.sasl_username, &self.sasl_password_file)
        {
            let flag = "--sasl-password-file";
            let password = Secret::from_line(text(flag, path)?.as_bytes());
            let sasl = Sasl::new(mechanism, user, password.unwrap_or_else(|| Secret::new("")));
            connection = connection.with_sasl(sasl.map_err(unusable(flag))?);
        }
        if let (Some(mechanism), Some(path)) = (self.sasl_mechanism, &self.sasl_token_file) {
            let flag = "--sasl-token-file";
            if mechanism != SaslMechanism::OAuthBearer {
                return Err(SecurityError::TokenWithoutOAuth { mechanism });
            }
            let text = Secret::new(&text(flag, path)?);
            let token = BearerToken::new(&path.display().to_string(), &text).map_err(unusable(flag))?;
            connection = connection.with_sasl(Sasl::bearer(token));
        }
        Ok(connection)
    }

    /// Whether what [`SecurityFlags::secure`] gives may change, because files do.
    pub fn reads_files(&self) -> bool {
        !self.tls_ca.is_empty()
            || self.tls_cert.is_some()
            || self.sasl_password_file.is_some()
            || self.sasl_token_file.is_some()
    }
}

fn pem(flag: &'static str, path: &Path) -> Result<CertificatePem, SecurityError> {
    Ok(CertificatePem { origin: path.display().to_string(), text: text(flag, path)? })
}

fn text(flag: &'static str, path: &Path) -> Result<String, SecurityError> {
    let read = || {
        let mut text = String::new();
        // One byte more than allowed tells a file that is too large from one that just fits.
        File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        match text.len() as u64 {
            0 => Err(io::Error::other("it is empty")),
            length if length > MAX_BYTES => {
                Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")))
            }
            _ => Ok(text),
        }
    };
    read().map_err(|error| SecurityError::Unreadable { flag, path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use doctorkafka_testbed::{Certificates, Scratch};
    use std::fs;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        security: SecurityFlags,
    }

    fn parse(flags: &[&str]) -> Result<SecurityFlags, clap::Error> {
        Program::try_parse_from([&["program"], flags].concat()).map(|program| program.security)
    }

    fn secured(flags: &[&str]) -> Result<Connection, SecurityError> {
        parse(flags).unwrap().secure(Connection::new("kafka:9093", "test").unwrap())
    }

    #[test]
    fn flags_that_belong_together_are_demanded_together() {
        for flags in [
            ["--tls-cert", "user.crt"],
            ["--tls-key", "user.key"],
            ["--sasl-mechanism", "PLAIN"],
            ["--sasl-username", "doctor"],
            ["--sasl-password-file", "password"],
            ["--sasl-token-file", "token"],
            ["--sasl-mechanism", "GSSAPI"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
        let user = ["--sasl-mechanism", "PLAIN", "--sasl-username", "doctor"];
        assert!(
            parse(&user).is_err() && parse(&[&user[..], &["--sasl-token-file", "token"]].concat()).is_err()
        );
        assert!(!parse(&[]).unwrap().reads_files());
    }

    #[test]
    fn files_make_the_connection() {
        let certificates = Certificates::generate("prod-ca").unwrap();
        let folder = Scratch::new().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let ca = put("ca.crt", &certificates.authority);
        let certificate = put("user.crt", &certificates.client.certificate);
        let key = put("user.key", &certificates.client.key);
        let password = put("password", "hunter2\n");
        let mutual = ["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &key];
        let user = ["--sasl-mechanism", "scram-sha-512", "--sasl-username", "doctor", "--sasl-password-file"];
        let sasl = [&user[..], &[&password]].concat();

        assert_eq!(secured(&[]).unwrap(), Connection::new("kafka:9093", "test").unwrap());
        assert!(parse(&sasl).unwrap().reads_files());
        let both = secured(&[&mutual[..], &sasl].concat()).unwrap();
        assert!(both != secured(&mutual).unwrap() && both != secured(&sasl).unwrap());
        assert!(!format!("{both:?}").contains("hunter2"));

        let token = put("token", "hunter2.token\n");
        let bearer = ["--sasl-mechanism", "oauthbearer", "--sasl-token-file", &token];
        assert!(parse(&bearer).unwrap().reads_files());
        let by_token = secured(&bearer).unwrap();
        assert!(!format!("{by_token:?}").contains("hunter2"));
        fs::write(&token, "hunter3.token").unwrap();
        let rotated = secured(&bearer).unwrap();
        assert_ne!(by_token, rotated);
        by_token.renew(&rotated);
        assert_eq!(by_token, rotated);

        let second = put("second.crt", &Certificates::generate("other-ca").unwrap().authority);
        let two = secured(&["--tls-ca", &ca, "--tls-ca", &second]).unwrap();
        assert!(two != secured(&["--tls-ca", &ca]).unwrap(), "several authorities");

        let wrong = put("wrong", "hunter3 is not PEM");
        let missing = folder.path().join("missing");
        let missing = missing.to_str().unwrap();
        let swapped = ["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &wrong];
        for (flags, said) in [
            (&["--tls-ca", missing][..], format!("--tls-ca: cannot read {missing}: No such file")),
            (&["--tls-ca", &wrong], format!("--tls-ca: {wrong}: there is no certificate in PEM in it")),
            (&mutual[2..], "give --tls or --tls-ca FILE, too".to_owned()),
            (&swapped, format!("--tls-cert: {wrong}: there is no private key in PEM in it")),
            (&[&user[..], &[missing]].concat(), format!("--sasl-password-file: cannot read {missing}: ")),
            (&[&bearer[..3], &[missing]].concat(), format!("--sasl-token-file: cannot read {missing}: ")),
            (
                &[&bearer[..3], &[&wrong]].concat(),
                format!("--sasl-token-file: {wrong}: it is no bearer token"),
            ),
            (
                &["--sasl-mechanism", "PLAIN", "--sasl-token-file", &token],
                "PLAIN takes a user's name and password".to_owned(),
            ),
            (
                &[
                    "--sasl-mechanism",
                    "OAUTHBEARER",
                    "--sasl-username",
                    "doctor",
                    "--sasl-password-file",
                    &password,
                ],
                "--sasl-password-file: password: OAUTHBEARER takes a token".to_owned(),
            ),
        ] {
            let error = secured(flags).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(&said), "{shown}\n  instead of\n{said}");
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }
}
