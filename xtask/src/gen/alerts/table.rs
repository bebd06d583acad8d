//! The alerts.

use super::{
    Alert, Group,
    Severity::{Critical, Info, Warning},
};

/// All of them, by subject.
pub(super) const GROUPS: &[Group] = &[
    Group { name: "doctorkafka-brokers", alerts: BROKERS },
    Group { name: "doctorkafka-doctor", alerts: DOCTOR },
    Group { name: "doctorkafka-treatment", alerts: TREATMENT },
    Group { name: "doctorkafka-sidecars", alerts: SIDECARS },
    Group { name: "doctorkafka-injection", alerts: INJECTION },
];

/// What the doctor says about brokers.
const BROKERS: &[Alert] = &[
    Alert {
        name: "DoctorKafkaBrokerUnhealthy",
        expr: r#"max by (namespace, job, policy) (
  doctorkafka_brokers{state="Unhealthy"} - ignoring (state) doctorkafka_brokers_rolling
) > 0"#,
        lasting: "1m",
        severity: Critical,
        summary: "{{ $value }} unhealthy broker(s) in {{ $labels.policy }}",
        description: "The process is gone, hangs, is fenced or silent. The policy's status says which broker and why.",
    },
    // A broker takes seconds to minutes to be replaced, and is Recovering, not Unhealthy, while it starts.
    Alert {
        name: "DoctorKafkaRollingUpdateStuck",
        expr: "max by (namespace, job, policy) (doctorkafka_brokers_rolling) > 0",
        lasting: "15m",
        severity: Warning,
        summary: "A rolling update of {{ $labels.policy }} has not brought a broker back for 15 minutes",
        description: "Its pod was taken away in order to be replaced, and no new one runs. No treatment is begun meanwhile.",
    },
    Alert {
        name: "DoctorKafkaBrokerOverloaded",
        expr: r#"max by (namespace, job, policy) (doctorkafka_brokers{state="Overloaded"}) > 0"#,
        lasting: "15m",
        severity: Warning,
        summary: "{{ $value }} overloaded broker(s) in {{ $labels.policy }} for 15 minutes",
        description: "Some broker has been over its limit all the time. The policy's status says which, of what, and what is advised.",
    },
    Alert {
        name: "DoctorKafkaBrokerRecovering",
        expr: r#"max by (namespace, job, policy) (doctorkafka_brokers{state="Recovering"}) > 0"#,
        lasting: "30m",
        severity: Warning,
        summary: "{{ $value }} broker(s) of {{ $labels.policy }} have been starting for 30 minutes",
        description: "The process runs and is not back in service: a long log recovery, or it starts again and again.",
    },
    Alert {
        name: "DoctorKafkaAllSilent",
        expr: r#"(
  min by (namespace, job, policy) (doctorkafka_brokers{state="Unknown"})
    == on (namespace, job, policy)
  max by (namespace, job, policy) (sum without (state) (doctorkafka_brokers))
    > 0
)
  unless on (namespace, job, policy)
(max by (namespace, job, policy) (doctorkafka_kafka_reachable) == 0)"#,
        lasting: "2m",
        severity: Critical,
        summary: "Nothing is heard of any broker of {{ $labels.policy }}",
        description: "Kafka answers, and no collector's reports arrive: nobody watches these brokers. No treatment is begun.",
    },
    Alert {
        name: "DoctorKafkaBrokerUnknown",
        expr: r#"(min by (namespace, job, policy) (doctorkafka_brokers{state="Unknown"}) > 0)
  < on (namespace, job, policy)
max by (namespace, job, policy) (sum without (state) (doctorkafka_brokers))"#,
        lasting: "15m",
        severity: Warning,
        summary: "{{ $value }} broker(s) of {{ $labels.policy }} are not watched",
        description: "No doctor can tell their state: their reports cannot come through.",
    },
    Alert {
        name: "DoctorKafkaUnderReplicated",
        expr: "max by (namespace, job, policy) (doctorkafka_under_replicated_partitions) > 0",
        lasting: "30m",
        severity: Warning,
        summary: "{{ $value }} under-replicated partition(s) in {{ $labels.policy }}",
        description: "Replicas have been out of sync for 30 minutes. No load is moved meanwhile.",
    },
    Alert {
        name: "DoctorKafkaKafkaUnreachable",
        expr: "max by (namespace, job, policy) (doctorkafka_kafka_reachable) == 0",
        lasting: "2m",
        severity: Critical,
        summary: "Kafka of {{ $labels.policy }} cannot be reached",
        description: "No broker answers any doctor. The condition Reachable of the policy says what was tried and what came of it.",
    },
];

