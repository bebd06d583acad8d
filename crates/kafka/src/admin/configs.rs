//! Settings of topics and brokers: read, set, deleted.

use super::{
    Admin, AdminError, ConfigChange, ConfigResource, DynamicConfigs,
    command::{CHUNK, Command, Refusal, counted, no_such_broker, text, unreachable},
    link::Request,
    pool::{AnswerTo, Ask},
};
use doctorkafka_wire::BrokerId;
use futures::{StreamExt, TryStreamExt, stream};
use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeConfigsRequest, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::DescribeConfigsResult,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
};
use std::collections::BTreeMap;

/// `ConfigResource.Type`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// `DescribeConfigsResponse.ConfigSource`: where a value in force comes from. What was set on the resource itself wins over
/// every other source.
const SET_ON_TOPIC: i8 = 1;
const SET_ON_BROKER: i8 = 2;

/// `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// How many brokers are asked at the same time.
const CONCURRENCY: usize = 8;

const MIN_IN_SYNC: &str = "min.insync.replicas";

impl ConfigResource {
    fn key(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (TOPIC, name.clone()),
            Self::Broker(id) => (BROKER, id.to_string()),
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::Topic(name) => format!("topic {name}"),
            Self::Broker(id) => format!("broker {id}"),
        }
    }
}

impl Admin {
    /// What was set on these resources. Needs DESCRIBE_CONFIGS on the topics and on the cluster.
    pub(super) async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<DynamicConfigs, AdminError> {
        let mut configs = DynamicConfigs::new();
        for (resource, result) in self.describe_resources(resources, None).await? {
            let own = match resource {
                ConfigResource::Topic(_) => SET_ON_TOPIC,
                ConfigResource::Broker(_) => SET_ON_BROKER,
            };
            let set = result.configs.into_iter().filter(|config| config.config_source == own);
            // Without a value: secret.
            let values = set.filter_map(|config| Some((config.name.to_string(), config.value?.to_string())));
            configs.insert(resource, values.collect());
        }
        Ok(configs)
    }

    /// The `min.insync.replicas` in force for each topic. Needs DESCRIBE_CONFIGS on the topics.
    pub(super) async fn effective_min_insync_replicas(
        &self,
        topics: &[&str],
    ) -> Result<BTreeMap<String, i32>, AdminError> {
        let resources: Vec<ConfigResource> =
            topics.iter().map(|name| ConfigResource::Topic((*name).to_owned())).collect();
        let mut found = BTreeMap::new();
        for (resource, result) in self.describe_resources(&resources, Some(MIN_IN_SYNC)).await? {
            let value = result.configs.iter().find(|config| *config.name == *MIN_IN_SYNC);
            let value = value.and_then(|config| config.value.as_deref()?.parse().ok());
            if let (ConfigResource::Topic(name), Some(value)) = (resource, value) {
                found.insert(name, value);
            }
        }
        Ok(found)
    }

    async fn describe_resources(
        &self,
        resources: &[ConfigResource],
        only: Option<&'static str>,
    ) -> Result<Vec<(ConfigResource, DescribeConfigsResult)>, AdminError> {
        let (topics, brokers) = by_receiver(resources, |resource| resource);
        let mut found = Vec::with_capacity(resources.len());
        for chunk in topics.chunks(CHUNK) {
            let ask = Describe { resources: chunk, only };
            found.extend(described(chunk, self.general.ask_any(self.limits, &ask).await?)?);
        }
        if brokers.is_empty() {
            return Ok(found);
        }
        let addresses = self.broker_addresses().await?;
        let answers = brokers.into_iter().map(|(id, resource)| {
            let address = addresses.get(&id);
            async move {
                let request = DescribeConfigsRequest::NAME;
                let address = address.ok_or_else(|| no_such_broker(request, id))?;
                let resource = [resource];
                let ask = Describe { resources: &resource, only };
                let answer = self.general.ask(address, self.limits, &ask).await;
                described(&resource, answer.map_err(|error| unreachable(request, address.clone(), error))?)
            }
        });
        let answers: Vec<_> = answers.collect();
        let answers: Vec<_> = stream::iter(answers).buffered(CONCURRENCY).try_collect().await?;
        found.extend(answers.into_iter().flatten());
        Ok(found)
    }

