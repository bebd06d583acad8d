//! Treatments as `KafkaReassignment` objects: shown there, approved there.
//!
//! The actions log says what was decided and done; the objects are what people read of it and where they approve. `plan`
//! says, without I/O, what is to be created, written and removed, with `build` (a treatment as an object), `judge` (how
//! far it is, and what was written on it) and `index` (the objects as far as they are known). `writer` makes the calls,
//! and `approvals` brings decisions to the engines.
//!
//! What holds: an object is read only where it says exactly what the doctor proposes; an approval counts for the object
//! that it stands on, and a treatment that is due again is another object.

mod approvals;
mod build;
mod index;
mod judge;
mod plan;
mod seen;
mod writer;

pub(super) use approvals::Approvals;
pub(super) use build::name;
pub(super) use writer::ReassignmentWriter;

/// A treatment for tests of other modules.
#[cfg(test)]
pub(super) fn example() -> doctorkafka_doctor::execute::Treatment {
    build::tests::treatment("hot")
}
