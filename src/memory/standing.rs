//! Which experiences stand and which another one replaced: a function of the experiences that are left, so that forgetting a correction
//! leaves what would be there without it. Knows no model and no file.
//!
//! An experience is an occurrence. Those that ask the same are put in order of their time (when they were told, where none is given);
//! the latest success stands, and replaces earlier ones with another answer. The same answer told again says how it turned out now: a
//! failure replaces the success, a success the failure. Failures of different answers stand beside each other, and rest while a success at
//! their question stands: its answer leads, whatever failed. What says the same as one
//! that stands is its double: it stands too, and only one of them is written. `supersedes` replaces whatever it names.

use super::experience::Experience;
use super::journal::{Entry, Stage};
use std::collections::BTreeMap;

/// What became of one experience among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes effect.
    Stands,
    /// It says what this experience says, which takes effect for both.
    Double {
        /// `id` of the one that is written.
        of: String,
    },
    /// A failure whose question this experience answers: what is right leaves no room for it.
    Answered {
        /// `id` of the success.
        by: String,
    },
    /// Another one took its place.
    Replaced {
        /// `id` of that one.
        by: String,
    },
    /// It was not learned, or it was forgotten.
    Apart,
}

/// What an experience asks: only those that ask the same can replace each other without being told to.
pub fn question(e: &Experience) -> String {
    serde_json::to_string(&(&e.prompt, &e.messages, &e.tools)).unwrap_or_default()
}

