//! Labels, annotations and names that injection gives or understands.

/// Label of pods and namespaces, and annotation of pods: `"true"` asks for a sidecar, `"false"` forbids one.
pub const INJECT: &str = "doctorkafka.dev/inject";

/// Annotation of a pod that got a sidecar: the release that injected it.
pub const INJECTED: &str = "doctorkafka.dev/injected";

/// Annotation: name of the policy, where several select the pod or none does.
pub const POLICY: &str = "doctorkafka.dev/policy";

/// Annotation: name of the broker's container.
pub const CONTAINER: &str = "doctorkafka.dev/container";

/// Annotation: the broker's `node.id`: a number, `auto`, `ordinal` or `ordinal+N`.
pub const BROKER_ID: &str = "doctorkafka.dev/broker-id";

/// Annotation: as whom the sidecar runs: `UID`, `UID:GID` or `none`.
pub const RUN_AS: &str = "doctorkafka.dev/run-as";

/// Annotation: the sidecar's image.
pub const IMAGE: &str = "doctorkafka.dev/sidecar-image";

/// Annotation: name of a Secret in the form of Strimzi's `KafkaUser`, whose user the sidecar is instead of the policy's.
pub const KAFKA_USER: &str = "doctorkafka.dev/kafka-user";

/// Annotation: a Prometheus page of the broker that the sidecar reads.
pub const SCRAPE: &str = "doctorkafka.dev/scrape";

/// Annotation of a mirror pod, by which a kubelet shows one of its static pods (`kubetypes.ConfigMirrorAnnotationKey`).
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The sidecar's name in a pod. Nothing in it sounds like Java: Strimzi's liveness probe takes any process whose program's
/// path contains that word for the broker.
pub const SIDECAR: &str = "doctorkafka-sidecar";

/// Volume with what the sidecar needs to connect.
pub const CREDENTIALS_VOLUME: &str = "doctorkafka-credentials";

/// Empty volume that lies where a service account's token would.
pub const NO_TOKEN_VOLUME: &str = "doctorkafka-no-token";

/// Where the credentials are mounted.
pub const CREDENTIALS_PATH: &str = "/etc/doctorkafka/credentials";

/// Where Kubernetes mounts a service account's token into every container that has no mount there
/// (`DefaultAPITokenMountPath`).
pub const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Name of the port with the sidecar's pages.
pub const PORT_NAME: &str = "doctor-metrics";

/// Its number, unless another container of the pod has it.
pub const PORT: i32 = 7070;
