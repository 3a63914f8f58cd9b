//! A file of kind "e_prop": TOML to checked [`Settings`]. Every refusal is made here, with file, line and what to change.
//! Knows the file format; nothing of training.

use super::trials::Evidence;
use super::{Method, Settings, Task};
use crate::error::Result;
use crate::learning::eprop::{Feedback, Options};
use crate::learning::local::Optimiser;
use crate::protocol::file::{Source, Table, check_name, seeds};
use crate::scenario::read::{Bounds, boolean, check_keys, need, placed, text};
use crate::scenario::tree::Node;

const KEYS: [&str; 10] = ["title", "citation", "description", "kind", "seeds", "task", "network", "training", "methods", "quick"];
const NETWORK: [&str; 16] = [
    "lif",
    "alif",
    "recurrent",
    "dt",
    "tau_m",
    "tau_a",
    "tau_out",
    "threshold",
    "adaptation",
    "refractory",
    "dampening",
    "feedback",
    "frozen",
    "rate",
    "cost",
    "learning_rate",
];
const EVIDENCE: [&str; 14] = [
    "set", "channels", "cues", "cue", "gap", "delay", "signal", "rate", "noise", "weaker", "trials", "every", "solved", "tested",
];
const SPOKEN: [&str; 5] = ["set", "passes", "speaker", "validation", "shift"];
/// Channels and digits of the recordings.
const DIGITS: [usize; 2] = [140, 10];
/// Speakers of the recordings.
pub(super) const SPEAKERS: u8 = 6;
/// The longest trial, steps.
const LONGEST: f64 = 1e6;

/// The typed image of a source of kind "e_prop".
///
/// # Errors
/// The first thing that is wrong, at its place.
pub fn read(source: &Source) -> Result<Settings> {
    let root = &source.root;
    check_keys(root, "this protocol", &KEYS)?;
    let node = need(root, &root.spot, "this protocol", "task", "{ set = \"evidence\" }")?;
    let set = need(node, &node.spot, "[task]", "set", "\"evidence\" or \"spoken\"")?;
    let spoken = crate::scenario::read::choice(set, "set", &["evidence", "spoken"])? == "spoken";
    let task = if spoken { self::spoken(node)? } else { evidence(node)? };
    let [inputs, classes] = match &task {
        Task::Evidence { made, .. } => [made.channels, 2],
        Task::Spoken { .. } => DIGITS,
    };
    let network = network(root.get("network"), "[network]", &NETWORK, &Options::new(inputs, 50, 50, classes, 0))?;
    if let (Task::Evidence { made, .. }, Some(at)) = (&task, node.get("delay").or(Some(node))) {
        let steps = (made.cues as f64 * (made.gap + made.cue) + made.delay + made.signal) / network.dt;
        if steps > LONGEST || (made.signal / network.dt).round() < 1.0 || (made.cue / network.dt).round() < 1.0 {
            return Err(at.error(
                format!("a trial of {steps:.0} steps of {} ms", network.dt),
                "let a trial have at most a million steps, a cue and the signal at least one",
            ));
        }
    }
    let training = Table::new(root.get("training"), "[training]", &["batch", "schedule"])?;
    let batch = training.count("batch", 64, 1)? as usize;
    let falling = training.choice("schedule", "constant", &["linear", "constant"])? == "linear";
    let Some(list) = root.get("methods").filter(|list| !list.entries().is_empty()) else {
        return Err(root.error("a protocol has no methods", "add for instance [methods.symmetric]"));
    };
    let method = |entry: &crate::scenario::tree::Entry| {
        let (name, node) = (&entry.key, &entry.value);
        check_name(name, &entry.key_spot)?;
        let keys = [&NETWORK[..], &["title"]].concat();
        let own = self::network(Some(node), &format!("[methods.{name}]"), &keys, &network)?;
        if own.dt != network.dt {
            return Err(node.error("methods of one protocol see the same trials", "set dt in [network] alone"));
        }
        let title = node.get("title").map_or(Ok(name.as_str()), text)?.to_string();
        Ok(Method { name: name.clone(), title, network: own })
    };
    Ok(Settings {
        title: source.heading("title")?,
        citation: source.heading("citation")?,
        name: source.name.clone(),
        text: source.text.clone(),
        overrides: source.settings.clone(),
        seeds: seeds(root)?,
        task,
        batch,
        falling,
        methods: list.entries().iter().map(method).collect::<Result<_>>()?,
    })
}

