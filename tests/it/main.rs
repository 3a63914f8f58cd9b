//! The integration tests, one binary: one module a topic.

mod common;
mod cpu;
mod gpu;
mod neurons;
mod structure;
mod trains;
