//! Records that come from anywhere: what is understood, what is not, and that nothing else ever happens.

mod hostile;
mod made;
mod round_trip;
mod schema;
