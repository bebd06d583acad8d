//! The cluster, its quorum and its topics.

use super::{
    Admin, AdminError, BrokerInfo, ClusterDescription, PartitionInfo, QuorumLeader, TopicInfo,
    link::Request,
    model,
    pool::{Answer, Ask},
};
use doctorkafka_wire::BrokerId;
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeClusterRequest, DescribeClusterResponse, DescribeQuorumRequest, MetadataRequest,
        MetadataResponse, TopicName, describe_quorum_request, metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseTopic,
    },
    protocol::StrBytes,
};

/// From this version of DescribeCluster on, fenced brokers can be asked for (KIP-1073).
const SHOWS_FENCED: i16 = 2;

/// How often a request is made again after an answer that says "not now".
pub(super) const RETRIES: u32 = 3;

impl Admin {
    /// The cluster's id and brokers, fenced ones included where the brokers can tell (Kafka 4.0 and newer).
    /// DescribeCluster, API key 60.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], [`AdminError::Unsupported`] before Kafka 2.8, and [`AdminError::Refused`].
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let answer = self.describe().await?;
        let shows_fenced = answer.version >= SHOWS_FENCED;
        let mut brokers: Vec<BrokerInfo> = answer
            .body
            .brokers
            .into_iter()
            .map(|broker| BrokerInfo {
                id: BrokerId(broker.broker_id.0),
                host: broker.host.to_string(),
                port: u16::try_from(broker.port).unwrap_or_default(),
                rack: broker.rack.map(|rack| rack.to_string()),
                fenced: broker.is_fenced,
            })
            .collect();
        brokers.sort_unstable_by_key(|broker| broker.id);
        self.learn(brokers.iter().map(BrokerInfo::address).collect());
        Ok(ClusterDescription { cluster_id: answer.body.cluster_id.to_string(), brokers, shows_fenced })
    }

    pub(super) async fn describe(&self) -> Result<Answer<DescribeClusterResponse>, AdminError> {
        let answer = self.general.ask_any(self.limits, &Describe).await?;
        match ResponseError::try_from_code(answer.body.error_code) {
            None => Ok(answer),
            Some(error) => Err(AdminError::Refused {
                request: DescribeClusterRequest::NAME,
                subject: "the cluster".to_owned(),
                address: answer.address,
                code: error.to_string(),
                message: answer.body.error_message.map(|message| message.to_string()),
            }),
        }
    }

    /// The active controller: the leader of the KRaft quorum. DescribeQuorum, API key 55.
    ///
    /// The controller id that Metadata and DescribeCluster give in KRaft is merely some live broker.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], [`AdminError::Refused`] (also while there is no leader), and
    /// [`AdminError::Unsupported`] by a cluster without KRaft.
    pub async fn quorum_leader(&self) -> Result<QuorumLeader, AdminError> {
        let mut retries = 0;
        loop {
            let answer = self.general.ask_any(self.limits, &Quorum).await?;
            let partition = answer.body.topics.first().and_then(|topic| topic.partitions.first());
            let code = match partition {
                _ if answer.body.error_code != 0 => answer.body.error_code,
                None => ResponseError::UnknownTopicOrPartition.code(),
                Some(partition) if partition.error_code != 0 => partition.error_code,
                Some(partition) if partition.leader_id.0 < 0 => ResponseError::LeaderNotAvailable.code(),
                Some(partition) => {
                    let id = BrokerId(partition.leader_id.0);
                    return Ok(QuorumLeader { id, epoch: partition.leader_epoch });
                }
            };
            let error = ResponseError::try_from_code(code).unwrap_or(ResponseError::UnknownServerError);
            if !error.is_retriable() || retries == RETRIES {
                return Err(AdminError::Refused {
                    request: DescribeQuorumRequest::NAME,
                    subject: "the controllers".to_owned(),
                    address: answer.address,
                    code: error.to_string(),
                    message: answer.body.error_message.map(|message| message.to_string()),
                });
            }
            retries += 1;
            self.pause().await;
        }
    }

    /// Topics with their partitions, by name; all of them for `None`. Topics that do not exist are left out of the
    /// answer. Metadata, API key 3.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], [`AdminError::Unsupported`] and [`AdminError::Refused`].
    pub async fn topics(&self, names: Option<&[&str]>) -> Result<Vec<TopicInfo>, AdminError> {
        let answer = self.general.ask_any(self.limits, &Topics(names)).await?;
        self.learn(addresses(&answer.body));
        let address = &answer.address;
        let mut topics = Vec::with_capacity(answer.body.topics.len());
        for topic in answer.body.topics {
            topics.extend(topic_info(topic, address)?);
        }
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }
}

pub(super) fn addresses(metadata: &MetadataResponse) -> Vec<String> {
    metadata.brokers.iter().map(broker_address).collect()
}

pub(super) fn broker_address(
    broker: &kafka_protocol::messages::metadata_response::MetadataResponseBroker,
) -> String {
    model::address(&broker.host, u16::try_from(broker.port).unwrap_or_default())
}

fn topic_info(topic: MetadataResponseTopic, address: &str) -> Result<Option<TopicInfo>, AdminError> {
    let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
    match ResponseError::try_from_code(topic.error_code) {
        Some(ResponseError::UnknownTopicOrPartition) => return Ok(None),
        // A topic whose partitions are without a leader is still a topic.
        None | Some(ResponseError::LeaderNotAvailable) => {}
        Some(error) => {
            return Err(AdminError::Refused {
                request: MetadataRequest::NAME,
                subject: format!("topic {name}"),
                address: address.to_owned(),
                code: error.to_string(),
                message: None,
            });
        }
    }
    let ids =
        |ids: Vec<kafka_protocol::messages::BrokerId>| ids.into_iter().map(|id| BrokerId(id.0)).collect();
    let mut partitions: Vec<PartitionInfo> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionInfo {
            partition: partition.partition_index,
            leader: Some(BrokerId(partition.leader_id.0)).filter(|leader| leader.0 >= 0),
            replicas: ids(partition.replica_nodes),
            isr: ids(partition.isr_nodes),
            eligible: None,
        })
        .collect();
    partitions.sort_unstable_by_key(|partition| partition.partition);
    Ok(Some(TopicInfo { name, id: topic.topic_id.as_u128(), internal: topic.is_internal, partitions }))
}

struct Describe;

impl Ask for Describe {
    type Request = DescribeClusterRequest;

    fn request(&self, version: i16) -> DescribeClusterRequest {
        DescribeClusterRequest::default().with_include_fenced_brokers(version >= SHOWS_FENCED)
    }
}

struct Quorum;

impl Ask for Quorum {
    type Request = DescribeQuorumRequest;

    fn request(&self, _version: i16) -> DescribeQuorumRequest {
        let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
        let topic = describe_quorum_request::TopicData::default()
            .with_topic_name(TopicName(StrBytes::from_static_str("__cluster_metadata")))
            .with_partitions(vec![partition]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    }
}

pub(super) struct Topics<'a>(pub(super) Option<&'a [&'a str]>);

impl Ask for Topics<'_> {
    type Request = MetadataRequest;

    fn request(&self, _version: i16) -> MetadataRequest {
        let topic = |name: &&str| {
            let name = TopicName(StrBytes::from_string((*name).to_owned()));
            MetadataRequestTopic::default().with_name(Some(name))
        };
        MetadataRequest::default()
            .with_topics(self.0.map(|names| names.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(false)
    }
}
