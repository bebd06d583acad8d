//! How a connection to a live cluster is encrypted and authenticated: flags that name files, never a secret itself, the same
//! as the sidecar's.

use clap::Args;
use doctorkafka_kafka::{CertificatePem, Connection, KeyPem, Sasl, SaslMechanism, Secret, Tls};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

/// The largest file that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// TLS and SASL.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS and SASL")]
pub struct SecurityArguments {
    /// Encrypt the connection, and trust the authorities that the system trusts.
    #[arg(long)]
    pub tls: bool,

    /// Encrypt the connection, and trust the authorities in this PEM file instead; may be repeated.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub tls_ca: Vec<PathBuf>,

    /// The client certificate to show, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM, without a passphrase.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// How to authenticate: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[arg(long, value_name = "NAME", requires = "sasl_username")]
    pub sasl_mechanism: Option<SaslMechanism>,

    /// The user's name.
    #[arg(long, value_name = "NAME", requires = "sasl_password_file")]
    pub sasl_username: Option<String>,

    /// A file with the user's password in one line.
    #[arg(long, value_name = "FILE", requires = "sasl_mechanism")]
    pub sasl_password_file: Option<PathBuf>,
}

impl SecurityArguments {
    /// The connection as it is asked for. Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or used; the message names the flag and the file, and shows nothing of its content.
    pub(crate) fn secure(&self, mut connection: Connection) -> anyhow::Result<Connection> {
        let trusted: Vec<_> =
            self.tls_ca.iter().map(|path| pem("--tls-ca", path)).collect::<anyhow::Result<_>>()?;
        let mut tls = match trusted.as_slice() {
            [] if self.tls => Some(Tls::trusting_the_system().context("--tls")?),
            [] => None,
            trusted => Some(Tls::trusting(trusted).context("--tls-ca")?),
        };
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let encrypted = tls.take().context(
                "--tls-cert: a client certificate needs an encrypted connection; give --tls or --tls-ca FILE, too",
            )?;
            let certificate = pem("--tls-cert", certificate)?;
            let text = text("--tls-key", key)?;
            let key = KeyPem { origin: key.display().to_string(), text: Secret::new(&text) };
            tls = Some(encrypted.with_client_certificate(&certificate, &key).context("--tls-cert")?);
        }
        if let Some(tls) = tls {
            connection = connection.with_tls(tls);
        }
        if let (Some(mechanism), Some(user), Some(path)) =
            (self.sasl_mechanism, &self.sasl_username, &self.sasl_password_file)
        {
            let password = Secret::from_line(text("--sasl-password-file", path)?.as_bytes());
            let sasl = Sasl::new(mechanism, user, password.unwrap_or_else(|| Secret::new("")));
            connection = connection.with_sasl(sasl.context("--sasl-password-file")?);
        }
        Ok(connection)
    }
}

fn pem(flag: &str, path: &Path) -> anyhow::Result<CertificatePem> {
    Ok(CertificatePem { origin: path.display().to_string(), text: text(flag, path)? })
}

fn text(flag: &str, path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("{flag}: cannot read {}", path.display());
    let mut text = String::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    let file = File::open(path).with_context(cannot)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).with_context(cannot)?;
    ensure!(!text.is_empty(), "{flag}: {} is empty", path.display());
    ensure!(text.len() as u64 <= MAX_BYTES, "{flag}: {} is larger than {MAX_BYTES} bytes", path.display());
    Ok(text)
}
