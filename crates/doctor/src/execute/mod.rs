//! Carrying out a treatment, through any crash.
//!
//! The parts, in the order in which they work: a [`Treatment`] is immutable data. [`Executor`] records it whole in the
//! actions log before anything is done, looks at the cluster ([`Observed`]), asks [`next()`] for the next [`Step`], commits
//! the intent, makes the call and commits the outcome, until the step is to finish. What the log says is folded by
//! [`Recovery`]; a doctor that takes over goes on from there, and from a look, and from nothing else.
//!
//! What holds at every moment:
//!
//! - No call without a committed intent, and none after the authority ran out or the log was taken over.
//! - Calls say absolutely what is to be, so that one that comes late or twice asks for the same. A running reassignment is
//!   never superseded: it is cancelled first, or waited for.
//! - Every partition ends at one of its two ends, in that very order.
//! - The throttle is set before the first byte moves and given back at every end.

mod act;
mod begin;
mod clock;
pub(crate) mod in_words;
mod limits;
mod look;
mod next;
mod observed;
mod open;
mod progress;
mod rule;
mod rules;
mod run;
mod step_log;
mod throttle;
mod treatment;

#[cfg(test)]
mod tests;

pub use clock::{Clock, MachineClock};
pub use limits::{Cancel, Control, Limits, Mandate};
pub use next::{Step, next};
pub use observed::{Observed, SeenTopic, Whole};
pub use open::{OpenTreatment, Recovery, Unanswered, recover};
pub use progress::Progress;
pub use rule::{ExecutionRule, Hold};
pub use run::{Ended, Executor, Task};
pub use step_log::{Author, StepLog, StepLogError};
pub use treatment::{Treatment, TreatmentError};
