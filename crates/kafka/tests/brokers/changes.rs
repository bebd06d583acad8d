//! Requests that change the cluster, to brokers that misbehave on command: what is sent to whom, how often, and what is
//! said of it.

use anyhow::{Context, Result};
use doctorkafka_kafka::{Admin, AdminError, ClusterAdmin, Connection, PartitionError, TopicPartition};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const API_VERSIONS: i16 = 18;
const ELECT_LEADERS: i16 = 43;
const DESCRIBE_CLUSTER: i16 = 60;

const NOT_CONTROLLER: i16 = 41;
const REQUEST_TIMED_OUT: i16 = 7;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const ELECTION_NOT_NEEDED: i16 = 84;

/// What a broker does with the next ElectLeaders request.
#[derive(Clone)]
enum Reply {
    /// Refuses all of it.
    Refuse(i16),
    /// Gives this code for as many partitions of topic `t`, from this one on.
    Elect(i16, std::ops::Range<i32>),
    /// Closes the connection.
    Close,
}

/// Brokers 1 to N. Each answers ApiVersions, and DescribeCluster with broker 2 as the controller; ElectLeaders as told.
struct Fakes {
    addresses: Vec<String>,
    /// Which brokers got an ElectLeaders request, in order.
    asked: Arc<Mutex<Vec<usize>>>,
    _tasks: JoinSet<()>,
}

impl Fakes {
    async fn start<const N: usize>(scripts: [Vec<Reply>; N]) -> Result<Self> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..N {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?.to_string());
            listeners.push(listener);
        }
        let ports: Vec<u16> =
            listeners.iter().map(|one| one.local_addr().map(|at| at.port())).collect::<Result<_, _>>()?;
        let (asked, mut tasks) = (Arc::<Mutex<Vec<usize>>>::default(), JoinSet::new());
        for (index, (listener, script)) in listeners.into_iter().zip(scripts).enumerate() {
            let fake = Arc::new(Fake {
                id: index + 1,
                ports: ports.clone(),
                script: Mutex::new(script.into()),
                asked: Arc::clone(&asked),
            });
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let fake = Arc::clone(&fake);
                    // An error is the end of one connection.
                    connections.spawn(async move { fake.serve(&mut stream).await.is_ok() });
                }
            });
        }
        Ok(Self { addresses, asked, _tasks: tasks })
    }

    fn admin(&self) -> Result<Admin> {
        Ok(Admin::new(Connection::new(&self.addresses.join(","), "test")?).with_timeout(TIMEOUT))
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().expect("nothing panics with it").clone()
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);

