//! Real Kafka and a real Kubernetes for tests and the demo; all but nodes on loopback and without root.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use doctorkafka_testbed::KafkaCluster;
//!
//! let kafka = KafkaCluster::builder().brokers(3).start().await?;
//! kafka.create_topic("orders", 6, 3).await?;
//! kafka.kill(2).await?; // SIGKILL
//! kafka.start(2).await?; // the same ports and data; returns when it serves
//! # Ok(())
//! # }
//! ```
//!
//! - [`KafkaCluster`]: KRaft brokers as processes, each to be killed, stopped, paused, resumed and started
//!   again, and if wanted a [`Proxy`] before each, and any [`Listener`] with TLS or SASL.
//! - [`ControlPlane`]: etcd and kube-apiserver with RBAC on; pods do not run.
//! - [`Node`]: a whole Kubernetes with kubelet, containerd and pods, in a network namespace of its own; needs root.
//! - [`Docker`]: an engine with Docker Compose, in namespaces of its own; needs root.
//! - [`Helm`]: to install charts. [`image`]: container images without a container engine.
//! - [`Process`]: any program, in the same manner. [`wait_until`]: bounded waiting on a condition.
//!   [`free_port`].
//!
//! Three promises. **Real parts**: nothing is simulated; Kafka comes from its Maven artifacts, Kubernetes is
//! built from its Go modules, each once per version into `$XDG_CACHE_HOME/doctorkafka/testbed` (else
//! `~/.cache/…`); what is missing on the machine for that (Java, Maven, Go) is named with how to install it.
//! **Nothing left behind**: whatever was started ends with the process that started it, and its data goes, be
//! it by return, panic, Ctrl-C or `kill -9` ([`process`] says how). **No collisions**: any number of testbeds
//! run beside each other; ports are free ones and stay taken.
//!
//! Measured on two busy cores: with its artifacts in Maven's local repository Kafka 4.3.1 is set up in 6 s, and
//! three brokers serve 10 s after their start. etcd and kube-apiserver are built in 13 min with empty caches, in
//! 20 s with Go's cache filled, and are ready after 5 s.

mod cache;
mod docker;
mod golang;
mod helm;
mod ids;
pub mod image;
mod kafka;
mod kubernetes;
mod node;
mod ports;
pub mod process;
mod proxy;
mod wait;

pub use docker::Docker;
pub use helm::Helm;
pub use kafka::{
    Broker, Certificates, Identity, KafkaCluster, KafkaClusterBuilder, KafkaVersion, Listener, live_brokers,
    unsecured_token,
};
pub use kubernetes::ControlPlane;
pub use node::{KAFKA_IMAGE, Node, NodeRecord, kafka_image, kafka_image_of_users};
pub use ports::{free_port, runtime_dir};
pub use process::{Process, Scratch, find_program};
pub use proxy::Proxy;
pub use wait::{Outcome, wait_until};
