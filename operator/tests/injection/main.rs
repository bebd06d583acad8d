//! The injection webhook, called by a real API server for real pods. No node is needed: admission comes before one.
//!
//! The operator has the permissions of `deploy/rbac` and the objects of `deploy/injection`, and no others.

#![allow(clippy::unwrap_used)]

mod examples;
mod pods;
mod renewal;
mod world;
