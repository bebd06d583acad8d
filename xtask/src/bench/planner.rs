//! Plans for replica moves: how long they take, how much memory, and what they are worth, beside a peer's figures.

use super::{
    page::{Section, load_average, machine, median_and_max},
    programs::Programs,
};
use anyhow::{Context, ensure};
use doctorkafka_operator::plan::read_instance;
use doctorkafka_planner::{Balance, Instance, Remedy, propose};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

const RUNS: usize = 9;

/// Brokers and partitions of the generated clusters, each partition with three replicas, one broker dead.
const GENERATED: [(u32, u32); 3] = [(40, 16_700), (215, 166_700), (215, 933_400)];

/// The same of the cluster whose planning shows what the program itself has resident.
const NOTHING: (u32, u32) = (10, 10);

/// What Cruise Control's analyzer needed for the same instance with its hard goals: seconds (warm median), replicas moved,
/// MB moved, MB of heap; and the balance that its default goals reach. Measured beforehand on an equal machine with commit
/// dadba67, JDK 17, the model in memory, only the optimisation timed.
const PEER: [(&str, f64, u32, u32, u32, &str); 4] = [
    ("A1-s2", 0.014, 112, 123_557, 61, "1.47 / 1.54 / 1.09 / 1.55 / 1.64 / 1.41"),
    ("B1-part", 1.18, 1_402, 151_716, 349, "1.14 / 1.94 / 1.11 / 1.88 / 1.11 / 1.19"),
    ("B0-exp-part", 1.35, 3_804, 386_316, 381, "1.09 / 1.09 / 1.09 / 1.09 / 1.09 / 1.29"),
    ("C0-over7-part", 2.94, 53, 26_122, 404, "1.09 / 1.09 / 1.09 / 1.09 / 1.07 / 2.22"),
];

/// Plans each instance several times in this process, and once in one of its own, whose memory is looked at.
///
/// # Errors
/// An instance cannot be read, or a plan for a file of the folder cannot meet every rule.
pub async fn measure(programs: &Programs, folder: Option<&Path>) -> anyhow::Result<Section> {
    let scratch = tempfile::tempdir()?;
    let mut files = match folder {
        Some(folder) => instances(folder)?,
        None => Vec::new(),
    };
    for (brokers, partitions) in GENERATED {
        let path = scratch.path().join(format!("generated-{brokers}-{partitions}.jsonl"));
        std::fs::write(&path, generate(brokers, partitions))?;
        files.push(path);
    }
    let nothing = scratch.path().join("nothing.jsonl");
    std::fs::write(&nothing, generate(NOTHING.0, NOTHING.1))?;
    let idle = resident(programs, &nothing, "repair").await?;
    let mut rows = Vec::new();
    for path in files {
        eprintln!("planning {}", path.display());
        let instance = read_instance(&path)?;
        for (name, remedy) in [("repair", Remedy::Repair), ("balance", Remedy::Balance)] {
            rows.push(row(programs, &path, &instance, name, &remedy, idle).await?);
        }
    }
    Ok(Section {
        title: "Planner",
        how: format!(
            "{}, one thread; {}. Time from the parsed instance to the plan, {RUNS} runs; memory is the most that a whole `doctorkafka-operator \
             plan` had resident, reading and writing included, and what that is beyond the {idle:.1} MB that it has for a \
             cluster of ten partitions: the latter is what compares with heap. Balance is the busiest living broker over the average, after the plan: CPU / \
             network in / network out / disk / replicas / leaders. Cruise Control's figures are those of its hard goals (warm \
             median, peak heap) and the balance of its default goals, measured beforehand on an equal machine and not in this \
             run. The two solve different problems: its goals are many and general, this planner knows four remedies.",
            machine(),
            load_average(),
        ),
        columns: vec![
            "instance",
            "remedy",
            "median, ms",
            "slowest, ms",
            "resident, MB",
            "of that for the instance and its plan",
            "replicas, MB moved",
            "balance",
            "Cruise Control: ms; replicas, MB moved; heap, MB",
            "its default goals' balance",
        ],
        rows,
    })
}

