//! Consumer groups of the classic protocol, seen and changed from outside: for tests in which members die.
//!
//! A member that dies is missed after its session. Tests that let many die do not wait for that: they do what the
//! coordinator does then. DescribeGroups (15) v0 and LeaveGroup (13) v0.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::KafkaCluster;
use super::wire::{Answer, ask, string};

const DESCRIBE_GROUPS: (i16, i16) = (15, 0);
const LEAVE_GROUP: (i16, i16) = (13, 0);
const WITHIN: Duration = Duration::from_secs(5);

/// UNKNOWN_MEMBER_ID: the member has left before.
const UNKNOWN_MEMBER: i16 = 25;

impl KafkaCluster {
    /// The member of a group that has partitions, if the group is stable and exactly one has.
    ///
    /// # Errors
    /// No running broker says that it coordinates the group.
    pub async fn only_holder(&self, group: &str) -> Result<Option<String>> {
        let mut body = Vec::new();
        body.extend(1_i32.to_be_bytes());
        string(&mut body, group);
        for address in self.running_addresses() {
            let Ok(answer) = ask(address, DESCRIBE_GROUPS, &body, WITHIN).await else { continue };
            if let Some(holders) = holders(&answer)? {
                return Ok(<[String; 1]>::try_from(holders).ok().map(|[holder]| holder));
            }
        }
        bail!("no broker coordinates group {group}")
    }

    /// Takes a member out of its group, as the group's coordinator does when it has not heard of it for a session.
    ///
    /// # Errors
    /// No running broker says that it coordinates the group.
    pub async fn expel(&self, group: &str, member: &str) -> Result<()> {
        let mut body = Vec::new();
        string(&mut body, group);
        string(&mut body, member);
        for address in self.running_addresses() {
            let Ok(answer) = ask(address, LEAVE_GROUP, &body, WITHIN).await else { continue };
            if matches!(Answer(&answer).i16()?, 0 | UNKNOWN_MEMBER) {
                return Ok(());
            }
        }
        bail!("no broker took member {member} out of group {group}")
    }

    fn running_addresses(&self) -> impl Iterator<Item = &str> {
        self.brokers().iter().filter(|broker| broker.pid().is_some()).map(|broker| broker.address())
    }
}

/// Members with partitions; `None` when another broker has to be asked.
fn holders(answer: &[u8]) -> Result<Option<Vec<String>>> {
    let mut answer = Answer(answer);
    if answer.i32()? != 1 {
        bail!("one group was asked about");
    }
    let error = answer.i16()?;
    for _id_state_protocol_type_and_name in 0..4 {
        answer.string()?;
    }
    let mut holders = Vec::new();
    for _ in 0..answer.i32()? {
        let member = answer.string()?.context("a member without an id")?;
        answer.string()?; // client id
        answer.string()?; // host
        bytes(&mut answer)?; // what it has joined with
        let assigned = bytes(&mut answer)?;
        if has_partitions(assigned)? {
            holders.push(member.to_owned());
        }
    }
    Ok((error == 0).then_some(holders))
}

fn bytes<'a>(answer: &mut Answer<'a>) -> Result<&'a [u8]> {
    let length = answer.i32()?;
    answer.take(usize::try_from(length).unwrap_or_default())
}

/// Whether an assignment of the consumer protocol names a topic; it is empty while the group is not stable.
fn has_partitions(assignment: &[u8]) -> Result<bool> {
    if assignment.is_empty() {
        return Ok(false);
    }
    let mut assignment = Answer(assignment);
    assignment.i16()?; // version
    Ok(assignment.i32()? > 0)
}
