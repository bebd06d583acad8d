//! Settings.

use super::Patient;
use crate::support::{EVENTUALLY, within};
use anyhow::Result;
use doctorkafka_kafka::{AdminError, ClusterAdmin, ConfigChange, ConfigResource};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::BrokerId;
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

fn topic(name: &str) -> ConfigResource {
    ConfigResource::Topic(name.to_owned())
}

fn broker(id: i32) -> ConfigResource {
    ConfigResource::Broker(BrokerId(id))
}

fn change(resource: ConfigResource, values: &[(&str, Option<&str>)]) -> ConfigChange {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
    ConfigChange { resource, values: values.collect() }
}

/// Waits until exactly this is set on a resource. Brokers learn it from the controller a little later.
async fn has(patient: &Patient, resource: &ConfigResource, expected: &[(&str, &str)]) -> Result<()> {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    wait_until(&format!("{resource:?} to have {expected:?}"), EVENTUALLY, || async {
        let found = patient.admin.configs(std::slice::from_ref(resource)).await.ok()?;
        (found.get(resource)? == &expected).then_some(())
    })
    .await
}

pub async fn throttles_come_and_go_and_other_settings_stay(patient: &Patient) -> Result<()> {
    let (orders, one, two) = (topic("order"), broker(1), broker(2));
    let others = [
        change(orders.clone(), &[("retention.ms", Some("123456789"))]),
        change(one.clone(), &[("max.connections.per.ip", Some("1000"))]),
    ];
    patient.admin.alter_configs(&others).await?;
    has(patient, &orders, &[("retention.ms", "123456789")]).await?;
    has(patient, &one, &[("max.connections.per.ip", "1000")]).await?;
    has(patient, &two, &[]).await?;

    let rates = [(LEADER_RATE, Some("10000000")), (FOLLOWER_RATE, Some("10000000"))];
    let replicas = [(LEADER_REPLICAS, Some("0:1,0:2")), (FOLLOWER_REPLICAS, Some("0:2"))];
    let throttles =
        [change(one.clone(), &rates), change(orders.clone(), &replicas), change(two.clone(), &rates)];
    patient.admin.alter_configs(&throttles).await?;
    let of_two = [(LEADER_RATE, "10000000"), (FOLLOWER_RATE, "10000000")];
    has(patient, &two, &of_two).await?;
    has(patient, &one, &[of_two[0], of_two[1], ("max.connections.per.ip", "1000")]).await?;
    let of_orders = [(LEADER_REPLICAS, "0:1,0:2"), (FOLLOWER_REPLICAS, "0:2"), ("retention.ms", "123456789")];
    has(patient, &orders, &of_orders).await?;

    let none =
        |of: &[(&'static str, Option<&str>)]| of.iter().map(|(name, _)| (*name, None)).collect::<Vec<_>>();
    let lifted = [
        change(one.clone(), &none(&rates)),
        change(orders.clone(), &none(&replicas)),
        change(two.clone(), &none(&rates)),
        // What went with its topic needs no deleting.
        change(topic("missing"), &none(&replicas)),
    ];
    // Deleting again changes nothing.
    for _ in 0..2 {
        patient.admin.alter_configs(&lifted).await?;
    }
    has(patient, &two, &[]).await?;
    has(patient, &one, &[("max.connections.per.ip", "1000")]).await?;
    has(patient, &orders, &[("retention.ms", "123456789")]).await?;

    let found = patient.admin.configs(&[topic("missing"), orders.clone()]).await?;
    assert_eq!(found.keys().collect::<Vec<_>>(), [&orders]);
    let error = patient.admin.alter_configs(&[change(topic("missing"), &replicas)]).await;
    let error = error.expect_err("there is no such topic").to_string();
    assert!(error.starts_with("IncrementalAlterConfigs of topic missing: 127.0.0.1:"), "{error}");
    assert!(error.contains("UnknownTopicOrPartition"), "{error}");
    let error = patient.admin.alter_configs(&[change(one, &[(LEADER_RATE, Some("much"))])]).await;
    let error = error.expect_err("it is no number");
    assert!(matches!(&error, AdminError::Refused { code, .. } if code.starts_with("Invalid")), "{error}");
    assert!(!error.may_have_been_done());
    Ok(())
}

pub async fn the_least_number_in_sync_is_known_wherever_it_was_set(patient: &Patient) -> Result<()> {
    let strict = patient.topic("strict", &[1, 2]).await?;
    let two = change(topic(&strict.topic), &[("min.insync.replicas", Some("2"))]);
    patient.admin.alter_configs(&[two]).await?;
    has(patient, &topic(&strict.topic), &[("min.insync.replicas", "2")]).await?;
    let expected = BTreeMap::from([("order".to_owned(), patient.min_in_sync), ("strict".to_owned(), 2)]);
    wait_until("every broker to know", EVENTUALLY, || async {
        let found = patient.admin.min_insync_replicas(&["strict", "missing", "order"]).await.ok()?;
        (found == expected).then_some(())
    })
    .await
}

pub async fn a_broker_that_is_down_keeps_its_settings_and_others_are_changed(
    patient: &Patient,
    dead: i32,
) -> Result<()> {
    for result in [
        patient.admin.configs(&[broker(1), broker(dead)]).await.map(|_| ()),
        patient
            .admin
            .alter_configs(&[
                change(broker(dead), &[(LEADER_RATE, Some("1"))]),
                change(broker(1), &[("max.connections.per.ip", None)]),
            ])
            .await,
    ] {
        let error = result.expect_err("it is down");
        assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
        assert!(!error.may_have_been_done());
    }
    has(patient, &broker(1), &[]).await
}

/// Asked in bytes, because ours never asks so: broker 1 for what is set on broker 2, and to change it.
pub async fn a_broker_neither_tells_nor_changes_the_settings_of_another(patient: &Patient) -> Result<()> {
    const BROKER: u8 = 4;
    const INVALID_REQUEST: i16 = 42;
    let text = |text: &str| [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat();
    let one_resource = [&1_i32.to_be_bytes()[..], &[BROKER], &text("2")].concat();
    let all_keys_no_synonyms = [&(-1_i32).to_be_bytes()[..], &[0]].concat();
    let delete = [&1_i32.to_be_bytes()[..], &text(LEADER_RATE), &[1], &(-1_i16).to_be_bytes(), &[0]].concat();
    // DescribeConfigs v1 and IncrementalAlterConfigs v0.
    for (key, version, rest) in [(32_i16, 1_i16, all_keys_no_synonyms), (44, 0, delete)] {
        let head =
            [&key.to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes(), &text("test")].concat();
        let request = [head, one_resource.clone(), rest].concat();
        let mut stream = TcpStream::connect(patient.kafka.broker(1).address()).await?;
        stream.write_i32(i32::try_from(request.len())?).await?;
        stream.write_all(&request).await?;
        let mut answer =
            vec![0; usize::try_from(within("the answer", EVENTUALLY, stream.read_i32()).await??)?];
        stream.read_exact(&mut answer).await?;
        // Correlation id, throttle time, number of results, error of the first one.
        assert_eq!(answer[..4], 7_i32.to_be_bytes());
        assert_eq!(answer[8..12], 1_i32.to_be_bytes());
        assert_eq!(answer[12..14], INVALID_REQUEST.to_be_bytes(), "API key {key}");
    }
    Ok(())
}
