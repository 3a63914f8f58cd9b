//! How acting on a memory turned out, as tools are told. Plain data.

use crate::error::{Error, Result};
use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An outcome.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(crate = "rmcp::schemars")]
pub enum Reward {
    /// `success` (1) or `failure` (-1).
    Word(Word),
    /// From -1 to 1.
    Number(f64),
}

/// An outcome in a word.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub enum Word {
    /// It was right.
    Success,
    /// It was wrong.
    Failure,
}

impl Reward {
    /// From -1 to 1.
    ///
    /// # Errors
    /// A number outside.
    pub fn value(self) -> Result<f64> {
        match self {
            Reward::Word(Word::Success) => Ok(1.0),
            Reward::Word(Word::Failure) => Ok(-1.0),
            Reward::Number(number) if (-1.0..=1.0).contains(&number) => Ok(number),
            Reward::Number(number) => {
                Err(Error::input(format!("an outcome of {number}"), "give \"success\", \"failure\" or a number from -1 to 1"))
            }
        }
    }
}
