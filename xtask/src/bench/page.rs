//! `docs/reference/benchmarks.md`: one section for each part, replaced when it is measured anew.

use anyhow::Context;
use std::{fmt::Write as _, path::Path};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/benchmarks.md");

const HEAD: &str = "\
# Benchmarks

Measured by `cargo xtask bench --write`, which prints each section as soon as all are done; `--only` measures one.
Absolute figures are those of the machine named in each section: quote ratios and medians.
";

/// What one part measured.
pub struct Section {
    /// Its title; names it in the page.
    pub title: &'static str,
    /// What was measured on what, how often.
    pub how: String,
    /// The table's head.
    pub columns: Vec<&'static str>,
    /// The table's rows.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    /// The section as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.how);
        let mut line = |cells: &[&str]| {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        };
        line(&self.columns);
        line(&vec!["---"; self.columns.len()]);
        for row in &self.rows {
            line(&row.iter().map(String::as_str).collect::<Vec<_>>());
        }
        text
    }
}

/// Median and largest of some figures.
pub fn median_and_max(figures: &mut [f64]) -> (f64, f64) {
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    (at(figures.len() / 2), at(figures.len().saturating_sub(1)))
}

/// The machine, as far as it bears on the figures.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}

/// What else the machine had to do, by the kernel's load average; as much as the figures are worth.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average of the last minutes {}", text.split(' ').take(3).collect::<Vec<_>>().join(", "))
}

/// Puts sections into the page.
///
/// # Errors
/// The page cannot be read or written.
pub fn write(sections: &[Section]) -> anyhow::Result<()> {
    let path = Path::new(PAGE);
    let before = std::fs::read_to_string(path).unwrap_or_else(|_| HEAD.to_owned());
    let mut parts: Vec<String> = before.split("\n## ").map(str::to_owned).collect();
    for section in sections {
        let text = section.markdown();
        let text = text.trim_start_matches("## ").trim_end().to_owned() + "\n";
        let title = |part: &String| part.lines().next() == Some(section.title);
        match parts.iter_mut().skip(1).find(|part| title(part)) {
            Some(part) => *part = text,
            None => parts.push(text),
        }
    }
    let page: Vec<&str> = parts.iter().map(|part| part.trim_end()).collect();
    std::fs::write(path, page.join("\n\n## ") + "\n").with_context(|| format!("cannot write {PAGE}"))
}
