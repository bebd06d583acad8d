//! The Helm chart: what it renders, what the real API server and the real operator make of it, and what is left of it.

#![allow(clippy::unwrap_used)]

mod cluster;
mod permissions;
mod release;
mod rendering;
