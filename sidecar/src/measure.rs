//! Figures of the broker from `/proc`, its cgroup and its file systems.

mod cgroup;
mod cpu;
mod disk;
mod network;
mod pressure;
mod sampler;

pub use disk::watch_log_dirs;
pub use sampler::Sampler;
