//! Alert rules for Prometheus, from one table ([`table`]).
//!
//! Each alert has a runbook of its name in `docs/runbooks`, to which it links. The rules group by `namespace` and `job`, so
//! that several installations stay apart, and drop `instance`: every operator diagnoses, and one alert is enough.

mod table;

#[cfg(test)]
mod promtool;
#[cfg(test)]
mod tests;

use std::fmt::Write;

/// Where the runbooks are. The chart puts another base in its place when it is told to.
pub(super) const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/runbooks/");

/// What a person should do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// Look now: brokers are down, or nobody watches them.
    Critical,
    /// Look today.
    Warning,
    /// Good to know.
    Info,
}

/// One alert.
#[derive(Debug, Clone, Copy)]
struct Alert {
    /// Its name, and that of its runbook.
    name: &'static str,
    /// PromQL; lines after the first are indented by it as they stand.
    expr: &'static str,
    /// How long the expression holds before anybody is told.
    lasting: &'static str,
    severity: Severity,
    /// A few words, with Prometheus' templates.
    summary: &'static str,
    /// What it means, and what to look at first.
    description: &'static str,
}

/// Alerts about one subject, evaluated together.
struct Group {
    name: &'static str,
    alerts: &'static [Alert],
}

/// The rule file.
pub(super) fn yaml() -> String {
    let mut text = String::from(
        "# Alert rules for Prometheus. Generated from xtask/src/gen/alerts by `cargo xtask gen`. Do not edit.\ngroups:\n",
    );
    for group in table::GROUPS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - name: {}\n    rules:", group.name);
        for alert in group.alerts {
            let _ = write!(text, "{}", rule(alert));
        }
    }
    text
}

fn rule(alert: &Alert) -> String {
    let Alert { name, expr, lasting, severity, summary, description } = alert;
    let expr: Vec<String> = expr.lines().map(|line| format!("          {line}")).collect();
    format!(
        "      - alert: {name}\n        expr: |-\n{}\n        for: {lasting}\n        labels:\n          severity: {}\n        \
         annotations:\n          summary: {summary:?}\n          description: {description:?}\n          \
         runbook_url: {RUNBOOKS}{name}.md\n",
        expr.join("\n"),
        severity.as_str(),
    )
}

// === impl Severity ===

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}
