//! Settings of the Kubernetes adapter.

use super::lease::{LeaseSettings, Timing};
use crate::cli::UsageError;
use clap::Args;
use doctorkafka_wire::ActionRecord;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  In a pod, with the service account of deploy/rbac; of several replicas one leads:
    doctorkafka-operator run

  From outside the cluster, for the policies of one namespace:
    KUBECONFIG=~/.kube/config doctorkafka-operator run --watch-namespace kafka --lease-namespace doctorkafka

  Then apply a policy and look at it:
    kubectl apply -f deploy/examples/minimal.yaml
    kubectl get kafkahealth -A";

/// Settings of the Kubernetes adapter.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kubernetes", after_long_help = EXAMPLES)]
pub struct RunArguments {
    /// Watch policies in this namespace only; may be given several times or with commas. All namespaces without it.
    #[arg(long, value_name = "NAMESPACE", env = "WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespace: Vec<String>,
    /// Namespace of the Lease by which one of several operators leads. Default: POD_NAMESPACE, else that of the kubeconfig.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the Lease. Operators that watch the same policies need the same.
    #[arg(long, value_name = "NAME", default_value = "doctorkafka")]
    pub lease_name: String,
    /// Name of this instance in the Lease, in Events and in logs; a random part is added. Default: POD_NAME, else the host's name.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub identity: Option<String>,
    /// How long a leader that is not heard of keeps others waiting.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it stops leading. Below --lease-duration.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub lease_renew_deadline: Duration,
    /// Pause between two tries to get or renew the Lease. At most half of --lease-renew-deadline.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub lease_retry_period: Duration,
}

impl RunArguments {
    /// How long things take in the election.
    ///
    /// # Errors
    /// Timing that cannot work.
    pub(super) fn timing(&self) -> Result<Timing, UsageError> {
        Timing::new(self.lease_duration, self.lease_renew_deadline, self.lease_retry_period)
            .map_err(|error| UsageError(error.to_string()))
    }

    /// Which lease to stand for, and as whom.
    pub(super) fn lease(&self, default_namespace: &str, timing: Timing) -> LeaseSettings {
        LeaseSettings {
            namespace: given(self.lease_namespace.as_deref()).unwrap_or(default_namespace).to_owned(),
            name: self.lease_name.clone(),
            identity: self.identity(),
            timing,
        }
    }

    /// The namespaces to watch; none means all.
    pub(super) fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<_> = self.watch_namespace.iter().map(|name| name.trim().to_owned()).collect();
        names.retain(|name| !name.is_empty());
        names.sort();
        names.dedup();
        names
    }

    /// A name that no other process has, however many were started with the same arguments.
    fn identity(&self) -> String {
        let host = || {
            let name = rustix::system::uname();
            name.nodename().to_string_lossy().into_owned()
        };
        let name = given(self.identity.as_deref()).map_or_else(host, str::to_owned);
        format!("{name}_{}", ActionRecord::new_id().to_lowercase())
    }
}

/// An environment variable that is set to nothing is not set.
fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<doctorkafka_api::Duration>().map(Into::into).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        run: RunArguments,
    }

    fn parse(arguments: &[&str]) -> RunArguments {
        Program::parse_from([&["program"], arguments].concat()).run
    }

    #[test]
    fn defaults_are_those_of_client_go() {
        let second = Duration::from_secs(1);
        assert_eq!(parse(&[]).timing(), Ok(Timing::new(15 * second, 10 * second, 2 * second).unwrap()));
    }

    #[test]
    fn two_processes_with_the_same_arguments_are_two_candidates() {
        let arguments = parse(&["--identity", "doctor", "--lease-namespace", "kafka"]);
        let timing = arguments.timing().unwrap();
        let (one, other) = (arguments.lease("x", timing), arguments.lease("x", timing));
        assert!(one.identity.starts_with("doctor_"));
        assert_ne!(one.identity, other.identity);
        assert_eq!(one.namespace, "kafka");
    }

    #[test]
    fn timing_that_cannot_work_is_refused_by_the_flag_s_name() {
        let error = parse(&["--lease-duration", "5s"]).timing().unwrap_err();
        assert!(error.to_string().starts_with("--lease-renew-deadline must be below"), "{error}");
    }

    #[test]
    fn namespaces_are_a_set() {
        let arguments = parse(&["--watch-namespace", "b,a", "--watch-namespace", "b"]);
        assert_eq!(arguments.namespaces(), ["a", "b"]);
        assert!(parse(&["--watch-namespace", ""]).namespaces().is_empty());
    }
}
