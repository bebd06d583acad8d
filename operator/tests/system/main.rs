//! The whole system on real Kafka: real brokers, real sidecars, real doctors, as separate processes.
//!
//! Each test starts a cluster of its own and tells one story on it. What is asserted is what must never happen and what
//! must happen within a generous limit; `cargo xtask bench` has the tight figures.
//!
//! The sidecar and the operator are taken from the target folder, so build both first; `cargo xtask test` does.

#![allow(clippy::unwrap_used)] // what goes wrong here fails a test

mod approval;
mod blindness;
mod casualties;
mod chance;
mod crashes;
mod diagnosis;
mod disk;
mod failover;
mod interruptions;
mod kubernetes;
mod letter;
mod metadata;
mod monitoring;
mod moves;
mod outage;
mod permissions;
mod platform;
mod racks;
mod rights;
mod traffic;
mod treatment;
mod world;
