//! The broker beside us: what its command line and properties file say, which process it is, and when that ends.

mod config;
mod finder;
mod identity;
mod properties;
mod tracker;

pub use config::BrokerConfig;
pub use finder::{Selector, has_ended};
pub use identity::identify;
pub use tracker::{Presence, RunningBroker, Sight, track};
