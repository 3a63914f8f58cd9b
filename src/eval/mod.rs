//! How well facts were learned: published metrics of knowledge editing, method by method, with what it cost. Knows cases, host and
//! memory; no file of a memory.

pub mod cases;
pub mod metrics;
pub mod recall;
pub mod recall_speed;
pub mod report;
pub mod run;
pub mod sequence;
pub mod states;
mod text;

pub use cases::Case;
pub use metrics::{Answers, Scores, With};
pub use text::TextDamage;
