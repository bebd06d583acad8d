//! Which process is the broker.
//!
//! Candidates are the processes whose command line starts a Kafka broker. Those whose properties file names another
//! `node.id` are out; one that names ours wins. When that still leaves several, the one that listens on the probed port
//! is taken, and if there is none, the answer is "cannot tell": never a guess.

use super::config::{BrokerConfig, is_broker};
use doctorkafka_wire::BrokerId;
use procfs::{
    net::TcpState,
    process::{FDTarget, Process},
};
use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

/// How the broker's process is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By its command line, which contains this text if one is given.
    CommandLine(Option<String>),
    /// It has this id.
    Pid(i32),
    /// Its id stands in this file.
    PidFile(PathBuf),
}

/// A process that may be the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub pid: i32,
    /// Parent process id.
    pub parent: i32,
    /// Clock ticks since boot at which it started; with the pid it names the process for good.
    pub start_ticks: u64,
    /// Whether the program is `java`, or Kafka itself as a native image.
    pub is_java: bool,
    pub config: BrokerConfig,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No process. `others` are brokers with another `node.id`.
    Nothing { others: Vec<(i32, BrokerId)> },
    /// The broker.
    One(Candidate),
    /// Several processes, with nothing to tell them apart.
    Several(Vec<i32>),
}

/// Looks through `/proc`. `probed_port` is the port of a local listener that was asked for, if any. May block.
pub fn find(selector: &Selector, broker: BrokerId, probed_port: Option<u16>) -> Found {
    let by_id = |pid: Option<i32>| match pid.and_then(|pid| candidate(&Process::new(pid).ok()?)) {
        Some(found) => Found::One(found),
        None => Found::Nothing { others: Vec::new() },
    };
    let text = match selector {
        Selector::Pid(pid) => return by_id(Some(*pid)),
        Selector::PidFile(file) => return by_id(read_pid(file)),
        Selector::CommandLine(text) => text.as_deref(),
    };
    let candidates: Vec<Candidate> =
        processes().filter_map(|process| broker_candidate(&process, text)).collect();
    // Only a process that nobody can mistake for something else is looked for by its port alone.
    if candidates.is_empty() && text.is_none() {
        let listeners: Vec<Candidate> = probed_port.map(java_listeners).unwrap_or_default();
        return choose(listeners, broker, |_| true);
    }
    let inodes = probed_port.map(listening_inodes).unwrap_or_default();
    choose(candidates, broker, |pid| has_socket(pid, &inodes))
}

/// Which `node.id`s the properties files of running brokers name. `text` narrows it as for [`find`]. May block.
pub fn node_ids(text: Option<&str>) -> BTreeSet<BrokerId> {
    let candidates = processes().filter_map(|process| broker_candidate(&process, text));
    candidates.filter_map(|candidate| candidate.config.node_id).collect()
}

/// The rule of this module, on what was found.
fn choose(candidates: Vec<Candidate>, broker: BrokerId, listens: impl Fn(i32) -> bool) -> Found {
    let (others, mut left): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.config.node_id.is_some_and(|id| id != broker));
    // `tini java kafka.Kafka ...`, `sh -c '"$@"' sh java kafka.Kafka ...`: wrappers carry the broker's arguments, as
    // does, for a moment, a child that the broker forks.
    if left.iter().any(|candidate| candidate.is_java) {
        left.retain(|candidate| candidate.is_java);
        let pids: HashSet<i32> = left.iter().map(|candidate| candidate.pid).collect();
        left.retain(|candidate| !pids.contains(&candidate.parent));
    } else {
        let parents: HashSet<i32> = left.iter().map(|candidate| candidate.parent).collect();
        left.retain(|candidate| !parents.contains(&candidate.pid));
    }
    if left.iter().any(|candidate| candidate.config.node_id == Some(broker)) {
        left.retain(|candidate| candidate.config.node_id == Some(broker));
    }
    if left.len() > 1 && left.iter().any(|candidate| listens(candidate.pid)) {
        left.retain(|candidate| listens(candidate.pid));
    }
    match left.len() {
        0 => Found::Nothing {
            others: others.iter().filter_map(|other| Some((other.pid, other.config.node_id?))).collect(),
        },
        1 => left.pop().map_or(Found::Nothing { others: Vec::new() }, Found::One),
        _ => Found::Several(left.iter().map(|candidate| candidate.pid).collect()),
    }
}

fn processes() -> impl Iterator<Item = Process> {
    procfs::process::all_processes().into_iter().flatten().filter_map(Result::ok)
}

fn broker_candidate(process: &Process, text: Option<&str>) -> Option<Candidate> {
    let args = process.cmdline().ok()?;
    if !is_broker(&args) || text.is_some_and(|text| !args.join(" ").contains(text)) {
        return None;
    }
    candidate(process)
}

/// `None` when the process has ended meanwhile.
fn candidate(process: &Process) -> Option<Candidate> {
    let stat = process.stat().ok().filter(|stat| !has_ended(stat.state, stat.num_threads))?;
    let args = process.cmdline().unwrap_or_default();
    let config = BrokerConfig::read(process.pid(), &args);
    let is_java = is_java(&args);
    Some(Candidate { pid: process.pid(), parent: stat.ppid, start_ticks: stat.starttime, is_java, config })
}

