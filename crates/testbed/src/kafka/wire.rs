//! The Kafka requests the testbed itself needs, written by hand.
//!
//! Kafka's own tools would do, but each call is a JVM that takes seconds, and the client under test must not
//! decide whether the cluster it is tested on is up. Versions are old ones without tagged fields, served by
//! 3.9 and by 4.x: Metadata (3) v1 and CreateTopics (19) v2.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const METADATA: (i16, i16) = (3, 1);
const CREATE_TOPICS: (i16, i16) = (19, 2);
/// TOPIC_ALREADY_EXISTS.
const EXISTS: i16 = 36;
/// No answer to these requests is larger.
const MAX_ANSWER: usize = 4 << 20;
/// How long a broker may take to answer what it knows by heart.
const METADATA_WITHIN: Duration = Duration::from_secs(2);
const CREATE_WITHIN: Duration = Duration::from_secs(20);

/// The ids of the brokers that the broker at `address` would send clients to: registered and not fenced.
/// Answered only by a broker that serves clients.
pub(crate) async fn live_brokers(address: &str) -> Result<Vec<i32>> {
    let mut body = Vec::new();
    body.extend(0_i32.to_be_bytes()); // no topics
    let answer = ask(address, METADATA, &body, METADATA_WITHIN).await?;
    Answer(&answer).brokers()
}

/// How many partitions of `topic` have a leader, as far as the broker at `address` knows; 0 if it does not
/// know the topic yet.
pub(crate) async fn led_partitions(address: &str, topic: &str) -> Result<usize> {
    Ok(partitions(address, topic).await?.into_iter().filter(|partition| partition.led).count())
}

/// A partition as a broker knows it.
struct Partition {
    led: bool,
    replicas: i32,
}

async fn partitions(address: &str, topic: &str) -> Result<Vec<Partition>> {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    string(&mut body, topic);
    let answer = ask(address, METADATA, &body, METADATA_WITHIN).await?;
    let mut answer = Answer(&answer);
    answer.brokers()?;
    answer.i32()?; // controller
    let mut partitions = Vec::new();
    for _ in 0..answer.i32()? {
        answer.i16()?; // error
        answer.string()?;
        answer.take(1)?; // is internal
        for _ in 0..answer.i32()? {
            answer.take(2 + 4)?; // error, index
            let led = answer.i32()? >= 0;
            let replicas = answer.i32()?;
            for _ in 0..replicas {
                answer.i32()?;
            }
            for _in_sync in 0..answer.i32()? {
                answer.i32()?;
            }
            partitions.push(Partition { led, replicas });
        }
    }
    Ok(partitions)
}

/// Where the replicas of a new topic are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Placement<'a> {
    /// So many partitions with so many replicas each, where Kafka likes.
    Anywhere(i32, i16),
    /// The brokers of each partition, the preferred leader first; as many for each.
    At(&'a [Vec<i32>]),
}

impl Placement<'_> {
    pub fn partitions(&self) -> usize {
        match self {
            Self::Anywhere(partitions, _) => usize::try_from(*partitions).unwrap_or_default(),
            Self::At(brokers) => brokers.len(),
        }
    }

    fn replicas(&self) -> i32 {
        match self {
            Self::Anywhere(_, replicas) => i32::from(*replicas),
            Self::At(brokers) => brokers.first().map_or(0, |first| first.len() as i32),
        }
    }

    fn write(&self, body: &mut Vec<u8>) {
        // Both are -1 where brokers are named.
        let (partitions, replicas, placed) = match self {
            Self::Anywhere(partitions, replicas) => (*partitions, *replicas, &[][..]),
            Self::At(placed) => (-1, -1, *placed),
        };
        body.extend(partitions.to_be_bytes());
        body.extend(replicas.to_be_bytes());
        body.extend((placed.len() as i32).to_be_bytes());
        for (partition, brokers) in (0_i32..).zip(placed) {
            body.extend(partition.to_be_bytes());
            body.extend((brokers.len() as i32).to_be_bytes());
            brokers.iter().for_each(|broker| body.extend(broker.to_be_bytes()));
        }
    }
}

/// Creates a topic with the broker's defaults. Any broker passes the request on to the controller, and again when the
/// controller does not answer in time; what it has done by then is no failure of the second try.
pub(crate) async fn create_topic(address: &str, topic: &str, placement: Placement<'_>) -> Result<()> {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    string(&mut body, topic);
    placement.write(&mut body);
    body.extend(0_i32.to_be_bytes()); // no settings
    body.extend((CREATE_WITHIN.as_millis() as i32).to_be_bytes());
    body.push(0); // not only a validation
    let answer = ask(address, CREATE_TOPICS, &body, CREATE_WITHIN + METADATA_WITHIN).await?;
    let mut answer = Answer(&answer);
    answer.i32()?; // throttled for
    for _ in 0..answer.i32()? {
        answer.string()?;
        let (code, message) = (answer.i16()?, answer.string()?);
        let done = match code {
            0 => true,
            EXISTS => {
                let found = partitions(address, topic).await?;
                found.len() == placement.partitions()
                    && found.iter().all(|one| one.replicas == placement.replicas())
            }
            _ => false,
        };
        if !done {
            bail!("topic {topic} was refused: {} (error code {code})", message.unwrap_or("no reason given"));
        }
    }
    Ok(())
}

pub(super) async fn ask(
    address: &str,
    (key, version): (i16, i16),
    body: &[u8],
    within: Duration,
) -> Result<Vec<u8>> {
    const CORRELATION: [u8; 4] = 1_i32.to_be_bytes();
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION);
    string(&mut request, "testbed");
    request.extend(body);
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&(request.len() as i32).to_be_bytes()).await?;
        stream.write_all(&request).await?;
        let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
        if !(4..=MAX_ANSWER).contains(&length) {
            return Err(std::io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await?;
        Ok(answer.split_off(CORRELATION.len()))
    };
    timeout(within, exchange)
        .await
        .with_context(|| format!("{address} did not answer request {key} within {} s", within.as_secs()))?
        .with_context(|| format!("{address} could not be asked request {key}"))
}

pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as i16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// What is left of an answer to read.
pub(super) struct Answer<'a>(pub(super) &'a [u8]);

impl<'a> Answer<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).context("an answer of a broker ends too early")?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub(super) fn string(&mut self) -> Result<Option<&'a str>> {
        match usize::try_from(self.i16()?) {
            Ok(length) => Ok(Some(std::str::from_utf8(self.take(length)?)?)),
            Err(_) => Ok(None),
        }
    }

    /// The head of a Metadata answer.
    fn brokers(&mut self) -> Result<Vec<i32>> {
        let mut ids = Vec::new();
        for _ in 0..self.i32()? {
            ids.push(self.i32()?);
            self.string()?; // host
            self.i32()?; // port
            self.string()?; // rack
        }
        Ok(ids)
    }
}
