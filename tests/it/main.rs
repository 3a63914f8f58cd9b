//! The integration tests, one binary: one module a topic.

mod common;
mod cpu;
mod gpu;
mod structure;
mod trains;