fn is_java(args: &[String]) -> bool {
    let program = args.first().and_then(|program| Path::new(program).file_name());
    program.is_some_and(|name| name == "java" || name == "kafka.Kafka")
}

/// Whether a process of this state has ended. One whose first thread has ended while others run on is also `Z`.
pub fn has_ended(state: char, threads: i64) -> bool {
    matches!(state, 'Z' | 'X' | 'x') && threads <= 1
}

fn read_pid(file: &Path) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Inodes of the sockets that listen on a port, in our network namespace.
fn listening_inodes(port: u16) -> HashSet<u64> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    tables
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect()
}

fn has_socket(pid: i32, inodes: &HashSet<u64>) -> bool {
    let sockets = |process: Process| {
        process.fd().is_ok_and(|mut fds| {
            fds.any(
                |fd| matches!(fd.map(|fd| fd.target), Ok(FDTarget::Socket(inode)) if inodes.contains(&inode)),
            )
        })
    };
    !inodes.is_empty() && Process::new(pid).is_ok_and(sockets)
}

/// Java processes that listen on a port: a broker started by a main class we do not know.
fn java_listeners(port: u16) -> Vec<Candidate> {
    let inodes = listening_inodes(port);
    if inodes.is_empty() {
        return Vec::new();
    }
    processes()
        .filter(|process| process.cmdline().is_ok_and(|args| is_java(&args)))
        .filter(|process| has_socket(process.pid(), &inodes))
        .filter_map(|process| candidate(&process))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, node_id: Option<i32>) -> Candidate {
        let config = BrokerConfig { node_id: node_id.map(BrokerId), ..BrokerConfig::default() };
        Candidate { pid, parent, start_ticks: 1, is_java: true, config }
    }

    fn chosen(candidates: Vec<Candidate>, listener: Option<i32>) -> Found {
        choose(candidates, BrokerId(2), |pid| listener == Some(pid))
    }

    fn pid_of(found: Found) -> Option<i32> {
        match found {
            Found::One(candidate) => Some(candidate.pid),
            _ => None,
        }
    }

    #[test]
    fn the_only_broker_is_it() {
        assert_eq!(pid_of(chosen(vec![process(10, 1, None)], None)), Some(10));
        assert_eq!(pid_of(chosen(vec![process(10, 1, Some(2))], None)), Some(10));
    }

    #[test]
    fn another_brokers_process_is_never_ours() {
        let found = chosen(vec![process(10, 1, Some(1)), process(11, 1, Some(3))], Some(10));
        assert_eq!(found, Found::Nothing { others: vec![(10, BrokerId(1)), (11, BrokerId(3))] });
    }

    #[test]
    fn ours_is_told_from_its_neighbours() {
        let all = vec![process(10, 1, Some(1)), process(11, 1, Some(2)), process(12, 1, None)];
        assert_eq!(pid_of(chosen(all, None)), Some(11));
    }

    #[test]
    fn neither_a_wrapper_nor_a_forked_child_is_the_broker() {
        let other = |candidate| Candidate { is_java: false, ..candidate };
        let (parent, child) = (process(10, 1, Some(2)), process(11, 10, Some(2)));
        assert_eq!(pid_of(chosen(vec![other(parent.clone()), child.clone()], None)), Some(11), "tini java");
        assert_eq!(
            pid_of(chosen(vec![parent.clone(), other(child.clone())], None)),
            Some(10),
            "a watching shell"
        );
        assert_eq!(
            pid_of(chosen(vec![parent.clone(), child.clone()], None)),
            Some(10),
            "a fork of the broker"
        );
        assert_eq!(pid_of(chosen(vec![other(parent), other(child)], None)), Some(11), "java by another name");
    }

    #[test]
    fn the_probed_port_decides_between_equals_and_else_nothing_does() {
        let two = vec![process(10, 1, None), process(11, 1, None)];
        assert_eq!(pid_of(chosen(two.clone(), Some(11))), Some(11));
        assert_eq!(chosen(two, None), Found::Several(vec![10, 11]));
    }

    #[test]
    fn a_zombie_has_ended_unless_threads_live_on() {
        assert!(has_ended('Z', 1));
        assert!(!has_ended('Z', 40));
        assert!(!has_ended('T', 1));
    }

    #[test]
    fn processes_are_found_by_id_and_file() {
        let me = std::process::id().cast_signed();
        let broker = BrokerId(2);
        assert_eq!(pid_of(find(&Selector::Pid(me), broker, None)), Some(me));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kafka.pid");
        assert_eq!(pid_of(find(&Selector::PidFile(file.clone()), broker, None)), None);
        std::fs::write(&file, format!("{me}\n")).unwrap();
        assert_eq!(pid_of(find(&Selector::PidFile(file.clone()), broker, None)), Some(me));
        std::fs::write(&file, "-1").unwrap();
        assert_eq!(pid_of(find(&Selector::PidFile(file), broker, None)), None);
    }

    #[test]
    fn a_listening_socket_names_its_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inodes = listening_inodes(listener.local_addr().unwrap().port());
        assert!(has_socket(std::process::id().cast_signed(), &inodes));
        assert!(!has_socket(std::process::id().cast_signed(), &HashSet::new()));
    }
}
