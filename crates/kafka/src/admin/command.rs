//! Requests that change the cluster. Each is sent to one broker, and made again only after an answer that says "not now".

use super::{
    Admin, AdminError, Attempt, BrokerInfo, PartitionError, PartitionOutcome, TopicPartition,
    describe::RETRIES,
    link::{LinkError, Request},
    model,
    pool::{AnswerTo, Ask, SendError},
};
use doctorkafka_wire::BrokerId;
use kafka_protocol::{ResponseError, protocol::StrBytes};
use std::collections::{BTreeMap, HashMap};
use tokio::time::Instant;

/// Most partitions or topics in one request. Kafka makes at most 10,000 records of a request
/// (`QuorumController.MAX_RECORDS_PER_USER_OP`) and refuses it whole when it would be more.
pub(super) const CHUNK: usize = 500;

/// A broker's refusal: Kafka's error and its text.
pub(super) type Refusal = (ResponseError, Option<StrBytes>);

/// A request that changes something.
pub(super) trait Command: Ask {
    /// What it is about, for errors.
    fn subject(&self) -> String;

    /// Why it was refused as a whole, if it was.
    fn refusal(&self, response: &<Self::Request as Request>::Response) -> Option<Refusal>;
}

impl Admin {
    /// Sends a request to any broker, which forwards it to the controller; with ZooKeeper the controller is asked itself.
    ///
    /// Ends within four times the limit of one request to one broker: no try begins after twice the limit, and each has
    /// the limit once for connecting and once for the answer.
    pub(super) async fn command<C: Command>(&self, command: &C) -> Result<AnswerTo<C>, AdminError> {
        self.command_to(None, command).await
    }

    /// Sends a request to the broker at this address.
    pub(super) async fn command_at<C: Command>(
        &self,
        address: &str,
        command: &C,
    ) -> Result<AnswerTo<C>, AdminError> {
        self.command_to(Some(address), command).await
    }

    async fn command_to<C: Command>(
        &self,
        address: Option<&str>,
        command: &C,
    ) -> Result<AnswerTo<C>, AdminError> {
        let deadline = Instant::now() + 2 * self.limits.call;
        let (mut retries, mut earlier, mut controller) = (0, None, None::<String>);
        loop {
            let answer = match self.send(address.or(controller.as_deref()), command).await {
                Ok(answer) => answer,
                Err(error) => return Err(unless_uncertain(earlier, error)),
            };
            let Some((error, message)) = command.refusal(&answer.body) else {
                return Ok(answer);
            };
            let refused = AdminError::Refused {
                request: C::Request::NAME,
                subject: command.subject(),
                address: answer.address,
                code: error.to_string(),
                message: message.map(|message| message.to_string()),
            };
            let refused = unless_uncertain(earlier, refused);
            if !error.is_retriable() || retries == RETRIES {
                return Err(refused);
            }
            retries += 1;
            self.pause().await;
            if error == ResponseError::NotController
                && let Ok(found) = self.controller_address().await
            {
                controller = found;
            }
            if Instant::now() >= deadline {
                return Err(refused);
            }
            earlier = Some(refused);
        }
    }

    async fn send<C: Command>(&self, address: Option<&str>, command: &C) -> Result<AnswerTo<C>, AdminError> {
        let line = match address {
            Some(address) => {
                let line = self.general.line_to(address, self.limits).await;
                line.map_err(|error| unreachable(C::Request::NAME, address.to_owned(), error))?
            }
            None => self.general.line::<C::Request>(self.limits).await?,
        };
        let address = line.address().to_owned();
        self.general.send(line, self.limits, command).await.map_err(|error| match error {
            SendError::NotSent(error) => unreachable(C::Request::NAME, address, error),
            SendError::Sent(error) => AdminError::Unanswered {
                request: C::Request::NAME,
                subject: command.subject(),
                address,
                error: error.to_string(),
            },
        })
    }

    /// Where the controller is. Brokers with KRaft forward what is the controller's business and name any broker here;
    /// those with ZooKeeper say `NotController`.
    pub(super) async fn controller_address(&self) -> Result<Option<String>, AdminError> {
        let cluster = self.describe().await?.body;
        let controller = cluster.brokers.iter().find(|broker| broker.broker_id == cluster.controller_id);
        Ok(controller
            .map(|broker| model::address(&broker.host, u16::try_from(broker.port).unwrap_or_default())))
    }

    /// Where each broker is, fenced ones included where the cluster shows them.
    pub(super) async fn broker_addresses(&self) -> Result<BTreeMap<BrokerId, String>, AdminError> {
        let cluster = self.describe_cluster().await?;
        Ok(cluster.brokers.iter().map(|broker| (broker.id, BrokerInfo::address(broker))).collect())
    }

