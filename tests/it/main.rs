//! The integration tests, one binary: one module a topic.

mod gpu;
mod structure;
mod trains;
