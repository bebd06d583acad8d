//! Times and figures as people read them.

use doctorkafka_diagnosis::BrokerState;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

/// How long ago something was, which the page's script keeps up to date; the exact time on hover.
pub(super) fn age(then: Timestamp, now: Timestamp) -> Markup {
    let exact = clock(then);
    html! { time datetime=(then) title=(exact) data-ago { (ago(now.duration_since(then))) } }
}

/// A moment as `2026-11-22 14:02:11 UTC`.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `42s`, `3m12s`, `2h5m`, `41d3h`; a time in the future, which is skew between clocks, is `0s`.
pub(super) fn ago(elapsed: SignedDuration) -> String {
    let s = elapsed.as_secs().max(0);
    let (m, h, d) = (s / 60, s / 3_600, s / 86_400);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m{}s", s % 60),
        (0, _, _) => format!("{h}h{}m", m % 60),
        _ => format!("{d}d{}h", h % 24),
    }
}

/// A share of a capacity, as a bar and in words.
pub(super) fn percent(value: Option<f64>) -> Markup {
    html! {
        @match value.filter(|value| value.is_finite()) {
            Some(value) => {
                span { (format!("{value:.0}%")) } " "
                meter aria-hidden="true" min="0" max="100" value=(format!("{:.0}", value.clamp(0.0, 100.0))) {}
            }
            None => (unknown()),
        }
    }
}

/// Bytes a second with a decimal unit.
pub(super) fn rate(value: Option<f64>) -> Markup {
    html! {
        @match value.filter(|value| value.is_finite()) {
            Some(value) => { (bytes(value)) "/s" }
            None => (unknown()),
        }
    }
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = value.max(0.0);
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 10.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// What stands where a figure is not known.
pub(super) fn unknown() -> Markup {
    html! { span.unknown title="not known" { "–" } }
}

/// A state in capitals with its sign, so that no meaning hangs on colour.
pub(super) fn state(state: BrokerState) -> Markup {
    html! {
        span class=(format!("state {}", class(state))) {
            span aria-hidden="true" { (sign(state)) " " }
            (state.as_str().to_uppercase())
        }
    }
}

/// A state's class in the style sheet.
pub(super) fn class(state: BrokerState) -> &'static str {
    match state {
        BrokerState::Healthy => "healthy",
        BrokerState::Overloaded => "overloaded",
        BrokerState::Unhealthy => "unhealthy",
        BrokerState::Recovering => "recovering",
        BrokerState::Maintenance => "maintenance",
        BrokerState::Unknown => "unknown-state",
    }
}

/// A state's sign.
pub(super) fn sign(state: BrokerState) -> &'static str {
    match state {
        BrokerState::Healthy => "●",
        BrokerState::Overloaded => "▲",
        BrokerState::Unhealthy => "✖",
        BrokerState::Recovering => "↻",
        BrokerState::Maintenance => "■",
        BrokerState::Unknown => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_well() {
        let of = |seconds| ago(SignedDuration::from_secs(seconds));
        assert_eq!(of(-5), "0s");
        assert_eq!(of(59), "59s");
        assert_eq!(of(192), "3m12s");
        assert_eq!(of(7_500), "2h5m");
        assert_eq!(of(41 * 86_400 + 3 * 3_600), "41d3h");
    }

    #[test]
    fn rates_read_well() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(999.9), "1.0 kB");
        assert_eq!(bytes(1_234_567.0), "1.2 MB");
        assert_eq!(bytes(98_765_432.0), "99 MB");
        assert_eq!(bytes(9e18), "9000000 TB");
    }

    #[test]
    fn a_figure_that_is_no_number_is_not_known() {
        assert!(percent(Some(f64::NAN)).into_string().contains("not known"));
        assert!(rate(Some(f64::INFINITY)).into_string().contains("not known"));
        assert!(percent(Some(95.2)).into_string().contains("95%"));
    }
}
