//! What is in a broker's directories.

use super::{
    Admin, AdminError, BrokerInfo, LogDir, ReplicaSize, TopicPartition,
    command::{no_such_broker, unreachable},
    link::Request,
    pool::Ask,
};
use doctorkafka_wire::BrokerId;
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeLogDirsRequest,
        describe_log_dirs_response::{DescribeLogDirsResult, DescribeLogDirsTopic},
    },
};

impl Admin {
    /// The directories of one broker, asked of itself. Needs DESCRIBE on the cluster.
    pub(super) async fn describe_log_dirs(&self, broker: BrokerId) -> Result<Vec<LogDir>, AdminError> {
        let request = DescribeLogDirsRequest::NAME;
        let address = self.broker_addresses().await?.remove(&broker);
        let address = address.ok_or_else(|| no_such_broker(request, broker))?;
        self.log_dirs_at(broker, address).await
    }

    /// The directories of a broker whose address is known, asked of itself: one request and no look at the cluster before
    /// it, for those who ask all brokers. DescribeLogDirs, API key 35; needs DESCRIBE on the cluster.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], [`AdminError::Unsupported`], and [`AdminError::Refused`], also when the broker lists no
    /// directory.
    pub async fn log_dirs_of(&self, broker: &BrokerInfo) -> Result<Vec<LogDir>, AdminError> {
        self.log_dirs_at(broker.id, broker.address()).await
    }

    async fn log_dirs_at(&self, broker: BrokerId, address: String) -> Result<Vec<LogDir>, AdminError> {
        let request = DescribeLogDirsRequest::NAME;
        let answer = self
            .general
            .ask(&address, self.limits, &DescribeAll)
            .await
            .map_err(|error| unreachable(request, address.clone(), error))?;
        let refused = |error: ResponseError, message: Option<&str>| AdminError::Refused {
            request,
            subject: format!("broker {broker}"),
            address: address.clone(),
            code: error.to_string(),
            message: message.map(str::to_owned),
        };
        if let Some(error) = ResponseError::try_from_code(answer.body.error_code) {
            return Err(refused(error, None));
        }
        if answer.body.results.is_empty() {
            let message = "it lists no directory, as Kafka before 3.2 does to whom it refuses (KIP-784)";
            return Err(refused(ResponseError::ClusterAuthorizationFailed, Some(message)));
        }
        let mut dirs: Vec<LogDir> = answer.body.results.into_iter().map(log_dir).collect();
        dirs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(dirs)
    }
}

fn log_dir(dir: DescribeLogDirsResult) -> LogDir {
    LogDir {
        path: dir.log_dir.to_string(),
        error: ResponseError::try_from_code(dir.error_code).map(|error| error.to_string()),
        // Negative when the broker does not know.
        total_bytes: u64::try_from(dir.total_bytes).ok(),
        usable_bytes: u64::try_from(dir.usable_bytes).ok(),
        replicas: dir.topics.into_iter().flat_map(replicas).collect(),
    }
}

fn replicas(topic: DescribeLogDirsTopic) -> impl Iterator<Item = ReplicaSize> {
    topic.partitions.into_iter().map(move |partition| ReplicaSize {
        at: TopicPartition { topic: topic.name.to_string(), partition: partition.partition_index },
        bytes: u64::try_from(partition.partition_size).unwrap_or_default(),
        future: partition.is_future_key,
    })
}

struct DescribeAll;

impl Ask for DescribeAll {
    type Request = DescribeLogDirsRequest;

    fn request(&self, _version: i16) -> DescribeLogDirsRequest {
        DescribeLogDirsRequest::default().with_topics(None)
    }
}