    /// How long the controller may take, milliseconds: less than we wait, so that its own answer comes first.
    pub(super) fn server_timeout_ms(&self) -> i32 {
        i32::try_from(self.limits.call.as_millis() * 4 / 5).unwrap_or(i32::MAX)
    }
}

/// The error for a broker that is asked for by its id and is not among those that the cluster names.
pub(super) fn no_such_broker(request: &'static str, broker: BrokerId) -> AdminError {
    let attempt = Attempt {
        address: format!("broker {broker}"),
        error: "the cluster does not name it: it is not registered, or is fenced and Kafka older than 4.0"
            .to_owned(),
    };
    AdminError::Unreachable { request, attempts: vec![attempt] }
}

/// The error for one broker that did not answer a request that changes nothing, or did not get one that does.
pub(super) fn unreachable(request: &'static str, address: String, error: LinkError) -> AdminError {
    match error {
        LinkError::NotOffered(reason) => AdminError::Unsupported { request, address, reason },
        error => {
            let attempt = Attempt { address, error: error.to_string() };
            AdminError::Unreachable { request, attempts: vec![attempt] }
        }
    }
}

/// The error of the latest try, unless an earlier one may have been done and this one was not.
fn unless_uncertain(earlier: Option<AdminError>, latest: AdminError) -> AdminError {
    earlier.filter(|earlier| earlier.may_have_been_done() && !latest.may_have_been_done()).unwrap_or(latest)
}

/// `1 partition`, `2 partitions`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The name of a topic as `kafka_protocol` wants it.
pub(super) fn text(name: &str) -> StrBytes {
    StrBytes::from_string(name.to_owned())
}

/// Kafka's answers for the partitions of one request.
#[derive(Default)]
pub(super) struct Answers(HashMap<TopicPartition, Result<(), PartitionError>>);

impl Answers {
    /// Notes one partition's answer. Errors in `fine` ask for nothing more and are successes.
    pub(super) fn note(
        &mut self,
        topic: &str,
        partition: i32,
        code: i16,
        message: Option<&StrBytes>,
        fine: ResponseError,
    ) {
        let result = match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(error) if error == fine => Ok(()),
            Some(error) => Err(PartitionError {
                code: error.to_string(),
                message: message.map(ToString::to_string),
                // The controller says it, and it knows all partitions there are.
                retriable: error.is_retriable() && error != ResponseError::UnknownTopicOrPartition,
            }),
        };
        self.0.insert(TopicPartition { topic: topic.to_owned(), partition }, result);
    }
}

/// What is known of the partitions of a call that takes several requests.
#[derive(Default)]
pub(super) struct Outcomes(Vec<PartitionOutcome>);

impl Outcomes {
    /// A request was answered.
    pub(super) fn answered<'a>(
        &mut self,
        asked: impl Iterator<Item = &'a TopicPartition>,
        answers: &Answers,
    ) {
        for at in asked {
            let result = answers.0.get(at).cloned().unwrap_or_else(|| {
                let message = Some("the answer does not mention it".to_owned());
                Err(PartitionError { code: PartitionError::UNANSWERED.to_owned(), message, retriable: true })
            });
            self.0.push(PartitionOutcome { at: at.clone(), result });
        }
    }

    /// A request failed, and those after it are not made. When nothing is known of any partition, neither is there
    /// anything to lose, and the error is what the caller gets.
    pub(super) fn failed<'a>(
        mut self,
        asked: impl Iterator<Item = &'a TopicPartition>,
        rest: impl Iterator<Item = &'a TopicPartition>,
        error: AdminError,
    ) -> Result<Vec<PartitionOutcome>, AdminError> {
        if self.0.is_empty() {
            return Err(error);
        }
        let ours = |code: &str| PartitionError {
            code: code.to_owned(),
            message: Some(error.to_string()),
            retriable: true,
        };
        let of_asked = match &error {
            _ if error.may_have_been_done() => ours(PartitionError::UNANSWERED),
            AdminError::Refused { code, .. } => PartitionError { retriable: false, ..ours(code) },
            _ => ours(PartitionError::NOT_SENT),
        };
        let of_rest = ours(PartitionError::NOT_SENT);
        let mut note = |at: &TopicPartition, error: &PartitionError| {
            self.0.push(PartitionOutcome { at: at.clone(), result: Err(error.clone()) });
        };
        asked.for_each(|at| note(at, &of_asked));
        rest.for_each(|at| note(at, &of_rest));
        Ok(self.0)
    }

    /// All requests were answered.
    pub(super) fn finish(self) -> Vec<PartitionOutcome> {
        self.0
    }
}
