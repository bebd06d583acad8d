//! The Kafka cluster to watch and how to reach it. Names follow Strimzi, so that its Secrets work unchanged.

use crate::cel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Kafka cluster to watch and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::rules([cel::Rule::new(
    "!has(self.authentication) || !has(self.authentication.tls) || has(self.tls)",
    Self::CLIENT_CERTIFICATE_NEEDS_TLS,
).field_path(".tls")])))]
pub struct Kafka {
    /// Addresses to start from, host:port, several separated by commas. Any brokers of the cluster will do. On Kubernetes a
    /// name without a dot is that of a Service in the policy's namespace.
    #[schemars(
        length(min = 1, max = Self::MAX_BOOTSTRAP),
        extend("x-kubernetes-validations" = cel::matching(&Self::bootstrap_pattern(), Self::BOOTSTRAP_EXPECTED))
    )]
    pub bootstrap_servers: String,
    /// Encrypt connections with TLS. Without it they are in plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClusterTls>,
    /// How the doctor proves who it is. Without it the doctor is anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
}

impl Kafka {
    pub(crate) const MAX_BOOTSTRAP: usize = 2_048;

    pub(crate) const BOOTSTRAP_EXPECTED: &'static str = "must be host:port[,host:port...]";

    pub(crate) const CLIENT_CERTIFICATE_NEEDS_TLS: &'static str =
        "must be set when authentication.tls is: a client certificate needs an encrypted connection";

    fn bootstrap_pattern() -> String {
        let host = r"([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])";
        let port = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})";
        format!("^{host}:{port}(, *{host}:{port})*$")
    }
}

/// TLS for connections to Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterTls {
    /// Certificates of the authorities that the brokers' certificates are checked against. The system's own when empty.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_certificates: Vec<TrustedCertificate>,
}

impl ClusterTls {
    pub(crate) const MAX_CERTIFICATES: usize = 32;
}

/// A certificate in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustedCertificate {
    /// Name of the Secret, such as prod-cluster-ca-cert.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Key in the Secret under which the certificate is, in PEM; such as ca.crt.
    #[schemars(length(min = 1, max = 253))]
    pub certificate: String,
}

/// How the doctor proves who it is: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = cel::exactly_one(Self::FIELDS)))]
pub struct Authentication {
    /// SASL SCRAM-SHA-512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram_sha512: Option<UsernamePassword>,
    /// SASL SCRAM-SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram_sha256: Option<UsernamePassword>,
    /// SASL PLAIN. The password travels readable unless tls is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<UsernamePassword>,
    /// A client certificate (mutual TLS). Needs spec.kafka.tls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// SASL OAUTHBEARER: an access token of an OAuth 2.0 server. The token travels readable unless tls is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauthbearer: Option<OAuthBearer>,
}

impl Authentication {
    pub(crate) const FIELDS: &'static [&'static str] =
        &["scramSha512", "scramSha256", "plain", "tls", "oauthbearer"];
}

/// A user with a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsernamePassword {
    /// Name of the user.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// Where the password is.
    pub password_secret: PasswordSecret,
}

/// A password in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Key in the Secret under which the password is, such as password.
    #[schemars(length(min = 1, max = 253))]
    pub password: String,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// Where the certificate and its private key are.
    pub certificate_and_key: CertificateAndKey,
}

/// A certificate and its private key in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAndKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Key in the Secret under which the certificate is, in PEM; such as user.crt.
    #[schemars(length(min = 1, max = 253))]
    pub certificate: String,
    /// Key in the Secret under which the private key is, in PEM; such as user.key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A bearer of an OAuth 2.0 access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthBearer {
    /// Where the access token is. It is not asked of a server here: whoever issues it keeps the Secret up to date, and a new
    /// token takes effect while the doctor works.
    pub access_token: SecretKey,
}

/// One key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
