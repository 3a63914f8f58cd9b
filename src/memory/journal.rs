//! What a memory keeps about each experience, and what one commit changes. Plain data; knows no file.

use super::Engram;
use super::experience::{Experience, Outcome};
use crate::transformer::site::Site;
use serde::{Deserialize, Serialize};

/// What became of an experience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It arrived and is not learned yet.
    Pending,
    /// It was written when it arrived.
    Awake,
    /// It was written again in sleep.
    Asleep,
    /// Taken out at the user's wish: neither its text nor any engram is left.
    Forgotten,
    /// Another experience took its place.
    Superseded {
        /// The `id` of that one.
        by: String,
    },
    /// It was not learned.
    Refused {
        /// Why, in words for the user.
        reason: String,
    },
}

impl Stage {
    /// The names of all stages, in the order in which an experience may pass them.
    pub const NAMES: [&str; 6] = ["pending", "awake", "asleep", "forgotten", "superseded", "refused"];

    /// One of `NAMES`.
    pub fn name(&self) -> &'static str {
        match self {
            Stage::Pending => "pending",
            Stage::Awake => "awake",
            Stage::Asleep => "asleep",
            Stage::Forgotten => "forgotten",
            Stage::Superseded { .. } => "superseded",
            Stage::Refused { .. } => "refused",
        }
    }

    /// Whether the engrams of an experience of this stage take effect.
    pub fn is_written(&self) -> bool {
        matches!(self, Stage::Awake | Stage::Asleep)
    }

    /// Whether an experience of this stage may have engrams. Those of a superseded one rest: they take effect again when what
    /// took its place is forgotten.
    pub fn may_have_engrams(&self) -> bool {
        self.is_written() || matches!(self, Stage::Superseded { .. })
    }
}

/// An experience in a memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// As it arrived; of a forgotten one id, time and tags alone.
    pub experience: Experience,
    /// What became of it.
    pub stage: Stage,
    /// −log p(answer | prompt) when it arrived, nats.
    pub surprise: f32,
    /// How many times what it left a request composes: [`super::settings::Settings::gain`], or less.
    #[serde(default = "super::settings::as_learned")]
    pub gain: f32,
    /// How often sleep replayed it.
    pub replays: u32,
    /// Place in the order of arrival, from 0; the store's to give, whatever stands here before.
    pub arrived: u64,
    /// What is worth telling about it.
    pub note: Option<String>,
    /// When the memory was told, RFC 3339.
    #[serde(default)]
    pub told: String,
}

impl Entry {
    /// An experience that just arrived.
    pub fn new(experience: Experience) -> Entry {
        Entry {
            experience,
            stage: Stage::Pending,
            surprise: 0.0,
            gain: 1.0,
            replays: 0,
            arrived: 0,
            note: None,
            told: String::new(),
        }
    }

    /// When it happened, as far as is known: its own time, or when the memory was told.
    pub fn instant(&self) -> Option<jiff::Timestamp> {
        self.experience.instant().or_else(|| super::experience::instant(&self.told))
    }

    /// What stays of it when it is forgotten: id, time, tags and its place in the order.
    pub(super) fn forgotten(self) -> Entry {
        let Experience { id, time, tags, .. } = self.experience;
        let experience = Experience { time, tags, ..Experience::new(&id, "", "", Outcome::Reward(0.0)) };
        Entry { stage: Stage::Forgotten, arrived: self.arrived, ..Entry::new(experience) }
    }
}

/// What one commit changes: all of it or nothing. Erasing comes first, so that an engram may be replaced in one change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Entries to insert, or to put in the place of the one with the same id; each id once.
    pub entries: Vec<Entry>,
    /// Engrams to append, in this order.
    pub write: Vec<Engram>,
    /// Engrams to take out: all that this experience left in this linear layer; each must be there.
    pub erase: Vec<(String, Site)>,
    /// Ids of `entries` that arrive again: each goes to the end of the order of arrival, and its old place stays empty. What it
    /// left in the model stays, unless `erase` names it.
    pub anew: Vec<String>,
    /// What the learning program means to do next, in the place of its last plan.
    pub plan: Option<serde_json::Value>,
}
