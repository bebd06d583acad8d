//! How an injected sidecar connects to Kafka: the policy's words as environment variables and mounted Secrets.
//!
//! No Secret is read here; the kubelet mounts them into the sidecar. They are optional, so that one that is missing delays
//! the sidecar's reports and never the broker.

use super::{
    names::{CREDENTIALS_PATH, CREDENTIALS_VOLUME, KAFKA_USER},
    policy::Target,
    refusal::{NotInjected, Outcome},
};
use doctorkafka_api::{Authentication, UsernamePassword};
use doctorkafka_kafka::{Connection, SaslMechanism};
use k8s_openapi::api::core::v1::{
    EnvVar, KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};

/// What makes the connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionParts {
    /// Variables of the sidecar.
    pub env: Vec<EnvVar>,
    /// The volume with its Secrets, and where it is mounted; `None` when it needs none.
    pub volume: Option<(Volume, VolumeMount)>,
}

/// What a sidecar of this policy needs. `user` is the Secret that the pod's annotation names, if it does.
///
/// # Errors
/// The policy asks for something that cannot be, or that the sidecar does not speak.
pub fn connection(target: &Target, user: Option<&str>) -> Result<ConnectionParts, NotInjected> {
    let kafka = &target.kafka;
    Connection::new(&kafka.bootstrap_servers, "doctorkafka-sidecar")
        .map_err(|error| unusable(format!("spec.kafka.bootstrapServers: {error}")))?;
    let mut parts = Parts::default();
    parts.set("KAFKA_BROKERS", &kafka.bootstrap_servers);
    parts.set("METRICS_TOPIC", &target.topic);
    if let Some(tls) = &kafka.tls {
        let files: Result<Vec<_>, _> = tls
            .trusted_certificates
            .iter()
            .enumerate()
            .map(|(n, trusted)| {
                parts.mount(&trusted.secret_name, &trusted.certificate, &format!("ca-{n}.crt"))
            })
            .collect();
        match files?.join(",") {
            none if none.is_empty() => parts.set("TLS", "true"),
            files => parts.set("TLS_CA", &files),
        }
    }
    let user = user.map(str::trim).filter(|user| !user.is_empty());
    match &kafka.authentication {
        Some(authentication) => parts.authenticate(authentication, user, kafka.tls.is_some())?,
        None if user.is_some() => {
            let message = format!("annotation {KAFKA_USER} needs a policy with spec.kafka.authentication");
            return Err(NotInjected::surprising(Outcome::Unsuitable, message));
        }
        None => {}
    }
    Ok(parts.finish())
}

fn unusable(message: impl Into<String>) -> NotInjected {
    NotInjected::surprising(Outcome::PolicyUnusable, message)
}

#[derive(Default)]
struct Parts {
    env: Vec<EnvVar>,
    secrets: Vec<(String, Vec<KeyToPath>)>,
}

impl Parts {
    fn set(&mut self, name: &str, value: &str) {
        // Kubernetes replaces $(NAME) in values, unless its $ is doubled.
        let value = Some(value.replace("$(", "$$("));
        self.env.push(EnvVar { name: name.to_owned(), value, value_from: None });
    }

    /// Mounts a key of a Secret as a file, and says where.
    fn mount(&mut self, secret: &str, key: &str, file: &str) -> Result<String, NotInjected> {
        if !is_name(secret, 253, ".-") {
            return Err(unusable(format!("{secret:?} is no name of a Secret")));
        }
        if !is_name(&key.to_lowercase(), 253, "._-") {
            return Err(unusable(format!("{key:?} is no key of a Secret")));
        }
        let item = KeyToPath { key: key.to_owned(), path: file.to_owned(), ..KeyToPath::default() };
        match self.secrets.iter_mut().find(|(name, _)| name == secret) {
            Some((_, items)) => items.push(item),
            None => self.secrets.push((secret.to_owned(), vec![item])),
        }
        Ok(format!("{CREDENTIALS_PATH}/{file}"))
    }

