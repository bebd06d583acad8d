//! What every partition costs the brokers that hold it: what replica moves are planned on.
//!
//! In the order of the data's way: [`take()`] reads sizes, offsets and placement from every living broker through a
//! [`LoadSource`], which can only read, into a [`LoadSnapshot`]; a [`LoadModel`] makes rates from two of them and keeps the
//! newest; `estimate` attributes what the brokers' reports measured to partitions; and `instance` puts it all together for
//! the planner, or refuses: unknown data means no plan.
//!
//! What is not known from Kafka's admin interface is estimated, and each estimate is described where it is made. Not
//! modelled: directories of one broker apart from each other, and reads of old data by consumers.

mod disk;
mod estimate;
mod instance;
mod model;
mod pace;
mod snapshot;
mod source;
mod take;
#[cfg(test)]
pub(crate) mod tests;

pub use estimate::Measured;
pub use instance::{BrokerFacts, Gaps, LoadLimits, Modelled};
pub use model::{LoadModel, Registered};
pub use pace::{fresh_for, often, seldom};
pub use snapshot::LoadSnapshot;
pub use source::LoadSource;
pub use take::take;