fn evidence(node: &Node) -> Result<Task> {
    let t = Table::new(Some(node), "[task]", &EVIDENCE)?;
    let time = |key: &str, default: f64| t.quantity(key, "ms", default, &Bounds::NOT_NEGATIVE);
    let rate = |key: &str, default: f64| t.quantity(key, "Hz", default, &Bounds::NOT_NEGATIVE);
    let made = Evidence {
        channels: t.count("channels", 40, 4)? as usize,
        cues: t.count("cues", 7, 1)? as usize,
        cue: time("cue", 100.0)?,
        gap: time("gap", 50.0)?,
        delay: time("delay", 1050.0)?,
        signal: time("signal", 150.0)?,
        rates: [rate("rate", 40.0)?, rate("noise", 10.0)?],
        weaker: t.number("weaker", 0.3, &Bounds::PROBABILITY)?,
    };
    if let (Some(node), false) = (t.get("channels"), made.channels.is_multiple_of(4) && made.channels <= 1 << 16) {
        return Err(node.error(
            format!("{} channels are no four equal groups", made.channels),
            "give a number that 4 divides, at most 65536: left, right, signal, noise",
        ));
    }
    if let (Some(node), true) = (t.get("cues"), made.cues.is_multiple_of(2) || made.cues > 1000) {
        return Err(node.error(format!("{} cues", made.cues), "give an odd number, at most 999, so that one side has more"));
    }
    Ok(Task::Evidence {
        made,
        trials: t.count("trials", 38_400, 1)? as usize,
        every: t.count("every", 640, 1)? as usize,
        solved: t.number("solved", 0.07, &Bounds::PROBABILITY)?,
        tested: t.count("tested", 512, 1)? as usize,
    })
}

fn spoken(node: &Node) -> Result<Task> {
    let t = Table::new(Some(node), "[task]", &SPOKEN)?;
    let speaker = t.get("speaker").map(|_| t.count("speaker", 0, 0)).transpose()?;
    if let (Some(node), Some(speaker)) = (t.get("speaker"), speaker.filter(|s| *s >= SPEAKERS as u64)) {
        return Err(node.error(format!("there is no speaker {speaker}"), format!("give 0 to {}", SPEAKERS - 1)));
    }
    Ok(Task::Spoken {
        passes: t.count("passes", 20, 1)? as usize,
        speaker: speaker.map(|s| s as u8),
        validation: t.get("validation").map_or(Ok(false), boolean)?,
        shift: t.count("shift", 0, 0)?.min(DIGITS[0] as u64) as u32,
    })
}

/// `base` are the protocol's settings where a method overrides them.
fn network(node: Option<&Node>, what: &str, keys: &[&str], base: &Options) -> Result<Options> {
    let t = Table::new(node, what, keys)?;
    let (positive, least) = (Bounds::POSITIVE, Bounds::NOT_NEGATIVE);
    let time = |key: &str, default: f64, bounds: &Bounds| t.quantity(key, "ms", default, bounds);
    let flag = |key: &str, default: bool| t.get(key).map_or(Ok(default), boolean);
    let mut own = base.clone();
    own.plain = t.count("lif", base.plain as u64, 0)? as usize;
    own.adaptive = t.count("alif", base.adaptive as u64, 0)? as usize;
    own.recurrent = flag("recurrent", base.recurrent)?;
    own.dt = time("dt", base.dt, &positive)?;
    for (at, key) in ["tau_m", "tau_a", "tau_out"].into_iter().enumerate() {
        own.tau[at] = time(key, base.tau[at], &positive)?;
    }
    own.threshold = t.number("threshold", base.threshold.into(), &positive)? as f32;
    own.adaptation = t.number("adaptation", base.adaptation.into(), &least)? as f32;
    own.refractory = time("refractory", base.refractory, &least)?;
    own.dampening = t.number("dampening", base.dampening.into(), &positive)? as f32;
    let feedback = if base.feedback == Feedback::Random { "random" } else { "symmetric" };
    own.feedback = match t.choice("feedback", feedback, &["symmetric", "random"])? {
        "random" => Feedback::Random,
        _ => Feedback::Symmetric,
    };
    own.frozen = flag("frozen", base.frozen)?;
    own.rate = t.quantity("rate", "Hz", base.rate, &least)?;
    own.cost = t.number("cost", base.cost, &least)?;
    own.optimiser = Optimiser::Adam { rate: t.number("learning_rate", base.optimiser.rate().into(), &positive)? as f32 };
    let neurons = own.plain.saturating_add(own.adaptive);
    if let (Some(node), true) = (node, neurons > 1 << 13) {
        return Err(node.error(format!("{neurons} neurons"), "give at most 8192: every one hears every other"));
    }
    match node {
        None => own.check(),
        Some(node) => own.check().map_err(|e| placed(e, &node.spot)),
    }?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_lists_every_key() {
        let text = include_str!("../../../docs/e_prop.md");
        for key in [&super::KEYS[..], &super::NETWORK, &super::EVIDENCE, &super::SPOKEN, &["batch", "schedule"]].concat() {
            assert!(text.contains(&format!("`{key}`")) || text.contains(&format!("`{key} = ")), "{key}");
        }
    }
}