    fn authenticate(
        &mut self,
        authentication: &Authentication,
        user: Option<&str>,
        encrypted: bool,
    ) -> Result<(), NotInjected> {
        if let Some(oauth) = &authentication.oauthbearer {
            let token = &oauth.access_token;
            let file = self.mount(user.unwrap_or(&token.secret_name), &token.key, "token")?;
            self.set("SASL_MECHANISM", SaslMechanism::OAuthBearer.as_str());
            self.set("SASL_TOKEN_FILE", &file);
        }
        let by_password = [
            ("SCRAM-SHA-512", &authentication.scram_sha512),
            ("SCRAM-SHA-256", &authentication.scram_sha256),
            ("PLAIN", &authentication.plain),
        ];
        if let Some((mechanism, of_policy)) =
            by_password.into_iter().find_map(|(name, user)| Some((name, user.as_ref()?)))
        {
            self.authenticate_by_password(mechanism, of_policy, user)?;
        }
        if let Some(tls) = &authentication.tls {
            if !encrypted {
                return Err(unusable("spec.kafka.authentication.tls needs spec.kafka.tls"));
            }
            let pair = &tls.certificate_and_key;
            let secret = user.unwrap_or(&pair.secret_name);
            let certificate = self.mount(secret, &pair.certificate, "user.crt")?;
            let key = self.mount(secret, &pair.key, "user.key")?;
            self.set("TLS_CERT", &certificate);
            self.set("TLS_KEY", &key);
        }
        Ok(())
    }

    fn authenticate_by_password(
        &mut self,
        mechanism: &str,
        of_policy: &UsernamePassword,
        user: Option<&str>,
    ) -> Result<(), NotInjected> {
        let secret = &of_policy.password_secret;
        // The Secret of a KafkaUser has the user's name.
        let (name, secret_name) =
            user.map_or((of_policy.username.as_str(), secret.secret_name.as_str()), |user| (user, user));
        let file = self.mount(secret_name, &secret.password, "password")?;
        self.set("SASL_MECHANISM", mechanism);
        self.set("SASL_USERNAME", name);
        self.set("SASL_PASSWORD_FILE", &file);
        Ok(())
    }

    fn finish(self) -> ConnectionParts {
        let sources: Vec<_> = self
            .secrets
            .into_iter()
            .map(|(name, items)| VolumeProjection {
                secret: Some(SecretProjection { name, items: Some(items), optional: Some(true) }),
                ..VolumeProjection::default()
            })
            .collect();
        let volume = (!sources.is_empty()).then(|| {
            let projected =
                ProjectedVolumeSource { sources: Some(sources), ..ProjectedVolumeSource::default() };
            let name = CREDENTIALS_VOLUME.to_owned();
            let volume = Volume { name: name.clone(), projected: Some(projected), ..Volume::default() };
            let mount_path = CREDENTIALS_PATH.to_owned();
            let mount = VolumeMount { name, mount_path, read_only: Some(true), ..VolumeMount::default() };
            (volume, mount)
        });
        ConnectionParts { env: self.env, volume }
    }
}

/// Whether it consists of small letters, digits and these others, and begins with one of the former: what Kubernetes takes
/// for names, a little narrowed.
fn is_name(text: &str, longest: usize, others: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= longest && text.starts_with(plain) && text.chars().all(|c| plain(c) || others.contains(c))
}

#[cfg(test)]
mod tests {
    use super::{super::policy::tests::policy, *};
    use serde_json::{Value, json};

    fn parts(kafka: Value, user: Option<&str>) -> Result<ConnectionParts, NotInjected> {
        connection(&policy("prod", json!({ "kafka": kafka })).target.unwrap(), user)
    }

    fn value(parts: &ConnectionParts, name: &str) -> Option<String> {
        parts.env.iter().find(|variable| variable.name == name)?.value.clone()
    }

