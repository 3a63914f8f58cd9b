//! The integration tests, one binary: one module a topic.

mod axonal;
mod bench;
mod cases;
mod chat;
mod cli;
mod common;
mod corners;
mod cpu;
mod digits;
mod export;
mod golden;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(feature = "gpu")]
mod gpu_backends;
#[cfg(feature = "gpu")]
mod gpu_learning;
#[cfg(feature = "gpu")]
mod gpu_plasticity;
mod gradient;
mod histories;
mod language;
mod learning;
mod library;
mod memory;
mod nest_engine;
mod neurons;
mod outputs;
mod parrots;
mod plasticity;
mod plasticity_event;
#[cfg(unix)]
mod postgres;
mod protocols;
mod pull;
mod readings;
mod recall;
mod recordings;
mod serve;
mod silence;
mod structure;
mod sweep;
mod three_factor;
mod tokenizer;
mod trains;
mod transformer;
mod weights;