async fn row(
    programs: &Programs,
    path: &Path,
    instance: &Instance,
    name: &str,
    remedy: &Remedy,
    idle: f64,
) -> anyhow::Result<Vec<String>> {
    let mut times = Vec::with_capacity(RUNS);
    let mut told = None;
    for _ in 0..RUNS {
        let begin = Instant::now();
        let proposal = propose(instance, remedy).map_err(|refused| anyhow::anyhow!(refused.message))?;
        times.push(begin.elapsed().as_secs_f64() * 1_000.0);
        told = Some((proposal.copied(), proposal.balance().1));
    }
    let ((moves, megabytes), balance) = told.context("at least one run")?;
    let (median, slowest) = median_and_max(&mut times);
    let whole = resident(programs, path, name).await?;
    let peer = PEER.iter().find(|peer| peer.0 == instance.name);
    Ok(vec![
        if instance.name.is_empty() { path.display().to_string() } else { instance.name.clone() },
        name.to_owned(),
        format!("{median:.2}"),
        format!("{slowest:.2}"),
        format!("{whole:.1}"),
        format!("{:.1}", (whole - idle).max(0.0)),
        format!("{moves}, {megabytes:.0}"),
        figures(&balance),
        peer.filter(|_| *remedy == Remedy::Repair)
            .map(|(_, seconds, moves, megabytes, heap, _)| {
                format!("{:.0}; {moves}, {megabytes}; {heap}", seconds * 1_000.0)
            })
            .unwrap_or_default(),
        peer.map(|peer| peer.5.to_owned()).unwrap_or_default(),
    ])
}

/// MB that a process of its own had resident at the most.
async fn resident(programs: &Programs, path: &Path, remedy: &str) -> anyhow::Result<f64> {
    let output = tokio::process::Command::new(&programs.operator)
        .args(["plan", "--remedy", remedy, "--out", "/dev/null", "--instance"])
        .arg(path)
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(matches!(output.status.code(), Some(0 | 3)), "planning {} ended: {told}", path.display());
    let before = told.split(" MB resident at the most").next().and_then(|before| before.rsplit(' ').next());
    before.and_then(|figure| figure.parse().ok()).with_context(|| format!("no memory is told in: {told}"))
}

fn instances(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let is_instance =
        |path: &PathBuf| [".jsonl", ".jsonl.gz"].iter().any(|end| path.to_string_lossy().ends_with(end));
    files.retain(is_instance);
    files.sort_unstable();
    ensure!(!files.is_empty(), "{} has no *.jsonl or *.jsonl.gz", folder.display());
    Ok(files)
}

fn figures(balance: &Balance) -> String {
    let Balance { cpu, network_in, network_out, disk, replicas, leaders } = balance;
    format!("{cpu:.2} / {network_in:.2} / {network_out:.2} / {disk:.2} / {replicas:.2} / {leaders:.2}")
}

/// A cluster whose sizes and loads spread over three orders of magnitude, always the same for the same arguments.
fn generate(brokers: u32, partitions: u32) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(partitions);
    let mut random = move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut text = format!(
        "{{\"type\":\"meta\",\"name\":\"generated, {brokers} brokers, {} replicas\",\"resources\":[\"cpu\",\"nw_in\",\"nw_out\",\
         \"disk\"],\"capacity_threshold\":[0.7,0.8,0.8,0.8],\"max_replicas_per_broker\":{}}}\n",
        3 * partitions,
        6 * partitions / brokers
    );
    let racks = 10;
    for id in 0..brokers {
        let state = if id == 0 { "DEAD" } else { "ALIVE" };
        let _ = writeln!(
            text,
            "{{\"type\":\"broker\",\"id\":{id},\"rack\":\"{}\",\"state\":\"{state}\",\"cap\":[100,300000,200000,300000]}}",
            id % racks
        );
    }
    // Half of what the brokers have is used on the whole, so that there is room for what the dead one held.
    let mean = 0.4 * 300_000.0 * f64::from(brokers) / (3.0 * f64::from(partitions));
    for partition in 0..partitions {
        let first = (random() * f64::from(brokers)) as u32 % brokers;
        // One after the other, so in three racks.
        let held = [first, (first + 1) % brokers, (first + 2) % brokers];
        let size = mean * 1_000_f64.powf(random()) / 144.6;
        let rate = mean * 1_000_f64.powf(random()) / 144.6;
        let cpu = rate / 20_000.0;
        let _ = writeln!(
            text,
            "{{\"type\":\"partition\",\"t\":\"T{}\",\"p\":{},\"r\":[{},{},{}],\"load\":[[{c2:.6},{rate:.3},{o:.3},{size:.3}],[{cpu:.6},\
             {rate:.3},0,{size:.3}],[{cpu:.6},{rate:.3},0,{size:.3}]],\"lead\":[{cpu:.6},0,{o:.3},0]}}",
            partition / 8,
            partition % 8,
            held[0],
            held[1],
            held[2],
            c2 = 2.0 * cpu,
            o = rate / 3.0,
        );
    }
    text
}
