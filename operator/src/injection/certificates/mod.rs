//! The certificate that the API server is shown.
//!
//! ```text
//! issue    a new authority and a certificate by it; the authority's key is forgotten at once
//! state    what the Secret holds, and what to do next; pure
//! keeper   does it: Secret and webhook configuration, by every replica, whoever is first
//! files    a mounted folder instead
//! serving  what handshakes use
//! ```
//!
//! A renewal has no gap, because it goes in an order: the new authority is added to what the API server trusts while the old
//! certificate serves; the new certificate serves only after that has been seen for a while; the old authority goes with the
//! renewal after.

mod files;
mod issue;
mod keeper;
mod serving;
mod state;

pub use files::follow;
pub use keeper::{Keeper, KeeperSettings};
pub use serving::Serving;
pub use state::Timing;