/// The standing of each of some entries, in their order of arrival.
pub fn standings(entries: &[Entry]) -> Vec<Standing> {
    let mut all: Vec<Standing> = entries
        .iter()
        .map(|e| match e.stage {
            Stage::Awake | Stage::Asleep | Stage::Superseded { .. } => Standing::Stands,
            Stage::Pending | Stage::Forgotten | Stage::Refused { .. } => Standing::Apart,
        })
        .collect();
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let reward = |i: usize| entries[i].experience.outcome.reward();
    // What brought neither reward nor punishment says nothing.
    for i in (0..entries.len()).filter(|i| all[*i] == Standing::Stands && reward(*i) != 0.0) {
        groups.entry(question(&entries[i].experience)).or_default().push(i);
    }
    let says = |i: usize| (&entries[i].experience.answer, entries[i].experience.join);
    for group in groups.values_mut() {
        group.sort_by_key(|i| (entries[*i].instant(), entries[*i].arrived));
        for (at, &i) in group.iter().enumerate() {
            let failed = |at: usize| group[at + 1..].iter().any(|j| says(*j) == says(group[at]) && reward(*j) < 0.0);
            // The last word on this answer, and the last answer that is right and did not fail since.
            let verdict = group[at + 1..].iter().rfind(|j| says(**j) == says(i));
            let right = (at + 1..group.len()).rfind(|j| reward(group[*j]) > 0.0 && !failed(*j)).map(|j| &group[j]);
            let by = match (verdict, right) {
                (_, Some(right)) if reward(i) > 0.0 && says(*right) != says(i) => Some(right),
                (Some(verdict), _) if reward(*verdict) != reward(i) => Some(verdict),
                _ => None,
            };
            if let Some(by) = by {
                all[i] = Standing::Replaced { by: entries[*by].experience.id.clone() };
            }
        }
    }
    // What was named takes its leave: whoever names it has to be there, standing or not. What arrived after it was named, told
    // anew once it had been forgotten, is not what was meant.
    for i in 0..entries.len() {
        let Some(old) = &entries[i].experience.supersedes else { continue };
        if all[i] == Standing::Apart {
            continue;
        }
        let named = entries[..i].iter().position(|e| e.experience.id == *old);
        if let Some(named) = named.filter(|n| all[*n] != Standing::Apart) {
            all[named] = Standing::Replaced { by: entries[i].experience.id.clone() };
        }
    }
    // Of those that say the same the first that is left is written.
    for group in groups.into_values() {
        let mut first: Vec<usize> = Vec::new();
        for i in group {
            match first.iter().find(|j| says(**j) == says(i)) {
                _ if all[i] != Standing::Stands => {}
                Some(&j) => all[i] = Standing::Double { of: entries[j].experience.id.clone() },
                None => first.push(i),
            }
        }
    }
    // Last, as what answers may have been replaced.
    let right: BTreeMap<String, String> = (0..entries.len())
        .filter(|i| all[*i] == Standing::Stands && reward(*i) > 0.0)
        .map(|i| (question(&entries[i].experience), entries[i].experience.id.clone()))
        .collect();
    for i in (0..entries.len()).filter(|i| reward(*i) < 0.0) {
        if matches!(all[i], Standing::Stands | Standing::Double { .. })
            && let Some(by) = right.get(&question(&entries[i].experience))
        {
            all[i] = Standing::Answered { by: by.clone() };
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::experience::{Join, Outcome};
    use proptest::prelude::*;

    fn entry(id: &str, prompt: &str, answer: &str, reward: f64, time: Option<&str>, arrived: u64) -> Entry {
        let experience =
            Experience { time: time.map(String::from), ..Experience::new(id, prompt, answer, Outcome::Reward(reward)) };
        Entry {
            stage: Stage::Awake,
            arrived,
            told: format!("2026-03-01T00:00:{:02}Z", arrived.min(59)),
            ..Entry::new(experience)
        }
    }

    fn replaced(by: &str) -> Standing {
        Standing::Replaced { by: by.into() }
    }

    #[test]
    fn the_last_word_stands_by_time_where_it_is_given() {
        let mut all = vec![
            entry("a", "The city is", "Lisbon", 1.0, Some("2026-01-01T10:00:00Z"), 0),
            entry("b", "The city is", "Oslo", 1.0, Some("2026-02-01T10:00:00Z"), 1),
            entry("c", "The town is", "Rome", 1.0, None, 2),
        ];
        assert_eq!(standings(&all), [replaced("b"), Standing::Stands, Standing::Stands]);
        all.push(entry("d", "The city is", "Lisbon", 1.0, Some("2026-03-01T10:00:00+02:00"), 3));
        assert_eq!(standings(&all)[..2], [Standing::Stands, replaced("d")]);
        assert_eq!(standings(&all)[3], Standing::Double { of: "a".into() });
        // An older one that arrives later changes nothing.
        all.push(entry("e", "The city is", "Bonn", 1.0, Some("2020-01-01T00:00:00Z"), 4));
        assert_eq!(standings(&all)[4], replaced("d"));
        // Without the correction the first stands again.
        all.truncate(2);
        all[1].stage = Stage::Forgotten;
        assert_eq!(standings(&all), [Standing::Stands, Standing::Apart]);
    }

    #[test]
    fn outcomes_of_the_same_action_replace_each_other_and_failures_stand_side_by_side() {
        let all = [
            entry("a", "To close it, click", "Accept", 1.0, None, 0),
            entry("b", "To close it, click", "Accept", -1.0, None, 1),
            entry("c", "To close it, click", "Reject", -1.0, None, 2),
            entry("d", "To close it, click", "Later", 1.0, None, 3),
        ];
        let answered = || Standing::Answered { by: "d".into() };
        assert_eq!(standings(&all), [replaced("d"), answered(), answered(), Standing::Stands]);
        assert_eq!(standings(&all[..3]), [replaced("b"), Standing::Stands, Standing::Stands]);
        let twice = [
            all[1].clone(),
            entry("e", "To close it, click", "Accept", -1.0, None, 4),
            entry("f", "To close it, click", "Accept", 0.5, None, 5),
        ];
        assert_eq!(standings(&twice[..2]), [Standing::Stands, Standing::Double { of: "b".into() }]);
        assert_eq!(standings(&twice), [replaced("f"), replaced("f"), Standing::Stands]);
    }

    #[test]
    fn what_is_named_goes_and_its_double_stays() {
        let mut all =
            [entry("a", "x", "1", 1.0, None, 0), entry("b", "x", "1", 1.0, None, 1), entry("c", "y", "2", 1.0, None, 2)];
        all[2].experience.supersedes = Some("a".into());
        assert_eq!(standings(&all), [replaced("c"), Standing::Stands, Standing::Stands]);
        all[2].stage = Stage::Refused { reason: "no".into() };
        assert_eq!(standings(&all), [Standing::Stands, Standing::Double { of: "a".into() }, Standing::Apart]);
        // Of several doubles one stands.
        let mut more = all.to_vec();
        more[2].stage = Stage::Awake;
        more.push(entry("d", "x", "1", 1.0, None, 3));
        assert_eq!(standings(&more)[..2], [replaced("c"), Standing::Stands]);
        assert_eq!(standings(&more)[3], Standing::Double { of: "b".into() });
        // What is joined otherwise says something else, and the last word stands.
        more[3].experience.join = Join::None;
        assert_eq!(standings(&more)[1..], [replaced("d"), Standing::Stands, Standing::Stands]);
        // Forgotten, named, and then told anew: it is there again.
        all[2].stage = Stage::Awake;
        all.rotate_left(1);
        all[2] = entry("a", "x", "1", 1.0, None, 3);
        assert_eq!(standings(&all), [Standing::Stands, Standing::Stands, Standing::Double { of: "b".into() }]);
    }

    proptest! {
        /// At most one success an answer stands for a question, what replaces is there, and the stages that entries had do not matter.
        #[test]
        fn one_success_stands(words in proptest::collection::vec((0..2u8, 0..3u8, -1i8..=1, 0..4u8, 0..16u8), 0..12)) {
            let time = |t: u8| (t > 0).then(|| format!("2026-0{t}-01T00:00:00Z"));
            let mut all: Vec<Entry> = words.iter().enumerate().map(|(i, (p, a, r, t, named))| {
                let (id, prompt, answer) = (format!("e{i}"), format!("p{p}"), format!("a{a}"));
                let mut entry = entry(&id, &prompt, &answer, f64::from(*r), time(*t).as_deref(), i as u64);
                entry.experience.supersedes = (usize::from(*named) < i).then(|| format!("e{named}"));
                entry
            }).collect();
            let standing = standings(&all);
            for p in 0..2 {
                let prompt = format!("p{p}");
                let right: Vec<&str> = all.iter().zip(&standing)
                    .filter(|(e, s)| **s == Standing::Stands && e.experience.prompt == prompt && e.experience.outcome.reward() > 0.0)
                    .map(|(e, _)| e.experience.id.as_str()).collect();
                prop_assert!(right.len() <= 1, "{:?}", right);
            }
            for s in &standing {
                if let Standing::Replaced { by: other } | Standing::Double { of: other } = s {
                    let at = all.iter().position(|e| e.experience.id == *other).unwrap();
                    prop_assert!(standing[at] != Standing::Apart);
                }
            }
            for (e, s) in all.iter_mut().zip(&standing) {
                if let Standing::Replaced { by } = s {
                    e.stage = Stage::Superseded { by: by.clone() };
                }
            }
            prop_assert_eq!(standings(&all), standing);
        }
    }
}
