//! Keeps the certificate in its Secret, and the webhook configuration in line with it.
//!
//! Every replica does this. Each write names the version that was read (`resourceVersion`), so that of two that write at once
//! one fails and looks again.

use super::{
    Serving,
    state::{State, Step, Timing},
};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after something failed, unless looking is more frequent anyway.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// Which certificate is kept, and for whom.
#[derive(Debug, Clone)]
pub struct KeeperSettings {
    /// The Secret's namespace.
    pub namespace: String,
    /// Its name.
    pub secret: String,
    /// Name of the `MutatingWebhookConfiguration`.
    pub webhook: String,
    /// Names by which the API server calls.
    pub names: Vec<String>,
    /// How long things take.
    pub timing: Timing,
}

/// Keeps the certificate.
#[derive(Debug)]
pub struct Keeper {
    settings: KeeperSettings,
    serving: Arc<Serving>,
    secrets: Api<Secret>,
    webhooks: Api<MutatingWebhookConfiguration>,
    /// What the webhook configuration was seen to trust, and since when.
    trusted: Option<(String, Instant)>,
    said: Option<String>,
}

/// Why a look at it ended early.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    /// Somebody else was faster.
    #[error("another replica was faster")]
    Conflict,
    #[error("{what} {name}: {error}")]
    Failed { what: &'static str, name: String, error: String },
    #[error("{0}")]
    Issue(#[from] rcgen::Error),
}

impl Keeper {
    /// Keeps nothing yet.
    pub fn new(client: &Client, settings: KeeperSettings, serving: Arc<Serving>) -> Self {
        let secrets = Api::namespaced(client.clone(), &settings.namespace);
        let webhooks = Api::all(client.clone());
        Self { settings, serving, secrets, webhooks, trusted: None, said: None }
    }

    /// Keeps it until it is dropped.
    pub async fn run(mut self) {
        loop {
            let pause = match self.look().await {
                Ok(()) => {
                    self.said = None;
                    self.settings.timing.poll
                }
                Err(error) => {
                    let conflict = matches!(error, KeepError::Conflict);
                    let error = error.to_string();
                    if !conflict && self.said.as_ref() != Some(&error) {
                        tracing::warn!(
                            "the injection webhook's certificate cannot be kept, trying on: {error}"
                        );
                        self.said = Some(error);
                    }
                    self.settings.timing.poll.min(TRY_AGAIN)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&mut self) -> Result<(), KeepError> {
        let KeeperSettings { names, timing, .. } = self.settings.clone();
        let secret = self.secret().await?;
        let data = secret.as_ref().and_then(|secret| secret.data.as_ref());
        let mut state = data.map(State::read).unwrap_or_default();
        let now = SystemTime::now();
        let bundle = state.bundle();
        let trusted = self.trusted.as_ref().filter(|(seen, _)| *seen == bundle);
        let step = state.step(&names, &timing, trusted.map(|(_, since)| since.elapsed()), now);
        if step != Step::Keep {
            state = state.after(step, &names, &timing, now)?;
            self.store(secret, &state).await?;
            match step {
                Step::Begin => tracing::info!("the injection webhook has a new certificate"),
                Step::Prepare => tracing::info!("the injection webhook's next certificate is prepared"),
                Step::Promote => tracing::info!("the injection webhook's certificate is renewed"),
                Step::Keep => {}
            }
        }
        if let Some(pair) = &state.serving {
            self.serving.show(pair).map_err(|error| self.failed_secret(error.to_string()))?;
        }
        self.publish(&state.bundle()).await?;
        self.serving.note_trusted();
        Ok(())
    }

    async fn secret(&self) -> Result<Option<Secret>, KeepError> {
        match tokio::time::timeout(TIMEOUT, self.secrets.get_opt(&self.settings.secret)).await {
            Ok(Ok(secret)) => Ok(secret),
            Ok(Err(error)) => Err(self.failed_secret(explain(&error))),
            Err(_) => Err(self.failed_secret(no_answer())),
        }
    }

    async fn store(&self, secret: Option<Secret>, state: &State) -> Result<(), KeepError> {
        let exists = secret.is_some();
        let mut secret = secret.unwrap_or_else(|| Secret {
            metadata: ObjectMeta { name: Some(self.settings.secret.clone()), ..ObjectMeta::default() },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        });
        state.write(secret.data.get_or_insert_default());
        let params = PostParams::default();
        let write = async {
            if exists {
                self.secrets.replace(&self.settings.secret, &params, &secret).await
            } else {
                self.secrets.create(&params, &secret).await
            }
        };
        match tokio::time::timeout(TIMEOUT, write).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(KeepError::Conflict),
            Ok(Err(error)) => Err(self.failed_secret(explain(&error))),
            Err(_) => Err(self.failed_secret(no_answer())),
        }
    }

    /// Lets the API server trust these authorities and no others, and notes since when it is seen to.
    async fn publish(&mut self, bundle: &str) -> Result<(), KeepError> {
        let name = self.settings.webhook.clone();
        let failed = |error: String| KeepError::Failed {
            what: "MutatingWebhookConfiguration",
            name: name.clone(),
            error,
        };
        let read = tokio::time::timeout(TIMEOUT, self.webhooks.get(&name)).await;
        let mut configuration =
            read.map_err(|_| failed(no_answer()))?.map_err(|error| failed(explain(&error)))?;
        let wanted = ByteString(bundle.as_bytes().to_vec());
        let mut changed = false;
        for webhook in configuration.webhooks.iter_mut().flatten() {
            if webhook.client_config.ca_bundle.as_ref() != Some(&wanted) {
                webhook.client_config.ca_bundle = Some(wanted.clone());
                changed = true;
            }
        }
        if changed {
            let params = PostParams::default();
            let write = self.webhooks.replace(&name, &params, &configuration);
            match tokio::time::timeout(TIMEOUT, write).await {
                Ok(Ok(_)) => {}
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => return Err(KeepError::Conflict),
                Ok(Err(error)) => return Err(failed(explain(&error))),
                Err(_) => return Err(failed(no_answer())),
            }
        }
        let known = self.trusted.as_ref().is_some_and(|(seen, _)| seen == bundle);
        if changed || !known {
            self.trusted = Some((bundle.to_owned(), Instant::now()));
        }
        Ok(())
    }

    fn failed_secret(&self, error: String) -> KeepError {
        let KeeperSettings { namespace, secret, .. } = &self.settings;
        KeepError::Failed { what: "Secret", name: format!("{namespace}/{secret}"), error }
    }
}

fn no_answer() -> String {
    format!("no answer within {TIMEOUT:?}")
}

/// What the API server said and, where it is known, what to do.
fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{}; give the operator the roles for injection", status.message)
        }
        kube::Error::Api(status) if status.code == 404 => {
            format!("{}; apply the manifests for injection", status.message)
        }
        error => error.to_string(),
    }
}