struct Fake {
    id: usize,
    ports: Vec<u16>,
    script: Mutex<VecDeque<Reply>>,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Fake {
    async fn serve(&self, stream: &mut TcpStream) -> Result<()> {
        loop {
            let mut request = vec![0; usize::try_from(stream.read_i32().await?)?];
            stream.read_exact(&mut request).await?;
            let key = i16::from_be_bytes(request[..2].try_into()?);
            let mut answer = request[4..8].to_vec(); // the correlation id
            match key {
                API_VERSIONS => answer.extend(api_versions()),
                DESCRIBE_CLUSTER => answer.extend(self.cluster()),
                ELECT_LEADERS => {
                    self.asked.lock().expect("nothing panics with it").push(self.id);
                    let reply = self.script.lock().expect("nothing panics with it").pop_front();
                    match reply.context("asked more often than the test foresees")? {
                        Reply::Refuse(code) => answer.extend(elected(code, 0, 0..0)),
                        Reply::Elect(code, partitions) => answer.extend(elected(0, code, partitions)),
                        Reply::Close => return Ok(()),
                    }
                }
                other => anyhow::bail!("API key {other} is not foreseen"),
            }
            stream.write_i32(i32::try_from(answer.len())?).await?;
            stream.write_all(&answer).await?;
        }
    }

    fn cluster(&self) -> Vec<u8> {
        let mut body = vec![0]; // no tags in the header
        body.extend([0; 4 + 2]); // throttle time, error
        body.push(0); // no message
        body.extend(text("fake"));
        body.extend(2_i32.to_be_bytes());
        body.extend(length(self.ports.len()));
        for (id, port) in (1_i32..).zip(&self.ports) {
            body.extend(id.to_be_bytes());
            body.extend(text("127.0.0.1"));
            body.extend(i32::from(*port).to_be_bytes());
            body.extend([0, 0]); // no rack, no tags
        }
        body.extend([0; 4 + 1]); // operations, tags
        body
    }
}

/// Version 3, in the header without tags that this answer always has.
fn api_versions() -> Vec<u8> {
    let mut body = vec![0, 0];
    let offered = [(API_VERSIONS, 3_i16), (ELECT_LEADERS, 2), (DESCRIBE_CLUSTER, 0)];
    body.extend(length(offered.len()));
    for (key, version) in offered {
        for number in [key, version, version] {
            body.extend(number.to_be_bytes());
        }
        body.push(0);
    }
    body.extend([0; 4 + 1]);
    body
}

/// Version 2.
fn elected(refusal: i16, code: i16, partitions: std::ops::Range<i32>) -> Vec<u8> {
    let mut body = vec![0];
    body.extend([0; 4]);
    body.extend(refusal.to_be_bytes());
    body.extend(length(1));
    body.extend(text("t"));
    body.extend(length(partitions.len()));
    for partition in partitions {
        body.extend(partition.to_be_bytes());
        body.extend(code.to_be_bytes());
        body.extend([0, 0]); // no message, no tags
    }
    body.extend([0, 0]);
    body
}

/// The compact form: one more than the length, seven bits a byte.
fn length(length: usize) -> Vec<u8> {
    let (mut rest, mut bytes) = (length + 1, Vec::new());
    while rest >= 0x80 {
        bytes.push((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    bytes.push(rest as u8);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [length(text.len()), text.as_bytes().to_vec()].concat()
}

fn partitions(count: i32) -> Vec<TopicPartition> {
    (0..count).map(|partition| TopicPartition { topic: "t".to_owned(), partition }).collect()
}

#[tokio::test]
async fn a_change_that_gets_no_answer_is_not_sent_again() -> Result<()> {
    let brokers = Fakes::start([vec![Reply::Close], vec![Reply::Elect(0, 0..1)]]).await?;
    let error = brokers.admin()?.elect_preferred(&partitions(1)).await.expect_err("no answer");
    assert!(matches!(error, AdminError::Unanswered { .. }), "{error}");
    assert!(error.may_have_been_done());
    let text = error.to_string();
    let sent = format!("ElectLeaders of 1 partition: sent to {}, which did not answer", brokers.addresses[0]);
    assert_eq!(text, format!("{sent}: the connection was closed; it may have been done"));
    assert_eq!(brokers.asked(), [1]);
    Ok(())
}

#[tokio::test]
async fn a_change_goes_past_brokers_that_refuse_connections_or_hang() -> Result<()> {
    let brokers = Fakes::start([vec![Reply::Elect(ELECTION_NOT_NEEDED, 0..1)]]).await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let closed = doctorkafka_testbed::free_port()?;
    let bootstrap = format!("127.0.0.1:{closed},{},{}", silent.local_addr()?, brokers.addresses[0]);
    let admin = Admin::new(Connection::new(&bootstrap, "test")?).with_timeout(TIMEOUT);
    let start = Instant::now();
    let outcomes = admin.elect_preferred(&partitions(1)).await?;
    assert_eq!(outcomes[0].result, Ok(()));
    assert!(start.elapsed() < TIMEOUT, "took {:?}", start.elapsed());

    // Not one that could take it: it was not done, and that is known.
    let admin = Admin::new(Connection::new(&format!("127.0.0.1:{closed}"), "test")?);
    let error = admin.elect_preferred(&partitions(1)).await.expect_err("nothing listens");
    assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
    assert!(!error.may_have_been_done());
    Ok(())
}

#[tokio::test]
async fn a_broker_that_is_not_the_controller_leads_to_the_one_that_is() -> Result<()> {
    let brokers =
        Fakes::start([vec![Reply::Refuse(NOT_CONTROLLER)], vec![Reply::Elect(0, 0..2)], vec![]]).await?;
    let outcomes = brokers.admin()?.elect_preferred(&partitions(2)).await?;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    assert_eq!(brokers.asked(), [1, 2]);
    Ok(())
}

#[tokio::test]
async fn a_controller_that_is_never_there_is_asked_four_times() -> Result<()> {
    let refuse = Reply::Refuse(NOT_CONTROLLER);
    let brokers = Fakes::start([vec![refuse.clone()], vec![refuse; 3]]).await?;
    let error = brokers.admin()?.elect_preferred(&partitions(1)).await.expect_err("no controller");
    assert!(matches!(&error, AdminError::Refused { code, .. } if code == "NotController"), "{error}");
    // It may have been the controller, and stepped down while it did it.
    assert!(error.may_have_been_done());
    assert_eq!(brokers.asked(), [1, 2, 2, 2]);
    Ok(())
}

#[tokio::test]
async fn a_try_that_may_have_been_done_is_not_forgotten_over_one_that_was_not() -> Result<()> {
    let replies = vec![Reply::Refuse(REQUEST_TIMED_OUT), Reply::Refuse(CLUSTER_AUTHORIZATION_FAILED)];
    let brokers = Fakes::start([replies]).await?;
    let error = brokers.admin()?.elect_preferred(&partitions(1)).await.expect_err("refused twice");
    assert!(error.may_have_been_done(), "{error}");
    assert_eq!(brokers.asked(), [1, 1]);
    Ok(())
}

#[tokio::test]
async fn what_is_known_of_earlier_requests_survives_a_later_one_that_fails() -> Result<()> {
    let at = partitions(1_200);
    let brokers = Fakes::start([vec![Reply::Elect(0, 0..500), Reply::Close]]).await?;
    let outcomes = brokers.admin()?.elect_preferred(&at).await?;
    assert!(outcomes.iter().map(|outcome| &outcome.at).eq(&at));
    assert!(outcomes[..500].iter().all(|outcome| outcome.result.is_ok()));
    for (outcomes, code) in
        [(&outcomes[500..1_000], PartitionError::UNANSWERED), (&outcomes[1_000..], PartitionError::NOT_SENT)]
    {
        for outcome in outcomes {
            let error = outcome.result.as_ref().expect_err("not known to be done");
            assert_eq!((error.code.as_str(), error.retriable), (code, true));
        }
    }
    assert_eq!(brokers.asked(), [1, 1]);

    // A refusal is an answer: it was not done.
    let refuse = Reply::Refuse(CLUSTER_AUTHORIZATION_FAILED);
    let brokers = Fakes::start([vec![Reply::Elect(0, 0..500), refuse]]).await?;
    let outcomes = brokers.admin()?.elect_preferred(&at).await?;
    let codes: Vec<(&str, bool)> = [499, 500, 1_199]
        .map(|place| outcomes[place].result.as_ref().err().map_or(("", true), |e| (&*e.code, e.retriable)))
        .into();
    assert_eq!(codes, [("", true), ("ClusterAuthorizationFailed", false), (PartitionError::NOT_SENT, true)]);
    Ok(())
}

#[tokio::test]
async fn a_partition_that_the_answer_leaves_out_is_not_taken_for_done() -> Result<()> {
    let brokers = Fakes::start([vec![Reply::Elect(0, 0..1)]]).await?;
    let outcomes = brokers.admin()?.elect_preferred(&partitions(2)).await?;
    assert_eq!(outcomes[0].result, Ok(()));
    let error = outcomes[1].result.as_ref().expect_err("not answered");
    assert_eq!((error.code.as_str(), error.retriable), (PartitionError::UNANSWERED, true));
    Ok(())
}