/// Whether the doctor itself is well.
const DOCTOR: &[Alert] = &[
    Alert {
        name: "DoctorKafkaDown",
        expr: "absent(doctorkafka_build_info)",
        lasting: "5m",
        severity: Critical,
        summary: "No DoctorKafka operator is seen",
        description: "None runs, or Prometheus does not find them: nobody watches Kafka.",
    },
    Alert {
        name: "DoctorKafkaNoLeader",
        expr: "count by (namespace, job) (doctorkafka_build_info)
  unless on (namespace, job)
(sum by (namespace, job) (doctorkafka_leader) > 0)",
        lasting: "2m",
        severity: Critical,
        summary: "None of {{ $value }} operator(s) in {{ $labels.namespace }} leads",
        description: "All of them diagnose, and none writes the status, the actions log or treats anything.",
    },
    Alert {
        name: "DoctorKafkaManyLeaders",
        expr: "sum by (namespace, job) (doctorkafka_leader) > 1",
        lasting: "1m",
        severity: Warning,
        summary: "{{ $value }} operators in {{ $labels.namespace }} say that they lead",
        description: "Kafka's transactions let only the newest write, so nothing is done twice; but the election does not work.",
    },
    Alert {
        name: "DoctorKafkaNoStandby",
        expr: "count by (namespace, job) (doctorkafka_build_info) < 2",
        lasting: "15m",
        severity: Warning,
        summary: "Only one DoctorKafka operator runs in {{ $labels.namespace }}",
        description: "There is nobody to take over when it goes.",
    },
    Alert {
        name: "DoctorKafkaPolicyRefused",
        expr: "max by (namespace, job, policy) (doctorkafka_policy_refused) == 1",
        lasting: "5m",
        severity: Warning,
        summary: "The policy {{ $labels.policy }} cannot be",
        description: "It is not in force as it is written; the last good one is, if there was one. The condition Ready names the field.",
    },
    Alert {
        name: "DoctorKafkaPolicyConflict",
        expr: "max by (namespace, job, policy) (doctorkafka_policy_conflict) == 1",
        lasting: "5m",
        severity: Warning,
        summary: "Kafka of {{ $labels.policy }} is watched by another policy already",
        description: "This policy does nothing. The condition Conflict names the other one.",
    },
    Alert {
        name: "DoctorKafkaTopicsFailing",
        expr: "max by (namespace, job, policy) (doctorkafka_topics_failing) == 1",
        lasting: "5m",
        severity: Critical,
        summary: "The doctor's topics are not there in {{ $labels.policy }}",
        description: "They can be neither found nor created, so nothing is heard of any broker.",
    },
    Alert {
        name: "DoctorKafkaActionsLogStuck",
        expr: "max by (namespace, job, policy) (doctorkafka_actions_log_failing) == 1
  or
max by (namespace, job, policy) (min_over_time(doctorkafka_outbox_records[5m])) > 0",
        lasting: "5m",
        severity: Critical,
        summary: "The actions log of {{ $labels.policy }} cannot be written",
        description: "Records wait for it. Nothing is treated meanwhile, for each step is recorded before it is taken.",
    },
    Alert {
        name: "DoctorKafkaRecordsDropped",
        expr: "sum by (namespace, job, policy) (increase(doctorkafka_outbox_dropped_total[1h])) > 0",
        lasting: "0s",
        severity: Warning,
        summary: "Records for the actions log of {{ $labels.policy }} were given up",
        description: "They were larger than the topic takes.",
    },
    Alert {
        name: "DoctorKafkaPoisonRecords",
        expr: r#"max by (namespace, job, policy, reason) (
  rate(doctorkafka_reports_skipped_total{reason=~"malformed|too_large|newer_version|forged|unknown_broker"}[10m])
) > 0.01"#,
        lasting: "5m",
        severity: Warning,
        summary: "Records on the metrics topic of {{ $labels.policy }} cannot be used ({{ $labels.reason }})",
        description: "They are skipped and change nothing, but somebody writes them.",
    },
];

