//! The integration tests, one binary: one module a topic.

mod cli;
mod common;
mod cpu;
mod digits;
mod golden;
#[cfg(feature = "gpu")]
mod gpu;
mod nest_engine;
mod neurons;
mod plasticity;
mod structure;
mod trains;
