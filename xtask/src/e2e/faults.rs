//! What befalls pods: each time the state, its cause and an Event.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::install::rolled_out;
use super::watch::all_healthy;
use super::world::{KAFKA, POLICY, World};

const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// Looks until a broker is in one of `wanted` (`state reason`), and then until all is well; the Events since `before`
/// tell the same.
async fn comes_and_goes(world: &World, id: i32, wanted: &[&str], before: &BTreeSet<String>) -> Result<()> {
    let what = format!("broker {id} to be {}", wanted.join(" or "));
    let seen = world.until(&what, SEEN_WITHIN, || async {
        let brokers = world.brokers().await?;
        let broker = brokers.iter().find(|broker| broker.id == id);
        let found = broker.is_some_and(|b| wanted.contains(&format!("{} {}", b.state, b.reason).as_str()));
        let shown = broker.map_or_else(|| "no such broker".to_owned(), ToString::to_string);
        Ok(if found { Ok(shown) } else { Err(shown) })
    });
    println!("  {}", seen.await?);
    rolled_out(world).await?;
    all_healthy(world).await?;
    let about = format!("broker {id}: ");
    let events = events(world).await?;
    let new: Vec<&String> = events.difference(before).filter(|event| event.contains(&about)).collect();
    for event in &new {
        println!("  Event {event}");
    }
    ensure!(new.iter().any(|event| event.starts_with("Warning")), "no Event warns of broker {id}");
    ensure!(new.iter().any(|event| event.contains(" Recovered ")), "no Event tells that broker {id} is back");
    Ok(())
}

/// The Events about the policy, each with its time, reason and text.
async fn events(world: &World) -> Result<BTreeSet<String>> {
    let selector = format!("--field-selector=involvedObject.name={POLICY}");
    let format = "--output=jsonpath={range .items[*]}{.type} {.reason} {.message} ({.metadata.name} {.count}{.series.count}){\"\\n\"}{end}";
    let text = world.kubectl(&["get", "events", "--namespace", KAFKA, &selector, format]).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The StatefulSet makes the pod anew, under the same name and with the same volume.
pub async fn pod_deleted(world: &World) -> Result<()> {
    let before = events(world).await?;
    world.kubectl(&["delete", "pod", "kafka-2", "--namespace", KAFKA, "--wait=false"]).await?;
    comes_and_goes(world, 2, &["Unhealthy PodDeleted", "Unhealthy PodPending"], &before).await
}
