//! One experience: what a model was asked, what it answered, and how that turned out. Knows the JSONL form; no model.

use serde::{Deserialize, Serialize};

/// What was asked, what was answered, how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experience {
    /// Unique in a memory.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The context that was acted in.
    pub prompt: String,
    /// The action: what should follow the prompt (or, after a failure, should not).
    pub answer: String,
    pub outcome: Outcome,
    /// What the fact is about: a part of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, as written (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The `id` of an experience whose place this one takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
}

/// How an experience turned out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    Failure,
    /// From -1 to 1.
    #[serde(untagged)]
    Reward(f64),
}

impl Outcome {
    /// 1 for success, -1 for failure, else the number.
    pub fn reward(self) -> f64 {
        match self {
            Outcome::Success => 1.0,
            Outcome::Failure => -1.0,
            Outcome::Reward(reward) => reward,
        }
    }
}
