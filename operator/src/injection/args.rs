//! Settings of the injection webhook.

use super::{
    PullPolicy, Quantity, RunAs, SidecarSettings,
    certificates::{KeeperSettings, Timing},
    webhook::{Source, WebhookSettings},
};
use crate::cli::{Listen, UsageError};
use clap::{Args, builder::FalseyValueParser};
use std::path::PathBuf;

/// Settings of the sidecar injection webhook.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Injection")]
pub struct InjectionArguments {
    /// Give Kafka's pods their sidecar as they are created: serve the webhook for pods and namespaces labelled
    /// doctorkafka.dev/inject=true.
    #[arg(long, env = "INJECTION", value_parser = FalseyValueParser::new())]
    pub injection: bool,
    /// Address of the webhook, host:port, HTTPS.
    #[arg(long, value_name = "ADDRESS", env = "INJECTION_LISTEN", default_value = "0.0.0.0:9443")]
    pub injection_listen: Listen,
    /// Service by which the API server calls the webhook, in the namespace of the Lease: the certificate's name.
    #[arg(long, value_name = "NAME", env = "INJECTION_SERVICE", default_value = "doctorkafka-injection")]
    pub injection_service: String,
    /// Another name or address in the certificate, for an API server that calls by URL; may be repeated.
    #[arg(long, value_name = "NAME", env = "INJECTION_NAME", value_delimiter = ',')]
    pub injection_name: Vec<String>,
    /// MutatingWebhookConfiguration that is told which authority to trust.
    #[arg(long, value_name = "NAME", env = "INJECTION_WEBHOOK", default_value = "doctorkafka-injection")]
    pub injection_webhook: String,
    /// Secret with the certificate, in the namespace of the Lease; renewed by the operator itself.
    #[arg(long, value_name = "NAME", env = "INJECTION_SECRET", default_value = "doctorkafka-injection")]
    pub injection_secret: String,
    /// Use tls.crt and tls.key of this folder instead, and leave Secret and webhook configuration alone. Read again when they
    /// change.
    #[arg(long, value_name = "DIR", env = "INJECTION_CERTIFICATES")]
    pub injection_certificates: Option<PathBuf>,
    /// Image of injected sidecars.
    #[arg(long, value_name = "IMAGE", env = "SIDECAR_IMAGE", default_value_t = default_image())]
    pub sidecar_image: String,
    /// When nodes pull it.
    #[arg(
        long,
        value_name = "POLICY",
        env = "SIDECAR_IMAGE_PULL_POLICY",
        value_enum,
        default_value = "IfNotPresent"
    )]
    pub sidecar_image_pull_policy: PullPolicy,
    /// CPU that a sidecar reserves.
    #[arg(long, value_name = "QUANTITY", env = "SIDECAR_CPU_REQUEST", default_value = "10m")]
    pub sidecar_cpu_request: Quantity,
    /// Memory that a sidecar reserves.
    #[arg(long, value_name = "QUANTITY", env = "SIDECAR_MEMORY_REQUEST", default_value = "24Mi")]
    pub sidecar_memory_request: Quantity,
    /// The most memory that a sidecar may use.
    #[arg(long, value_name = "QUANTITY", env = "SIDECAR_MEMORY_LIMIT", default_value = "64Mi")]
    pub sidecar_memory_limit: Quantity,
    /// As whom sidecars run: auto (as their broker), UID, UID:GID, or none (OpenShift decides).
    #[arg(long, value_name = "USER", env = "SIDECAR_RUN_AS", default_value = "auto")]
    pub sidecar_run_as: RunAs,
}

/// The image of the same release.
fn default_image() -> String {
    format!("doctorkafka/sidecar:{}", env!("CARGO_PKG_VERSION"))
}

impl InjectionArguments {
    /// What to serve, if anything. `namespace` is the operator's own.
    ///
    /// # Errors
    /// Values that cannot be together.
    pub(crate) fn settings(self, namespace: &str) -> Result<Option<WebhookSettings>, UsageError> {
        if !self.injection {
            return Ok(None);
        }
        let Listen::At(listen) = self.injection_listen else {
            return Err(UsageError("--injection-listen: off contradicts --injection".to_owned()));
        };
        if self.sidecar_memory_request > self.sidecar_memory_limit {
            let message = format!(
                "--sidecar-memory-request: {} is more than --sidecar-memory-limit {}",
                self.sidecar_memory_request, self.sidecar_memory_limit
            );
            return Err(UsageError(message));
        }
        if self.sidecar_image.trim().is_empty() {
            return Err(UsageError("--sidecar-image: it is empty".to_owned()));
        }
        let service = &self.injection_service;
        let mut names = vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
        ];
        names.extend(self.injection_name);
        let source = match self.injection_certificates {
            Some(folder) => Source::Folder(folder),
            None => Source::Kept(KeeperSettings {
                namespace: namespace.to_owned(),
                secret: self.injection_secret,
                webhook: self.injection_webhook,
                names,
                timing: Timing::default(),
            }),
        };
        let sidecar = SidecarSettings {
            image: self.sidecar_image.trim().to_owned(),
            pull_policy: self.sidecar_image_pull_policy,
            cpu_request: self.sidecar_cpu_request,
            memory_request: self.sidecar_memory_request,
            memory_limit: self.sidecar_memory_limit,
            run_as: self.sidecar_run_as,
        };
        Ok(Some(WebhookSettings { listen, source, sidecar }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        injection: InjectionArguments,
    }

    fn settings(flags: &[&str]) -> Result<Option<WebhookSettings>, UsageError> {
        Program::parse_from([&["program"], flags].concat()).injection.settings("doctorkafka")
    }

    #[test]
    fn off_unless_asked_for() {
        assert!(settings(&[]).unwrap().is_none());
        let on = settings(&["--injection"]).unwrap().unwrap();
        assert_eq!(on.listen, "0.0.0.0:9443");
        assert_eq!(on.sidecar, SidecarSettings::for_tests());
        let Source::Kept(kept) = on.source else { panic!("no files were given") };
        assert_eq!(kept.names[0], "doctorkafka-injection.doctorkafka.svc");
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_flag_s_name() {
        for (flags, said) in [
            (["--injection", "--injection-listen=off"], "--injection-listen"),
            (["--injection", "--sidecar-memory-request=65Mi"], "--sidecar-memory-request"),
            (["--injection", "--sidecar-image="], "--sidecar-image"),
        ] {
            let error = settings(&flags).unwrap_err();
            assert!(error.to_string().starts_with(said), "{error}");
        }
        assert!(Program::try_parse_from(["program", "--sidecar-run-as=kafka"]).is_err());
    }
}