/// What is done about brokers.
const TREATMENT: &[Alert] = &[
    Alert {
        name: "DoctorKafkaAdviceWaiting",
        expr: "max by (namespace, job, policy) (doctorkafka_advice) > 0",
        lasting: "1h",
        severity: Info,
        summary: "A treatment in {{ $labels.policy }} has been recommended for an hour",
        description: "Nobody has acted on it. The policy's status says what would be moved where.",
    },
    Alert {
        name: "DoctorKafkaTreatmentRefused",
        expr: "max by (namespace, job, policy, rule) (doctorkafka_refusals) > 0",
        lasting: "1h",
        severity: Info,
        summary: "{{ $labels.rule }} refuses treatment in {{ $labels.policy }}",
        description: "It has done so for an hour. The condition Refused says on what, with which number, and what would lift it.",
    },
    Alert {
        name: "DoctorKafkaTreatmentGivenUp",
        expr: r#"sum by (namespace, job, policy) (increase(doctorkafka_treatments_total{end="given_up"}[30m])) > 0"#,
        lasting: "0s",
        severity: Warning,
        summary: "A treatment in {{ $labels.policy }} was given up",
        description: "It was stopped before it was complete, and undone as far as was decided. The actions log says why.",
    },
    Alert {
        name: "DoctorKafkaTreatmentHeld",
        expr: "max by (namespace, job, policy) (doctorkafka_treatment_held) == 1",
        lasting: "30m",
        severity: Warning,
        summary: "A treatment in {{ $labels.policy }} has not gone on for 30 minutes",
        description: "A rule keeps its next step from being taken. The dashboard and the policy's status say which.",
    },
    Alert {
        name: "DoctorKafkaThrottleLeft",
        expr: "max by (namespace, job, policy) (doctorkafka_throttles_left) > 0",
        lasting: "15m",
        severity: Warning,
        summary: "{{ $value }} broker(s) of {{ $labels.policy }} keep a replication throttle",
        description: "They were down when a treatment ended. When they return they catch up slowly, until the doctor has removed it.",
    },
];

/// Whether the collectors are well.
const SIDECARS: &[Alert] = &[
    Alert {
        name: "DoctorKafkaSidecarDown",
        expr: "max by (namespace, job, pod, broker) (max_over_time(doctorkafka_sidecar_info[1h]))
  unless
max by (namespace, job, pod, broker) (doctorkafka_sidecar_info)",
        lasting: "5m",
        severity: Warning,
        summary: "The collector of broker {{ $labels.broker }} in {{ $labels.namespace }} is gone",
        description: "It was there within the last hour. Without it the broker's heartbeat is missing, and the broker counts as unhealthy.",
    },
    Alert {
        name: "DoctorKafkaSidecarNotPublishing",
        expr: "doctorkafka_sidecar_info
  and on (namespace, job, instance)
(rate(doctorkafka_sidecar_records_acknowledged_total[5m]) == 0)",
        lasting: "5m",
        severity: Warning,
        summary: "The collector of broker {{ $labels.broker }} in {{ $labels.namespace }} cannot publish",
        description: "Kafka acknowledges none of its reports. Its log says why.",
    },
    Alert {
        name: "DoctorKafkaSidecarBlind",
        expr: "doctorkafka_sidecar_info
  and on (namespace, job, instance)
(doctorkafka_sidecar_broker_running == 1)
  unless on (namespace, job, instance)
doctorkafka_sidecar_cpu_percent",
        lasting: "10m",
        severity: Warning,
        summary: "The collector of broker {{ $labels.broker }} in {{ $labels.namespace }} cannot measure it",
        description: "It sees the broker's process and may not read its figures: overload goes unnoticed.",
    },
];

/// Whether new pods of brokers get their collector.
const INJECTION: &[Alert] = &[
    Alert {
        name: "DoctorKafkaPodsWithoutSidecar",
        expr: r#"sum by (namespace, job, outcome) (
  increase(doctorkafka_injection_reviews_total{outcome=~"no_policy|several_policies|policy_unusable|unsuitable|failed"}[1h])
) > 0"#,
        lasting: "0s",
        severity: Warning,
        summary: "Pods that asked for a collector were created without one ({{ $labels.outcome }})",
        description: "The brokers in them are not watched until their next restart. The operators' logs name pods and reasons.",
    },
    // Renewed 30 days before its end.
    Alert {
        name: "DoctorKafkaInjectionCertificate",
        expr: "min by (namespace, job) (
  doctorkafka_injection_certificate_expiry_timestamp_seconds - time()
    or on (namespace, job, instance)
  0 * max by (namespace, job, instance) (doctorkafka_injection_reviews_total)
) < 14 * 24 * 3600",
        lasting: "15m",
        severity: Warning,
        summary: "The injection webhook in {{ $labels.namespace }} has no certificate, or one that ends soon",
        description: "API servers do not call a webhook that they cannot trust: pods of brokers are created without a collector.",
    },
];
