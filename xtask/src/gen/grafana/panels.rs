//! What the dashboard shows.
//!
//! Every operator diagnoses, so what they say of a policy is taken once (`max by`). Collectors tell their broker only in
//! `doctorkafka_sidecar_info`, with which their figures are joined.

/// Panels under one heading.
pub(super) struct Row {
    pub title: &'static str,
    pub panels: &'static [Panel],
}

/// One panel.
pub(super) struct Panel {
    pub title: &'static str,
    pub description: &'static str,
    pub show: Show,
    pub unit: Unit,
    /// PromQL, and the name of each line.
    pub queries: &'static [(&'static str, &'static str)],
}

/// How it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// The newest value, large.
    Number,
    /// Lines over time.
    Lines,
    /// Areas on top of each other.
    Stack,
}

/// What the values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    /// 0 to 100.
    Percent,
    Seconds,
    BytesPerSecond,
    PerSecond,
}

/// A figure of the sidecars, by broker.
macro_rules! of_broker {
    ($figure:literal) => {
        concat!(
            $figure,
            " * on (job, namespace, instance) group_left (broker) doctorkafka_sidecar_info{namespace=~\"$namespace\", \
             broker=~\"$broker\"}"
        )
    };
}

/// A gauge of a policy, as the operator sees it that sees most.
macro_rules! of_policy {
    ($metric:literal) => {
        concat!("max by (policy) (", $metric, "{policy=~\"$policy\"})")
    };
}

/// Lines, one for each broker.
const fn per_broker(
    title: &'static str,
    description: &'static str,
    unit: Unit,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, description, show: Show::Lines, unit, queries }
}

