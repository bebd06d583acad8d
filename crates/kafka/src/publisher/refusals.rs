//! Records that brokers answered with an error: counted, and told now and then. Pure: time is an argument.

use std::time::{Duration, Instant};

/// How long after the log has said so before it says so again, and how long a refusal counts as recent.
const PAUSE: Duration = Duration::from_secs(60);

/// What was refused so far.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    untold: u64,
    last: Option<(Instant, String)>,
    told_at: Option<Instant>,
}

impl Refusals {
    /// Takes in one more.
    pub fn note(&mut self, reason: String, now: Instant) {
        self.untold += 1;
        self.last = Some((now, reason));
    }

    /// How many there were since this was last told, and why the last one: the first at once, more after a pause.
    pub fn take_due(&mut self, now: Instant) -> Option<(u64, String)> {
        let early = self.told_at.is_some_and(|told| now.saturating_duration_since(told) < PAUSE);
        if self.untold == 0 || early {
            return None;
        }
        let (_, reason) = self.last.as_ref()?;
        self.told_at = Some(now);
        Some((std::mem::take(&mut self.untold), reason.clone()))
    }

    /// Why a record was refused not long ago.
    pub fn recent(&self, now: Instant) -> Option<&str> {
        let (at, reason) = self.last.as_ref()?;
        (now.saturating_duration_since(*at) < PAUSE).then_some(reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_more_after_a_pause() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        assert_eq!(refusals.take_due(start), None);
        refusals.note("first".into(), start);
        assert_eq!(refusals.take_due(start), Some((1, "first".into())));
        refusals.note("second".into(), start);
        refusals.note("third".into(), start + PAUSE / 2);
        assert_eq!(refusals.take_due(start + PAUSE / 2), None);
        assert_eq!(refusals.take_due(start + PAUSE), Some((2, "third".into())));
        assert_eq!(refusals.take_due(start + PAUSE * 3), None, "nothing new");
        assert_eq!(refusals.recent(start + PAUSE), Some("third"));
        assert_eq!(refusals.recent(start + PAUSE * 2), None);
    }
}