    /// Changes settings, first those of topics, then those of brokers. When one broker fails, the others are changed
    /// none the less, because throttles have to be removed wherever they can be; one of the failures is the error. Needs
    /// ALTER_CONFIGS on the topics and on the cluster.
    pub(super) async fn incremental_alter_configs(&self, changes: &[ConfigChange]) -> Result<(), AdminError> {
        let (topics, brokers) = by_receiver(changes, |change| &change.resource);
        for chunk in topics.chunks(CHUNK) {
            self.command(&Alter(chunk)).await?;
        }
        if brokers.is_empty() {
            return Ok(());
        }
        let addresses = self.broker_addresses().await?;
        let results = brokers.into_iter().map(|(id, change)| {
            let address = addresses.get(&id);
            async move {
                let address =
                    address.ok_or_else(|| no_such_broker(IncrementalAlterConfigsRequest::NAME, id))?;
                self.command_at(address, &Alter(&[change])).await.map(|_answer| ())
            }
        });
        let results: Vec<_> = results.collect();
        let results: Vec<Result<(), AdminError>> =
            stream::iter(results).buffered(CONCURRENCY).collect().await;
        // One that may have been done says more than one that was not.
        let errors = results.into_iter().filter_map(Result::err);
        errors.min_by_key(|error| !error.may_have_been_done()).map_or(Ok(()), Err)
    }
}

/// Topics, which any broker knows, and brokers, of which each knows itself alone.
fn by_receiver<T>(items: &[T], resource: impl Fn(&T) -> &ConfigResource) -> (Vec<&T>, Vec<(BrokerId, &T)>) {
    let (mut topics, mut brokers) = (Vec::new(), Vec::new());
    for item in items {
        match resource(item) {
            ConfigResource::Topic(_) => topics.push(item),
            ConfigResource::Broker(id) => brokers.push((*id, item)),
        }
    }
    (topics, brokers)
}

/// The results for the resources that exist.
fn described(
    asked: &[&ConfigResource],
    answer: AnswerTo<Describe<'_>>,
) -> Result<Vec<(ConfigResource, DescribeConfigsResult)>, AdminError> {
    let by_key: BTreeMap<(i8, String), &ConfigResource> =
        asked.iter().map(|resource| (resource.key(), *resource)).collect();
    let mut found = Vec::with_capacity(asked.len());
    for result in answer.body.results {
        let Some(resource) = by_key.get(&(result.resource_type, result.resource_name.to_string())) else {
            continue;
        };
        match ResponseError::try_from_code(result.error_code) {
            None => found.push(((*resource).clone(), result)),
            Some(ResponseError::UnknownTopicOrPartition) => {}
            Some(error) => {
                return Err(AdminError::Refused {
                    request: DescribeConfigsRequest::NAME,
                    subject: resource.subject(),
                    address: answer.address,
                    code: error.to_string(),
                    message: result.error_message.map(|message| message.to_string()),
                });
            }
        }
    }
    Ok(found)
}

struct Describe<'a> {
    resources: &'a [&'a ConfigResource],
    only: Option<&'static str>,
}

impl Ask for Describe<'_> {
    type Request = DescribeConfigsRequest;

    fn request(&self, _version: i16) -> DescribeConfigsRequest {
        let resources = self.resources.iter().map(|resource| {
            let (kind, name) = resource.key();
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(&name))
                .with_configuration_keys(self.only.map(|name| vec![text(name)]))
        });
        DescribeConfigsRequest::default().with_resources(resources.collect())
    }
}

struct Alter<'a>(&'a [&'a ConfigChange]);

impl Ask for Alter<'_> {
    type Request = IncrementalAlterConfigsRequest;

    fn request(&self, _version: i16) -> IncrementalAlterConfigsRequest {
        let resources = self.0.iter().map(|change| {
            let (kind, name) = change.resource.key();
            let configs = change.values.iter().map(|(name, value)| {
                AlterableConfig::default()
                    .with_name(text(name))
                    .with_config_operation(if value.is_some() { SET } else { DELETE })
                    .with_value(value.as_deref().map(text))
            });
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(&name))
                .with_configs(configs.collect())
        });
        IncrementalAlterConfigsRequest::default().with_resources(resources.collect())
    }
}

impl Command for Alter<'_> {
    fn subject(&self) -> String {
        match self.0 {
            [change] => change.resource.subject(),
            changes => counted(changes.len(), "topic"),
        }
    }

    fn refusal(&self, response: &IncrementalAlterConfigsResponse) -> Option<Refusal> {
        let changes: BTreeMap<(i8, String), &ConfigChange> =
            self.0.iter().map(|change| (change.resource.key(), *change)).collect();
        response.responses.iter().find_map(|result| {
            let error = ResponseError::try_from_code(result.error_code)?;
            let change = changes.get(&(result.resource_type, result.resource_name.to_string()));
            let only_deletes = change.is_some_and(|change| change.values.values().all(Option::is_none));
            if error == ResponseError::UnknownTopicOrPartition && only_deletes {
                return None;
            }
            let message = match (&result.error_message, self.0) {
                (Some(message), [_] | []) => Some(message.clone()),
                (Some(message), _) => Some(text(&format!("of {}: {message}", result.resource_name))),
                (None, [_] | []) => None,
                (None, _) => Some(text(&format!("of {}", result.resource_name))),
            };
            Some((error, message))
        })
    }
}