    fn secured() -> Value {
        json!({
            "bootstrapServers": "prod-kafka-bootstrap:9093",
            "tls": {"trustedCertificates": [
                {"secretName": "prod-cluster-ca-cert", "certificate": "ca.crt"},
                {"secretName": "corporate", "certificate": "Root_CA.pem"},
            ]},
            "authentication": {"scramSha512": {
                "username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"},
            }},
        })
    }

    #[test]
    fn a_plain_connection_needs_no_volume() {
        let plain = parts(json!({"bootstrapServers": "a:9092,b:9092"}), None).unwrap();
        assert_eq!(value(&plain, "KAFKA_BROKERS").as_deref(), Some("a:9092,b:9092"));
        assert_eq!(value(&plain, "METRICS_TOPIC").as_deref(), Some("_doctor_metrics"));
        assert_eq!((plain.env.len(), plain.volume), (2, None));
        let system = parts(json!({"bootstrapServers": "a:9093", "tls": {}}), None).unwrap();
        assert_eq!(value(&system, "TLS").as_deref(), Some("true"));
    }

    #[test]
    fn secrets_are_mounted_and_optional() {
        let parts = parts(secured(), None).unwrap();
        let base = "/etc/doctorkafka/credentials";
        assert_eq!(value(&parts, "TLS_CA"), Some(format!("{base}/ca-0.crt,{base}/ca-1.crt")));
        assert_eq!(value(&parts, "SASL_USERNAME").as_deref(), Some("doctor"));
        assert_eq!(value(&parts, "SASL_PASSWORD_FILE"), Some(format!("{base}/password")));
        let volume = serde_json::to_value(parts.volume.unwrap().0).unwrap();
        assert_eq!(
            volume["projected"]["sources"],
            json!([
                {"secret": {"name": "prod-cluster-ca-cert", "optional": true, "items": [{"key": "ca.crt", "path": "ca-0.crt"}]}},
                {"secret": {"name": "corporate", "optional": true, "items": [{"key": "Root_CA.pem", "path": "ca-1.crt"}]}},
                {"secret": {"name": "doctor", "optional": true, "items": [{"key": "password", "path": "password"}]}},
            ])
        );
    }

    #[test]
    fn a_sidecar_may_be_another_user() {
        let scram = parts(secured(), Some("sidecar")).unwrap();
        assert_eq!(value(&scram, "SASL_USERNAME").as_deref(), Some("sidecar"));
        let shown = serde_json::to_string(&scram.volume.unwrap().0).unwrap();
        assert!(shown.contains("sidecar") && !shown.contains("doctor\""), "{shown}");

        let mut mutual = secured();
        let pair = json!({"secretName": "doctor", "certificate": "tls.crt", "key": "tls.key"});
        mutual["authentication"] = json!({"tls": {"certificateAndKey": pair}});
        let mutual = parts(mutual, Some("sidecar")).unwrap();
        let shown = serde_json::to_string(&mutual.volume.as_ref().unwrap().0).unwrap();
        assert!(shown.contains("\"name\":\"sidecar\"") && !shown.contains("\"name\":\"doctor\""), "{shown}");
        assert!(shown.contains("\"key\":\"tls.key\"") && shown.contains("\"key\":\"tls.crt\""), "{shown}");
        assert!(value(&mutual, "TLS_CERT").is_some() && value(&mutual, "SASL_MECHANISM").is_none());

        let mut bearer = secured();
        let token = json!({"secretName": "doctor-sso", "key": "access-token"});
        bearer["authentication"] = json!({"oauthbearer": {"accessToken": token}});
        for (user, secret) in [(None, "doctor-sso"), (Some("sidecar"), "sidecar")] {
            let parts = parts(bearer.clone(), user).unwrap();
            assert_eq!(value(&parts, "SASL_MECHANISM").as_deref(), Some("OAUTHBEARER"));
            assert_eq!(value(&parts, "SASL_TOKEN_FILE"), Some(format!("{CREDENTIALS_PATH}/token")));
            assert!(value(&parts, "SASL_USERNAME").is_none());
            let shown = serde_json::to_string(&parts.volume.unwrap().0).unwrap();
            assert!(
                shown.contains(&format!("\"name\":\"{secret}\"")) && shown.contains("access-token"),
                "{shown}"
            );
        }

        let refused = parts(json!({"bootstrapServers": "a:9092"}), Some("sidecar")).unwrap_err();
        assert_eq!(refused.outcome, Outcome::Unsuitable);
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        let certificates = |secret: &str, key: &str| json!({"trustedCertificates": [{"secretName": secret, "certificate": key}]});
        for (kafka, said) in [
            (json!({"bootstrapServers": "nowhere"}), "spec.kafka.bootstrapServers"),
            (
                json!({"bootstrapServers": "a:9093", "tls": certificates("../x", "ca.crt")}),
                "no name of a Secret",
            ),
            (
                json!({"bootstrapServers": "a:9093", "tls": certificates("ca", "../ca.crt")}),
                "no key of a Secret",
            ),
        ] {
            let refused = parts(kafka, None).unwrap_err();
            assert_eq!(refused.outcome, Outcome::PolicyUnusable);
            assert!(refused.message.contains(said), "{refused}");
        }
    }

    #[test]
    fn nothing_is_replaced_in_values() {
        let mut kafka = secured();
        kafka["authentication"]["scramSha512"]["username"] = json!("$(HOSTNAME)");
        assert_eq!(value(&parts(kafka, None).unwrap(), "SASL_USERNAME").as_deref(), Some("$$(HOSTNAME)"));
    }
}
