//! One connection to one broker: frames, correlation ids and the versions it offers.

use super::secure::{after_handshake, encrypt, is_tls};
use crate::{Connection, Tls};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ApiKey, ApiVersionsRequest,
        ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, DescribeClusterRequest,
        DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsRequest,
        DescribeLogDirsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
        DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ElectLeadersRequest,
        ElectLeadersResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
        ListOffsetsRequest, ListOffsetsResponse, ListPartitionReassignmentsRequest,
        ListPartitionReassignmentsResponse, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::{
        Decodable, Encodable, HeaderVersion, Message, StrBytes, VersionRange,
        encode_request_header_into_buffer,
    },
};
use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// The largest answer that is taken, bytes: what Kafka's own limit for a request is (`socket.request.max.bytes`).
const MAX_RESPONSE: usize = 100 * 1024 * 1024;

/// Offered by Kafka 2.4 and newer (KIP-511).
const API_VERSIONS: i16 = 3;

/// A kind of request. The `Request` of `kafka_protocol` would need the broker's half of every message as well.
pub(super) trait Request: Encodable + Message + Send + Sync {
    const KEY: ApiKey;
    const NAME: &'static str;
    type Response: Decodable + HeaderVersion + Send;
}

macro_rules! requests {
    ($($name:ident: $request:ty => $response:ty,)*) => {$(
        impl Request for $request {
            const KEY: ApiKey = ApiKey::$name;
            const NAME: &'static str = stringify!($name);
            type Response = $response;
        }
    )*};
}

requests! {
    AlterPartitionReassignments: AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse,
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse,
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse,
    DescribeCluster: DescribeClusterRequest => DescribeClusterResponse,
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse,
    DescribeLogDirs: DescribeLogDirsRequest => DescribeLogDirsResponse,
    DescribeQuorum: DescribeQuorumRequest => DescribeQuorumResponse,
    DescribeTopicPartitions: DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse,
    ElectLeaders: ElectLeadersRequest => ElectLeadersResponse,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse,
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse,
    ListPartitionReassignments: ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse,
    Metadata: MetadataRequest => MetadataResponse,
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse,
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse,
}