/// A row for each question.
pub(super) const ROWS: &[Row] = &[
    Row {
        title: "Cluster",
        panels: &[
            Panel {
                title: "Kafka reachable",
                description: "1 when any broker answers any doctor.",
                show: Show::Number,
                unit: Unit::Number,
                queries: &[(of_policy!("doctorkafka_kafka_reachable"), "{{policy}}")],
            },
            Panel {
                title: "Brokers",
                description: "Brokers that Kafka knows.",
                show: Show::Number,
                unit: Unit::Number,
                queries: &[(
                    "max by (policy) (sum without (state) (doctorkafka_brokers{policy=~\"$policy\"}))",
                    "{{policy}}",
                )],
            },
            Panel {
                title: "Under-replicated partitions",
                description: "Partitions with fewer in-sync replicas than replicas.",
                show: Show::Number,
                unit: Unit::Number,
                queries: &[(of_policy!("doctorkafka_under_replicated_partitions"), "{{policy}}")],
            },
            Panel {
                title: "Oldest heartbeat",
                description: "Age of the newest report of the broker that was heard of longest ago.",
                show: Show::Number,
                unit: Unit::Seconds,
                queries: &[(of_policy!("doctorkafka_heartbeat_age_max_seconds"), "{{policy}}")],
            },
            Panel {
                title: "Brokers by state",
                description: "What the doctor says of the brokers.",
                show: Show::Stack,
                unit: Unit::Number,
                queries: &[(
                    "sum by (state) (max by (policy, state) (doctorkafka_brokers{policy=~\"$policy\"}))",
                    "{{state}}",
                )],
            },
            Panel {
                title: "Decisions",
                description: "Records that were committed to the actions log, by kind: alerts, recoveries, treatments, refusals.",
                show: Show::Stack,
                unit: Unit::Number,
                queries: &[(
                    "sum by (kind) (increase(doctorkafka_actions_total{policy=~\"$policy\"}[$__rate_interval]))",
                    "{{kind}}",
                )],
            },
        ],
    },
    Row {
        title: "Brokers",
        panels: &[
            per_broker(
                "CPU",
                "CPU in use, percent of the broker's own limit.",
                Unit::Percent,
                &[(of_broker!("doctorkafka_sidecar_cpu_percent"), "broker {{broker}}")],
            ),
            per_broker(
                "Memory",
                "Resident memory, percent of the broker's own limit.",
                Unit::Percent,
                &[(
                    of_broker!(
                        "100 * doctorkafka_sidecar_memory_rss_bytes / doctorkafka_sidecar_memory_limit_bytes"
                    ),
                    "broker {{broker}}",
                )],
            ),
            per_broker(
                "Disk",
                "Use of the fullest log directory.",
                Unit::Percent,
                &[(of_broker!("doctorkafka_sidecar_disk_percent"), "broker {{broker}}")],
            ),
            per_broker(
                "Network",
                "Bytes received and sent a second.",
                Unit::BytesPerSecond,
                &[
                    (of_broker!("doctorkafka_sidecar_network_in_bytes_per_second"), "broker {{broker}} in"),
                    (of_broker!("doctorkafka_sidecar_network_out_bytes_per_second"), "broker {{broker}} out"),
                ],
            ),
            per_broker(
                "Answering time",
                "How long the broker's own listener took to answer an ApiVersions request.",
                Unit::Seconds,
                &[(of_broker!("doctorkafka_sidecar_probe_round_trip_seconds"), "broker {{broker}}")],
            ),
            per_broker(
                "Running and answering",
                "1 while the broker's process runs, and 1 while its listener answers.",
                Unit::Number,
                &[
                    (of_broker!("doctorkafka_sidecar_broker_running"), "broker {{broker}} runs"),
                    (of_broker!("doctorkafka_sidecar_probe_ok"), "broker {{broker}} answers"),
                ],
            ),
            per_broker(
                "Restarts",
                "How often the broker's process was replaced since its collector started.",
                Unit::Number,
                &[(of_broker!("doctorkafka_sidecar_broker_restarts"), "broker {{broker}}")],
            ),
            per_broker(
                "CPU limit",
                "Cores that the broker may use.",
                Unit::Number,
                &[(of_broker!("doctorkafka_sidecar_cpu_limit_cores"), "broker {{broker}}")],
            ),
        ],
    },
    Row {
        title: "Detection",
        panels: &[
            Panel {
                title: "Reports used",
                description: "Reports a second that each operator understood: one for each broker.",
                show: Show::Lines,
                unit: Unit::PerSecond,
                queries: &[(
                    "sum by (instance) (rate(doctorkafka_reports_total{policy=~\"$policy\"}[$__rate_interval]))",
                    "{{instance}}",
                )],
            },
            Panel {
                title: "Records skipped",
                description: "Records on the metrics topic that could not be used, by reason.",
                show: Show::Lines,
                unit: Unit::PerSecond,
                queries: &[(
                    "max by (reason) (rate(doctorkafka_reports_skipped_total{policy=~\"$policy\"}[$__rate_interval]))",
                    "{{reason}}",
                )],
            },
        ],
    },
    Row {
        title: "Treatment",
        panels: &[
            Panel {
                title: "Advice and refusals",
                description: "Overloaded brokers for which a treatment is recommended, and treatments that a rule refuses.",
                show: Show::Lines,
                unit: Unit::Number,
                queries: &[
                    (of_policy!("doctorkafka_advice"), "recommended, {{policy}}"),
                    (
                        "max by (policy, rule) (doctorkafka_refusals{policy=~\"$policy\"})",
                        "refused by {{rule}}, {{policy}}",
                    ),
                ],
            },
            Panel {
                title: "Treatment under way",
                description: "Partitions of the treatment that is being carried out: as planned already, and still waiting.",
                show: Show::Stack,
                unit: Unit::Number,
                queries: &[(
                    "max by (policy, progress) (doctorkafka_treatment_partitions{policy=~\"$policy\"})",
                    "{{progress}}, {{policy}}",
                )],
            },
            Panel {
                title: "Treatments ended",
                description: "Treatments by how they ended.",
                show: Show::Stack,
                unit: Unit::Number,
                queries: &[(
                    "sum by (end) (increase(doctorkafka_treatments_total{policy=~\"$policy\"}[$__rate_interval]))",
                    "{{end}}",
                )],
            },
            Panel {
                title: "Held, and throttles left",
                description: "1 while a rule keeps a treatment from going on; brokers that still have the throttle of one that has ended.",
                show: Show::Lines,
                unit: Unit::Number,
                queries: &[
                    (of_policy!("doctorkafka_treatment_held"), "held, {{policy}}"),
                    (of_policy!("doctorkafka_throttles_left"), "throttles left, {{policy}}"),
                ],
            },
        ],
    },
    Row {
        title: "Operators",
        panels: &[
            Panel {
                title: "Leader",
                description: "1 for the operator that leads, 0 for those that stand by.",
                show: Show::Lines,
                unit: Unit::Number,
                queries: &[("max by (instance) (doctorkafka_leader)", "{{instance}}")],
            },
            Panel {
                title: "Releases",
                description: "Operators and collectors by release.",
                show: Show::Lines,
                unit: Unit::Number,
                queries: &[
                    ("count by (version) (doctorkafka_build_info)", "operator {{version}}"),
                    (
                        "count by (version) (doctorkafka_sidecar_info{namespace=~\"$namespace\", broker=~\"$broker\"})",
                        "collector {{version}}",
                    ),
                ],
            },
            Panel {
                title: "What keeps a policy from being in force",
                description: "1 for a policy that cannot be, one whose Kafka is watched by another, and missing topics.",
                show: Show::Lines,
                unit: Unit::Number,
                queries: &[
                    (of_policy!("doctorkafka_policy_refused"), "refused, {{policy}}"),
                    (of_policy!("doctorkafka_policy_conflict"), "conflict, {{policy}}"),
                    (of_policy!("doctorkafka_topics_failing"), "topics missing, {{policy}}"),
                ],
            },
            Panel {
                title: "Actions log",
                description: "Records that wait for the actions log, 1 while it cannot be written, and records given up.",
                show: Show::Lines,
                unit: Unit::Number,
                queries: &[
                    (of_policy!("doctorkafka_outbox_records"), "waiting, {{policy}}"),
                    (of_policy!("doctorkafka_actions_log_failing"), "failing, {{policy}}"),
                    (
                        "sum by (policy) (increase(doctorkafka_outbox_dropped_total{policy=~\"$policy\"}[$__rate_interval]))",
                        "given up, {{policy}}",
                    ),
                ],
            },
            Panel {
                title: "Status writes",
                description: "Writes of policies' status to Kubernetes a second.",
                show: Show::Lines,
                unit: Unit::PerSecond,
                queries: &[(
                    "sum by (policy) (rate(doctorkafka_status_writes_total{policy=~\"$policy\"}[$__rate_interval]))",
                    "{{policy}}",
                )],
            },
            Panel {
                title: "Answering Prometheus",
                description: "How long each operator took to answer Prometheus.",
                show: Show::Lines,
                unit: Unit::Seconds,
                queries: &[(
                    "scrape_duration_seconds and on (job, namespace, instance) doctorkafka_build_info",
                    "{{instance}}",
                )],
            },
        ],
    },
    Row {
        title: "Collectors",
        panels: &[
            per_broker(
                "Reports published",
                "Reports that were made, and records that Kafka acknowledged, a second. Bad news goes to several partitions.",
                Unit::PerSecond,
                &[
                    (
                        of_broker!("rate(doctorkafka_sidecar_reports_total[$__rate_interval])"),
                        "broker {{broker}} made",
                    ),
                    (
                        of_broker!("rate(doctorkafka_sidecar_records_acknowledged_total[$__rate_interval])"),
                        "broker {{broker}} acknowledged",
                    ),
                ],
            ),
            per_broker(
                "Reports lost",
                "Records that gave way to newer ones, or that Kafka did not take, a second.",
                Unit::PerSecond,
                &[(
                    of_broker!("rate(doctorkafka_sidecar_records_lost_total[$__rate_interval])"),
                    "broker {{broker}} {{reason}}",
                )],
            ),
            per_broker(
                "Last acknowledgement",
                "Time since Kafka acknowledged a record of the collector.",
                Unit::Seconds,
                &[(of_broker!("doctorkafka_sidecar_last_acknowledgement_age_seconds"), "broker {{broker}}")],
            ),
            per_broker(
                "Buffered",
                "Reports waiting or in flight.",
                Unit::Number,
                &[(of_broker!("doctorkafka_sidecar_buffered_reports"), "broker {{broker}}")],
            ),
        ],
    },
];
