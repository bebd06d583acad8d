//! The election: exactly one leads, through exits in order and out of order.

use crate::support::{EVENTUALLY, Of, connection, coordinator, group, leader_of, within};
use anyhow::{Context, Result};
use doctorkafka_kafka::{Admin, Connection, GroupElection, Standing, TopicSpec};
use doctorkafka_testbed::{KafkaCluster, Process, wait_until};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LOG: &str = "_doctor_actions_log";
const GROUP: &str = "doctorkafka-test";
const BOOTSTRAP: &str = "DOCTORKAFKA_TEST_BOOTSTRAP";

/// After the end of its session (6 s), a member that is gone is replaced at the next heartbeats.
const TAKE_OVER: Duration = Duration::from_secs(8);

struct Member {
    leads: watch::Receiver<Standing>,
    cancel: CancellationToken,
}

fn join(kafka: &KafkaCluster) -> Result<Member> {
    let cancel = CancellationToken::new();
    let leads = GroupElection::start(connection(kafka)?, GROUP.to_owned(), LOG, cancel.clone());
    Ok(Member { leads, cancel })
}

impl Member {
    fn leads(&self) -> bool {
        *self.leads.borrow() == Standing::Leading
    }

    async fn until_leading(&mut self) -> Result<()> {
        within("leadership", EVENTUALLY, self.leads.wait_for(|standing| *standing == Standing::Leading))
            .await??;
        Ok(())
    }
}

/// A member in a process of its own, which can be stopped and killed.
struct Stranger {
    process: Process,
    log: PathBuf,
}

impl Stranger {
    fn join(kafka: &KafkaCluster, folder: &Path, name: &str) -> Result<Self> {
        let log = folder.join(name);
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["--exact", "election::member_in_another_process", "--ignored", "--nocapture"]);
        command.env(BOOTSTRAP, kafka.bootstrap());
        Ok(Self { process: Process::spawn(name, command, &log)?, log })
    }

    /// Whether it says that it leads.
    fn leads(&self) -> bool {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().find_map(|line| line.strip_prefix("leads: ")) == Some("true")
    }

    async fn until(&self, leads: bool) -> Result<()> {
        wait_until("the other process's leadership", EVENTUALLY, || async { self.leads() == leads }).await
    }
}

#[tokio::test]
#[ignore = "a part of the test below, which runs it as another process"]
async fn member_in_another_process() -> Result<()> {
    let bootstrap = std::env::var(BOOTSTRAP).context("to be run by the test of the election only")?;
    let connection = Connection::new(&bootstrap, "stranger")?;
    let mut leads = GroupElection::start(connection, GROUP.to_owned(), LOG, CancellationToken::new());
    loop {
        println!("leads: {}", *leads.borrow_and_update() == Standing::Leading);
        leads.changed().await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_member_leads() -> Result<()> {
    let kafka = KafkaCluster::builder().start().await?;
    let admin = Admin::new(connection(&kafka)?);
    admin.ensure_topic(&TopicSpec::actions_log(LOG, 3)).await?;
    leader_of(&admin, LOG, 0).await?;
    let folder = doctorkafka_testbed::Scratch::new()?;

    let second = an_exit_in_order_hands_over_at_once(&kafka).await?;
    let third = a_killed_leader_is_replaced(&kafka, folder.path(), second).await?;
    a_leader_that_was_stopped_stands_by(&kafka, folder.path(), third).await?;
    leadership_survives_the_coordinator(&kafka, &admin).await
}

async fn an_exit_in_order_hands_over_at_once(kafka: &KafkaCluster) -> Result<Member> {
    let mut first = join(kafka)?;
    first.until_leading().await?;
    // Whoever joins waits its turn.
    let mut second = join(kafka)?;
    let third = join(kafka)?;
    settled(kafka, 3).await?;
    assert!(first.leads() && !second.leads() && !third.leads());
    assert!(!first.leads.has_changed()?, "the leader led all the time");
    third.cancel.cancel();
    settled(kafka, 2).await?;
    assert!(
        !first.leads.has_changed()? && !second.leads(),
        "a member that leaves does not matter to the leader"
    );

    let start = Instant::now();
    first.cancel.cancel();
    second.until_leading().await?;
    let took = start.elapsed();
    eprintln!("hand-over after {took:.2?}");
    assert!(took < Duration::from_secs(2), "hand-over took {took:?}");
    within("the channel to close", EVENTUALLY, async { while first.leads.changed().await.is_ok() {} })
        .await?;
    assert!(!first.leads());
    Ok(second)
}

async fn a_killed_leader_is_replaced(kafka: &KafkaCluster, folder: &Path, second: Member) -> Result<Member> {
    let stranger = Stranger::join(kafka, folder, "killed")?;
    settled(kafka, 2).await?;
    second.cancel.cancel();
    stranger.until(true).await?;
    let mut third = join(kafka)?;
    settled(kafka, 2).await?;
    assert!(!third.leads());
    let start = Instant::now();
    stranger.process.kill().await?;
    third.until_leading().await?;
    let took = start.elapsed();
    eprintln!("take-over after {took:.2?}");
    assert!(took < TAKE_OVER, "take-over took {took:?}");
    Ok(third)
}

async fn a_leader_that_was_stopped_stands_by(
    kafka: &KafkaCluster,
    folder: &Path,
    third: Member,
) -> Result<()> {
    let stranger = Stranger::join(kafka, folder, "stopped")?;
    settled(kafka, 2).await?;
    third.cancel.cancel();
    stranger.until(true).await?;
    let mut fourth = join(kafka)?;
    settled(kafka, 2).await?;
    stranger.process.pause()?;
    fourth.until_leading().await?;
    stranger.process.resume()?;
    let start = Instant::now();
    stranger.until(false).await?;
    eprintln!("the stopped leader stood back {:.2?} after it went on", start.elapsed());
    settled(kafka, 2).await?;
    assert!(fourth.leads() && !stranger.leads());
    fourth.cancel.cancel();
    stranger.until(true).await
}

/// The broker that coordinates the group dies, and with it every heartbeat. Whatever happens to leadership meanwhile,
/// there are never two leaders, and there is one afterwards.
async fn leadership_survives_the_coordinator(kafka: &KafkaCluster, admin: &Admin) -> Result<()> {
    let members = [join(kafka)?, join(kafka)?];
    let leaders = || members.iter().filter(|member| member.leads()).count();
    wait_until("a leader", EVENTUALLY, || async { leaders() == 1 }).await?;
    settled(kafka, 2).await?;
    let coordinator = coordinator(kafka, Of::Group(GROUP)).await?;
    kafka.kill(coordinator).await?;
    let start = Instant::now();
    let mut leaderless = Duration::ZERO;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    // Sessions (6 s) end before the coordinator is replaced (about 9 s), and those that the new one knows of are counted
    // from anew.
    while start.elapsed() < Duration::from_secs(30) {
        let looked = look.tick().await.elapsed();
        match leaders() {
            0 => leaderless += Duration::from_millis(20).max(looked),
            leaders => assert_eq!(leaders, 1),
        }
    }
    eprintln!("without a leader for {leaderless:.1?} after the death of coordinator {coordinator}");
    assert_eq!(leaders(), 1);
    settled(kafka, 2).await?;
    leader_of(admin, LOG, 0).await?;
    Ok(())
}

/// Waits until the group has so many members and is stable.
async fn settled(kafka: &KafkaCluster, members: usize) -> Result<()> {
    wait_until("a settled group", EVENTUALLY, || async {
        group(kafka, GROUP).await.is_ok_and(|(state, count)| state == "Stable" && count == members)
    })
    .await
}