/// Why a request to a broker got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    #[error("connection refused")]
    Refused,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    Io(String),
    #[error("TLS: {0}")]
    Tls(String),
    /// The broker ended an encrypted connection with this alert.
    #[error("TLS: the broker ended the connection with alert {0}")]
    Alert(u8),
    #[error("{0}")]
    Authentication(String),
    #[error(
        "the connection was closed at its first request: the broker is ending, or this listener asks for SASL \
         authentication, and none is set"
    )]
    Unwelcome,
    #[error("the answer is not Kafka's: {0}")]
    NotKafka(String),
    #[error("is older than Kafka 2.4: ApiVersions {API_VERSIONS} answered {0}")]
    TooOld(ResponseError),
    #[error("{0}")]
    NotOffered(String),
    #[error("the request cannot be encoded: {0}")]
    Encode(String),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        if let Some(alert) = Tls::alert(&error) {
            return Self::Alert(alert);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Bytes to a broker and back, encrypted or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An open connection whose broker has said what it offers.
pub(super) struct Link {
    stream: Box<dyn Wire>,
    client_id: StrBytes,
    correlation_id: i32,
    offered: HashMap<i16, VersionRange>,
    /// Whether a request was answered for which a broker wants to know who asks, or it was told.
    welcome: bool,
    /// When to have authenticated again, where the broker ends sessions. It closes the connection at the first request after
    /// its end (KIP-368).
    pub(super) session_ends: Option<Instant>,
}

impl Link {
    /// Connects, asks for the versions on offer and authenticates. Bounding the time is up to the caller.
    pub(super) async fn open(address: &str, connection: &Connection) -> Result<Self, LinkError> {
        let mut link = Self::connect(address, connection.client_id(), connection.tls()).await?;
        if let Some(sasl) = connection.sasl() {
            link.welcome = true;
            link.authenticate(sasl).await?;
        }
        Ok(link)
    }

    /// Connects and asks for the versions on offer, which a broker tells anybody.
    pub(super) async fn connect(
        address: &str,
        client_id: &str,
        tls: Option<&Tls>,
    ) -> Result<Self, LinkError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = match tls {
            None => Box::new(stream),
            Some(tls) => encrypt(stream, address, tls).await?,
        };
        let mut link = Self {
            stream,
            client_id: StrBytes::from_string(client_id.to_owned()),
            correlation_id: 0,
            offered: HashMap::new(),
            welcome: false,
            session_ends: None,
        };
        let learned = link.learn_versions().await;
        learned.map_err(|error| tls.map_or(error.clone(), |tls| after_handshake(error, tls)))?;
        Ok(link)
    }

    /// Whether it is time for a new connection, because this one's session is about to end. A new one serves as well as
    /// authenticating again: nothing is under way between two requests.
    pub(super) fn is_outlived(&self) -> bool {
        self.session_ends.is_some_and(|end| end <= Instant::now())
    }

    async fn learn_versions(&mut self) -> Result<(), LinkError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("doctorkafka"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let body = self.exchange(&request, API_VERSIONS).await?;
        // A broker that does not know this version says so in the format of version 0.
        if let Some(code) = body.first_chunk::<2>()
            && let Some(error) = ResponseError::try_from_code(i16::from_be_bytes(*code))
        {
            return Err(LinkError::TooOld(error));
        }
        let answer = decode::<ApiVersionsRequest>(body, API_VERSIONS)?;
        self.offered = answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, VersionRange { min: api.min_version, max: api.max_version }))
            .collect();
        Ok(())
    }

    /// The newest version of a request that both sides speak.
    pub(super) fn version<R: Request>(&self) -> Result<i16, LinkError> {
        let Some(offered) = self.offered.get(&(R::KEY as i16)) else {
            return Err(LinkError::NotOffered(format!(
                "does not offer {} (API key {})",
                R::NAME,
                R::KEY as i16
            )));
        };
        let common = R::VERSIONS.intersect(offered);
        if common.is_empty() {
            return Err(LinkError::NotOffered(format!(
                "offers {} in versions {offered}, and one of {} is needed",
                R::NAME,
                R::VERSIONS
            )));
        }
        Ok(common.max)
    }

    /// Sends one request and waits for its answer. After an error, or when dropped half-way, the connection is of no
    /// further use.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, LinkError> {
        let body = match self.exchange(request, version).await {
            Err(LinkError::Closed) if !self.welcome => return Err(LinkError::Unwelcome),
            result => result?,
        };
        self.welcome = true;
        decode::<R>(body, version)
    }

    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<Bytes, LinkError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = self.frame(request, version).map_err(|error| LinkError::Encode(format!("{error:#}")))?;
        self.stream.write_all(&frame).await?;
        self.stream.flush().await?;
        let mut answer = self.read_frame().await?;
        let header =
            ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(not_kafka)?;
        if header.correlation_id != self.correlation_id {
            return Err(LinkError::NotKafka(format!(
                "correlation id {} instead of {}",
                header.correlation_id, self.correlation_id
            )));
        }
        Ok(answer)
    }

    fn frame<R: Request>(&self, request: &R, version: i16) -> Result<BytesMut, Box<dyn std::error::Error>> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        encode_request_header_into_buffer(&mut frame, &header)?;
        request.encode(&mut frame, version)?;
        let length = i32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    async fn read_frame(&mut self) -> Result<Bytes, LinkError> {
        let length = self.stream.read_i32().await?;
        if is_tls(length.to_be_bytes()) {
            return Err(LinkError::Tls(
                "this listener speaks TLS, and the connection is in plain text".into(),
            ));
        }
        let length = usize::try_from(length)
            .ok()
            .filter(|length| (4..=MAX_RESPONSE).contains(length))
            .ok_or_else(|| LinkError::NotKafka(format!("a frame of {length} bytes")))?;
        // The buffer grows with what arrives: a length alone, which anyone can send, costs no memory.
        let mut frame = BytesMut::new();
        let mut rest = (&mut self.stream).take(length as u64);
        while frame.len() < length {
            if rest.read_buf(&mut frame).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
        Ok(frame.freeze())
    }
}

fn decode<R: Request>(mut body: Bytes, version: i16) -> Result<R::Response, LinkError> {
    R::Response::decode(&mut body, version).map_err(not_kafka)
}

fn not_kafka(error: impl std::fmt::Display) -> LinkError {
    LinkError::NotKafka(format!("{error:#}"))
}
