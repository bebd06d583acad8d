//! The clients against real brokers.
//!
//! One program, because each of these tests starts a cluster and linking takes as long as one does.

mod admin;
mod changes;
mod election;
mod log;
mod permissions;
mod reports;
mod security;
mod support;
mod tokens;
mod treatment;
