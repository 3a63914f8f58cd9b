//! The exact event-driven engine.

pub mod queue;
pub mod roots;
