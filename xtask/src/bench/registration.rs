//! Brokers that exist for the controller only: registered and kept alive by requests of our own, listening where a real
//! broker listens.
//!
//! BrokerRegistration (API key 62) and BrokerHeartbeat (63), KIP-631.

use anyhow::{Context, ensure};
use bytes::{Buf, BufMut, BytesMut};
use doctorkafka_kafka::{Admin, Connection};
use doctorkafka_testbed::KafkaCluster;
use kafka_protocol::{
    messages::{
        ApiKey, BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerId, BrokerRegistrationRequest,
        BrokerRegistrationResponse, RequestHeader,
        broker_registration_request::{Feature, Listener},
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const REGISTRATION_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 1;

/// A connection to the active controller.
pub struct Controller {
    stream: TcpStream,
    address: String,
    cluster_id: String,
}

impl Controller {
    /// Connects to the controller listener of the quorum's leader.
    ///
    /// # Errors
    /// It is not known or does not answer.
    pub async fn connect(kafka: &KafkaCluster) -> anyhow::Result<Self> {
        let admin = Admin::new(Connection::new(&kafka.bootstrap(), "bench")?);
        let leader = admin.quorum_leader().await?;
        let config = std::fs::read_to_string(kafka.broker(leader.id.0).config())?;
        let listeners =
            config.lines().find_map(|line| line.strip_prefix("listeners=")).context("listeners")?;
        let address =
            listeners.split(',').find_map(|l| l.strip_prefix("CONTROLLER://")).context("CONTROLLER")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address: address.to_owned(), cluster_id: kafka.cluster_id().to_owned() })
    }

    /// Connects anew, after an error.
    ///
    /// # Errors
    /// The controller does not take the connection.
    pub async fn reconnect(&mut self) -> anyhow::Result<()> {
        self.stream = TcpStream::connect(&self.address).await?;
        self.stream.set_nodelay(true)?;
        Ok(())
    }

    /// Registers a broker that listens at `host:port`; gives its epoch.
    ///
    /// # Errors
    /// The controller refuses.
    pub async fn register(&mut self, id: i32, host: &str, port: u16, listener: &str) -> anyhow::Result<i64> {
        let feature = |name: &'static str, min: i16, max: i16| {
            Feature::default()
                .with_name(StrBytes::from_static_str(name))
                .with_min_supported_version(min)
                .with_max_supported_version(max)
        };
        let listener = Listener::default()
            .with_name(StrBytes::from_string(listener.to_owned()))
            .with_host(StrBytes::from_string(host.to_owned()))
            .with_port(port)
            .with_security_protocol(0);
        let request = BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(id))
            .with_cluster_id(StrBytes::from_string(self.cluster_id.clone()))
            .with_incarnation_id(uuid(id))
            .with_listeners(vec![listener])
            .with_features(vec![
                feature("metadata.version", 1, 100),
                feature("kraft.version", 0, 10),
                feature("transaction.version", 0, 10),
                feature("group.version", 0, 10),
                feature("eligible.leader.replicas.version", 0, 10),
                feature("share.version", 0, 10),
                feature("streams.version", 0, 10),
            ])
            .with_log_dirs(vec![uuid(id)])
            .with_previous_broker_epoch(-1);
        let answer: BrokerRegistrationResponse =
            self.call(ApiKey::BrokerRegistration, REGISTRATION_VERSION, &request).await?;
        ensure!(answer.error_code == 0, "registration of broker {id} refused: error {}", answer.error_code);
        Ok(answer.broker_epoch)
    }

    /// Keeps a broker alive; gives whether it is still fenced.
    ///
    /// # Errors
    /// The controller refuses.
    pub async fn heartbeat(&mut self, id: i32, epoch: i64) -> anyhow::Result<bool> {
        let request = BrokerHeartbeatRequest::default()
            .with_broker_id(BrokerId(id))
            .with_broker_epoch(epoch)
            .with_current_metadata_offset(epoch)
            .with_want_fence(false);
        let answer: BrokerHeartbeatResponse =
            self.call(ApiKey::BrokerHeartbeat, HEARTBEAT_VERSION, &request).await?;
        ensure!(answer.error_code == 0, "heartbeat of broker {id} refused: error {}", answer.error_code);
        Ok(answer.is_fenced)
    }

    async fn call<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &Q,
    ) -> anyhow::Result<A> {
        let mut body = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("bench")));
        header.encode(&mut body, Q::header_version(version))?;
        request.encode(&mut body, version)?;
        let mut frame = BytesMut::new();
        frame.put_u32(u32::try_from(body.len())?);
        frame.put(body);
        self.stream.write_all(&frame).await?;
        let length = self.stream.read_u32().await?;
        let mut answer = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut answer).await?;
        let mut answer = bytes::Bytes::from(answer);
        answer.advance(4); // correlation id
        if A::header_version(version) >= 1 {
            answer.advance(1); // no tagged fields
        }
        A::decode(&mut answer, version)
    }
}

fn uuid(id: i32) -> uuid::Uuid {
    // Any but the reserved ones will do.
    uuid::Uuid::from_u128((0xd0c << 96) | id.unsigned_abs() as u128)
}
