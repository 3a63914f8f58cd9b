//! The reference of the scenario language, in Markdown: made from the keys that the reader knows, with an example a section. Every
//! example is a scenario that runs. Knows no terminal and no file.

pub use super::keys::{Key, Keys, REQUIRED};

use super::keys::{self, DISTRIBUTIONS, DRIVES, RULES};
use super::read::suggest;
use crate::error::{Error, Result};
use crate::{expr, units};
use std::fmt::Write;

/// A part of the reference.
pub struct Section {
    /// As it is asked for: "rules".
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What it is about, in Markdown.
    pub text: &'static str,
    /// Tables of keys: heading, what it is (may be empty), keys.
    pub tables: Vec<(String, &'static str, Keys)>,
    /// A scenario that shows it.
    pub example: &'static str,
    /// The files that the example reads: name and text.
    pub files: &'static [(&'static str, &'static str)],
}

/// All sections, in order.
pub fn sections() -> Vec<Section> {
    let own = |heading: &str, keys| (heading.to_string(), "", keys);
    let of = |kind: &'static str| {
        move |(name, what, keys): (&'static str, &'static str, Keys)| (format!("{kind} `{name}`"), what, keys)
    };
    vec![
        Section {
            name: "scenario",
            title: "The file",
            text: "A scenario is a TOML file. Whatever is wrong with it is refused before anything runs, with line, column and what to write \
                   instead; a key that is not listed here is refused too.\n\nAny value can be set from outside by its path: \
                   `--set populations.E.n=200`, `--set variables.g=4.5`, `--set \"projections.0.weight=40 pA\"` (items of arrays of tables \
                   count from 0).",
            tables: vec![own("the file", keys::SCENARIO)],
            example: SCENARIO,
            files: &[],
        },
        Section {
            name: "values",
            title: "Quantities, expressions, values for every neuron",
            text: VALUES,
            tables: [own("{ file = … }", keys::FILE), own("{ distribution = … }", keys::DISTRIBUTION)]
                .into_iter()
                .chain(DISTRIBUTIONS.map(of("distribution")))
                .collect(),
            example: VALUES_EXAMPLE,
            files: &[("cells.csv", "id,I_e\n1,310\n0,380\n2,400\n")],
        },
        Section {
            name: "simulation",
            title: "[simulation]",
            text: "How long, in which steps, and on which engine. Durations are whole numbers of steps.",
            tables: vec![own("[simulation]", keys::SIMULATION)],
            example: SIMULATION,
            files: &[],
        },
        Section {
            name: "variables",
            title: "[variables]",
            text: "Names for numbers, each a number, a quantity or an expression over other variables in any order; the keys are free. A \
                   quantity counts in its base unit (ms, mV, pA, pF, nS, Hz, mm), a plain number as it stands. `scale_n` and `scale_k` are \
                   names too.",
            tables: vec![],
            example: VARIABLES,
            files: &[],
        },
        Section {
            name: "variants",
            title: "[variants]",
            text: "`[variants.NAME]` holds settings under the paths of the keys that they replace, in quotes; `--variant NAME` applies them, \
                   before what `--set` says. `variant` at the head of the file names the one that holds where none is asked for.",
            tables: vec![],
            example: VARIANTS,
            files: &[],
        },
        Section {
            name: "scale",
            title: "[scale]",
            text: "A smaller network with the same mean and variance of its input (van Albada, Helias & Diesmann 2015, PLoS Comput Biol \
                   11:e1004490): weights grow by 1/sqrt(k), and a constant current replaces the mean input that is lost, for which the rates of \
                   the full network must be known. Sizes, in-degrees and numbers of synapses in the file are those of the full network.",
            tables: vec![own("[scale]", keys::SCALE)],
            example: SCALE,
            files: &[],
        },
        Section {
            name: "populations",
            title: "[populations.NAME]",
            text: "Neurons of one model. The model's own parameters stand under `params` and `initial`: `sharpwave models show NAME` lists them \
                   with units and defaults.",
            tables: vec![own("[populations.NAME]", keys::POPULATION), own("… of neurons", keys::NEURON)],
            example: POPULATIONS,
            files: &[],
        },
        Section {
            name: "sources",
            title: "Sources of spikes",
            text: "A population may also be a source, which sends spikes along projections and has no dynamics.",
            tables: vec![
                own("model = \"poisson\"", keys::POISSON),
                own("model = \"sinusoidal_poisson\"", keys::SINUSOIDAL),
                own("model = \"inhomogeneous_poisson\"", keys::INHOMOGENEOUS),
                own("model = \"spike_generator\"", keys::SPIKE_GENERATOR),
                own("model = \"images\"", keys::IMAGES),
            ],
            example: SOURCES,
            files: &[("spikes.csv", "time,id\n2.5,0\n7.0,1\n7.1,0\n"), ("rates.csv", "time,left,right\n0,20,80\n25,80,20\n")],
        },
        Section {
            name: "positions",
            title: "positions = { … }",
            text: "Where the neurons of a population lie on a sheet, in mm.",
            tables: vec![own("positions", keys::POSITIONS)],
            example: POSITIONS,
            files: &[("xy.csv", "x,y\n0.1,0.1\n0.5,0.5\n0.9,0.2\n")],
        },
        Section {
            name: "record",
            title: "record = { … }",
            text: "What goes into the recording (`--out FILE.h5`, SONATA's layout). Spikes of neurons are recorded unless this says otherwise, \
                   those of sources only if it does. Stretches of time are (start, stop], as a step covers them; what is recorded \
                   within is what a recording without limits has there.",
            tables: vec![own("record of a population", keys::RECORD), own("record of a projection", keys::RECORD_WEIGHTS)],
            example: RECORD,
            files: &[],
        },
        Section {
            name: "projections",
            title: "[[projections]]",
            text: "Synapses from one population onto another. A negative weight goes to the inhibitory input where none is named, from a \
                   constant, a file or a distribution alike.",
            tables: vec![own("[[projections]]", keys::PROJECTION)],
            example: PROJECTIONS,
            files: &[],
        },
        Section {
            name: "rules",
            title: "rule = …",
            text: "Who connects to whom. `autapses = false` and `multapses = false` of the projection hold for every rule that draws.",
            tables: std::iter::once(own("a rule", keys::RULE)).chain(RULES.map(of("rule"))).collect(),
            example: RULES_EXAMPLE,
            files: &[("edges.csv", "source,target,weight,delay\n0,1,40,1.5\n2,0,60,0.5\n")],
        },
        Section {
            name: "synapses",
            title: "synapse = { … }",
            text: "The model of a projection's synapses, and what changes their weights. Parameters of the model stand beside `model`, those of \
                   a modifier beside its own.",
            tables: vec![own("synapse", keys::SYNAPSE), own("metaplasticity", keys::MODIFIER)],
            example: SYNAPSES,
            files: &[],
        },
        Section {
            name: "modulators",
            title: "[modulators]",
            text: "Global signals, one table each: they jump and decay, and synapses read them by name (`modulator`, `gate`).",
            tables: vec![
                own("[modulators] NAME", keys::MODULATOR),
                own("jumps", keys::JUMPS),
                own("spikes", keys::SIGNAL_SPIKES),
            ],
            example: MODULATORS,
            files: &[],
        },
        Section {
            name: "homeostasis",
            title: "[[homeostasis]]",
            text: "At stated times, all weights of a plastic projection onto each target are multiplied by one factor. What is on its way then \
                   acts after it.",
            tables: vec![own("[[homeostasis]]", keys::HOMEOSTASIS), own("scaling", keys::SCALING)],
            example: HOMEOSTASIS,
            files: &[],
        },
        Section {
            name: "drives",
            title: "[[drives]]",
            text: "What comes into neurons without a source of its own: Poisson spikes and currents.",
            tables: std::iter::once(own("[[drives]]", keys::DRIVE)).chain(DRIVES.map(of("type"))).collect(),
            example: DRIVES_EXAMPLE,
            files: &[],
        },
        Section {
            name: "published",
            title: "[[published]]",
            text: "Figures of a paper, which a run prints beside its own.",
            tables: vec![own("[[published]]", keys::PUBLISHED)],
            example: PUBLISHED,
            files: &[],
        },
    ]
}

/// The reference as Markdown, or one section of it.
///
/// # Errors
/// A section that there is not.
pub fn markdown(section: Option<&str>) -> Result<String> {
    let all = sections();
    if let Some(name) = section {
        let names: Vec<&str> = all.iter().map(|s| s.name).collect();
        let found = all.iter().find(|s| s.name == name);
        let unknown = || Error::input(format!("the scenario reference has no section `{name}`"), suggest(name, names));
        return found.map(Section::markdown).ok_or_else(unknown);
    }
    let mut text = String::from(
        "# Scenarios\n\nMade by `sharpwave help scenario`, from the keys that the program reads; `sharpwave help scenario SECTION` prints one \
         section.\n\n",
    );
    for section in &all {
        let _ = writeln!(text, "* `{}`: {}", section.name, heading(section.title));
    }
    for section in &all {
        text += "\n";
        text += &section.markdown();
    }
    Ok(text)
}

/// What stands in TOML, as code.
fn heading(text: &str) -> String {
    if text.contains(['[', '=', '{']) { format!("`{text}`") } else { text.to_string() }
}

/// Lines of 110 characters where there are spaces to break at, those of a list indented.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (indent, mut width) = (if line.starts_with("* ") { "  " } else { "" }, 0);
        for (k, word) in line.split(' ').enumerate() {
            let long = word.chars().count();
            if k > 0 && width + 1 + long > 110 {
                out += &format!("\n{indent}");
                width = indent.len();
            } else if k > 0 {
                out.push(' ');
                width += 1;
            }
            out += word;
            width += long;
        }
        out.push('\n');
    }
    out
}

impl Section {
    fn markdown(&self) -> String {
        let (functions, units) = (expr::functions().join(", "), units::names().join(", "));
        let prose = self.text.replace("{functions}", &functions).replace("{units}", &units);
        let mut text = format!("## {}\n\n{}", heading(self.title), wrapped(&prose));
        for (name, what, keys) in &self.tables {
            let what = if what.is_empty() { String::new() } else { format!(" {what}") };
            let none = if keys.is_empty() { " No keys." } else { "" };
            let _ = write!(text, "\n{}\n", wrapped(&format!("**{}**:{what}{none}", heading(name))));
            for key in keys.iter() {
                let default = match key.default {
                    "" => String::new(),
                    REQUIRED => ", required".into(),
                    other if other.starts_with(REQUIRED) => format!(", {other}"),
                    other => format!(", default {other}"),
                };
                text += &wrapped(&format!("* `{}` ({}{default}): {}", key.name, key.kind, key.meaning));
            }
            if keys.is_empty() {
                text.pop();
            }
        }
        let _ = write!(text, "\n```toml\n{}```\n", self.example);
        for (name, content) in self.files {
            let _ = write!(text, "\n{name}:\n\n```csv\n{content}```\n");
        }
        text
    }

    /// The names of its keys.
    pub fn keys(&self) -> Vec<&'static str> {
        self.tables.iter().flat_map(|(_, _, keys)| keys.iter().map(|key| key.name)).collect()
    }
}

const VALUES: &str = "A number without a unit is in the unit of its key. A string is a quantity: an expression and a unit, as in `\"20 ms\"`, \
`\"0.02 s\"`, `\"2000 * 8 Hz\"`, `\"-g * J pA\"`. A wrong dimension is refused.\n\n\
* Units: {units}, and products of them such as `mV/ms`, `pA*ms`, `mm^2`; deg for angles.\n\
* Expressions: `+ - * / ^`, comparisons, `&& || !`, `c ? a : b` or `if(c, a, b)`, the functions {functions}, the constants pi and inf, and the \
names of `[variables]`, `scale_n` and `scale_k`.\n\
* A value for every neuron is one quantity for all, an array with one for each, a column of a file, or a distribution to draw from. Weights \
and delays are one quantity or a distribution. Expressions in `params` and `initial` may also use the names \
of the population's `random`.\n\
* In a table file the first line names the columns; blank lines and lines that start with # are passed over. A column called id, ids, neuron \
or node_id says whose each value is, in any order. Values of an HDF5 dataset with an attribute `units` are converted.";

const SCENARIO: &str = r#"title = "A noisy population"

[simulation]
duration = "100 ms"

[populations.E]
model = "iaf_psc_exp"
n = 100

[[projections]]
source = "E"
target = "E"
rule = { name = "fixed_indegree", indegree = 10 }
weight = "20 pA"
delay = "1.5 ms"

[[drives]]
target = "E"
type = "poisson_generator"
rate = "10 kHz"
weight = "50 pA"
"#;

const VALUES_EXAMPLE: &str = r#"[simulation]
duration = "50 ms"

[variables]
J = "87.8 pA"
n = 3

[populations.E]
model = "iaf_psc_exp"
n = "n"
params = { tau_m = [10.0, "10 ms", "0.01 s"], I_e = { file = "cells.csv", column = "I_e" } }
initial = { V_m = { distribution = "normal", mean = "-60 mV", std = "3 mV", high = "-55 mV", redraw = true } }

[[projections]]
source = "E"
target = "E"
rule = "all_to_all"
weight = { distribution = "lognormal", mean = "J / n pA", relative_std = 0.1 }
delay = { distribution = "uniform", low = "0.5 ms", high = "max(1.5, 2) ms" }
"#;

const SIMULATION: &str = r#"[simulation]
dt = "0.1 ms"
duration = "100 ms"
warmup = "20 ms"
seed = 7
engine = "cpu"
threads = 2

[populations.E]
model = "iaf_psc_exp"
n = 10
params = { I_e = "400 pA" }
"#;

const VARIABLES: &str = r#"[simulation]
duration = "50 ms"

[variables]
g = 5
J = "0.1 mV"
J_inhibitory = "-g * J"
rate = "2 * base"
base = "5 kHz"

[populations.E]
model = "iaf_psc_delta"
n = 10

[[projections]]
source = "E"
target = "E"
rule = "all_to_all"
weight = "J_inhibitory mV"

[[drives]]
target = "E"
type = "poisson_generator"
rate = "rate"
weight = "J"
"#;

const VARIANTS: &str = r#"variant = "calm"

[simulation]
duration = "50 ms"

[variants.calm]
"populations.E.params.I_e" = "300 pA"
[variants.busy]
"populations.E.params.I_e" = "600 pA"
"simulation.duration" = "80 ms"

[populations.E]
model = "iaf_psc_exp"
n = 10
params = { I_e = 0 }
"#;

const SCALE: &str = r#"[simulation]
duration = "50 ms"

[scale]
n = 0.1
k = 0.5
rates = { E = "8 Hz" }

[populations.E]
model = "iaf_psc_exp"
n = 1000

[[projections]]
source = "E"
target = "E"
rule = { name = "fixed_indegree", indegree = 100 }
weight = "10 pA"

[[drives]]
target = "E"
type = "poisson_generator"
rate = "8 kHz"
weight = "50 pA"
"#;

const POPULATIONS: &str = r#"[simulation]
duration = "50 ms"

[populations.excitatory]
model = "izhikevich"
n = 80
random = { r = { distribution = "uniform", low = 0, high = 1 } }
params = { a = 0.02, b = 0.2, c = "-65 + 15 * r^2 mV", d = "8 - 6 * r^2", I_e = 10 }

[populations.inhibitory]
model = "iaf_psc_exp"
n = 20
params = { tau_m = "10 ms", I_e = "400 pA" }
initial = { V_m = "-65 mV" }
"#;

const SOURCES: &str = r#"[simulation]
duration = "50 ms"

[populations.noise]
model = "poisson"
n = 20
rate = "50 Hz"
stop = "30 ms"

[populations.rhythm]
model = "sinusoidal_poisson"
n = 20
rate = "40 Hz"
amplitude = "30 Hz"
frequency = "50 Hz"

[populations.stepped]
model = "inhomogeneous_poisson"
n = 2
file = "rates.csv"

[populations.switched]
model = "inhomogeneous_poisson"
n = 2
times = ["10 ms", "30 ms"]
rates = [[50, 100], 0]

[populations.played]
model = "spike_generator"
file = "spikes.csv"

[populations.written]
model = "spike_generator"
times = [[1.0, 5.0], [2.5]]
record = { spikes = true }

[populations.E]
model = "iaf_psc_exp"
n = 10

[[projections]]
source = ["noise", "rhythm", "stepped", "switched", "played", "written"]
target = "E"
rule = "all_to_all"
weight = "100 pA"
"#;

const POSITIONS: &str = r#"[simulation]
duration = "20 ms"

[populations.E]
model = "iaf_psc_exp"
n = 100
positions = { extent = ["1 mm", "1 mm"], layout = "grid" }

[populations.probe]
model = "iaf_psc_exp"
n = 3
positions = { extent = [1, 1], file = "xy.csv" }

[[projections]]
source = "E"
target = "probe"
rule = { name = "distance", profile = "constant", p = 0.5, radius = "0.2 mm" }
weight = "20 pA"
"#;

const RECORD: &str = r#"[simulation]
duration = "50 ms"

[populations.E]
model = "iaf_psc_exp"
n = 20
params = { I_e = "400 pA" }
record = { spikes = [0, 5, 7], states = ["V_m", "I_syn_ex"], neurons = [0, 5], interval = "0.5 ms", rate_bin = "5 ms", start = "10 ms", stop = "40 ms" }

[[projections]]
source = "E"
target = "E"
rule = { name = "pairwise_bernoulli", p = 0.2 }
weight = "10 pA"
synapse = { model = "stdp_synapse", Wmax = 50.0 }
record = { weights = true, interval = "10 ms", start = "20 ms" }
"#;

const PROJECTIONS: &str = r#"[simulation]
duration = "50 ms"

[populations.E]
model = "iaf_psc_exp"
n = 80
params = { I_e = "400 pA" }

[populations.I]
model = "iaf_psc_exp"
n = 20
params = { I_e = "400 pA" }

[[projections]]
source = "E"
target = ["E", "I"]
rule = { name = "fixed_indegree", indegree = 8 }
weight = { distribution = "normal", mean = "40 pA", std = "4 pA", low = 0 }
delay = { distribution = "normal", mean = "1.5 ms", std = "0.5 ms", low = "0.1 ms", redraw = true }

[[projections]]
name = "inhibition"
source = "I"
target = "E"
rule = { name = "fixed_outdegree", outdegree = 16 }
weight = "-160 pA"
receptor = "inhibitory"
autapses = false
multapses = false
"#;

const RULES_EXAMPLE: &str = r#"[simulation]
duration = "20 ms"

[populations.A]
model = "iaf_psc_exp"
n = 100
positions = { extent = [1, 1] }

[populations.B]
model = "iaf_psc_exp"
n = 100
positions = { extent = [1, 1] }

[[projections]]
source = "A"
target = "B"
rule = "one_to_one"
weight = "20 pA"

[[projections]]
source = "A"
target = "B"
rule = { name = "distance", profile = "gaussian", p0 = 0.8, sigma = "0.1 mm", periodic = true }
weight = "20 pA"

[[projections]]
source = "B"
target = "A"
rule = { name = "distance", profile = "exponential", p0 = 0.5, lambda = "100 um", radius = "0.4 mm" }
weight = "20 pA"

[[projections]]
source = "B"
target = "B"
rule = { name = "fixed_total_number", probability = 0.05 }
multapses = false

[[projections]]
source = "A"
target = "A"
rule = { name = "explicit", file = "edges.csv" }
"#;

const SYNAPSES: &str = r#"[simulation]
duration = "100 ms"

[populations.input]
model = "poisson"
n = 20
rate = "50 Hz"

[populations.E]
model = "iaf_psc_exp"
n = 10
params = { I_e = "380 pA" }

[[projections]]
source = "input"
target = "E"
rule = "all_to_all"
weight = "50 pA"
synapse = { model = "tsodyks2_synapse", U = 0.5, tau_rec = "100 ms" }

[[projections]]
name = "learning"
source = "input"
target = "E"
rule = "all_to_all"
weight = "20 pA"
synapse = { model = "stdp_synapse", Wmax = 100.0, metaplasticity = { model = "consolidation", m = 0.1 } }
"#;

const MODULATORS: &str = r#"[simulation]
duration = "100 ms"

[populations.DA]
model = "poisson"
n = 5
rate = "20 Hz"

[populations.E]
model = "iaf_psc_exp"
n = 10
params = { I_e = "400 pA" }

[modulators]
dopamine = { tau = "200 ms", jumps = { times = ["50 ms"], amounts = [1.0] }, spikes = { population = "DA", delay = "2 ms", amount = 0.005 } }
attention = { tau = "inf", initial = 1.0 }

[[projections]]
source = "E"
target = "E"
rule = "all_to_all"
weight = "10 pA"
synapse = { model = "stdp_dopamine_synapse", Wmax = 50.0, modulator = "dopamine" }

[[projections]]
source = "E"
target = "E"
rule = "all_to_all"
weight = "10 pA"
synapse = { model = "stdp_synapse", Wmax = 50.0, gate = "attention" }
"#;

const HOMEOSTASIS: &str = r#"[simulation]
duration = "100 ms"

[populations.E]
model = "iaf_psc_exp"
n = 20
params = { I_e = "400 pA" }

[[projections]]
name = "E_E"
source = "E"
target = "E"
rule = "all_to_all"
weight = "10 pA"
synapse = { model = "stdp_synapse", Wmax = 50.0 }

[[homeostasis]]
projection = "E_E"
every = "50 ms"
normalise = "200 pA"

[[homeostasis]]
projection = "E_E"
every = "20 ms"
scaling = { target = "5 Hz", gain = 0.001 }
"#;

const DRIVES_EXAMPLE: &str = r#"[simulation]
duration = "50 ms"

[populations.E]
model = "iaf_psc_exp"
n = 10

[[drives]]
name = "background"
target = "E"
type = "poisson_generator"
rate = "8 kHz"
weight = "40 pA"

[[drives]]
target = "E"
type = "dc_generator"
amplitude = { distribution = "uniform", low = "0 pA", high = "50 pA" }
start = "10 ms"
stop = "40 ms"

[[drives]]
target = "E"
type = "ac_generator"
amplitude = "50 pA"
frequency = "40 Hz"
phase = "90 deg"

[[drives]]
target = "E"
type = "step_current_generator"
times = ["10 ms", "30 ms"]
amplitudes = ["100 pA", "0 pA"]

[[drives]]
target = "E"
type = "noise_generator"
std = "100 pA"
interval = "1 ms"
"#;

const PUBLISHED: &str = r#"[simulation]
duration = "200 ms"

[populations.E]
model = "iaf_psc_exp"
n = 10
params = { I_e = "400 pA" }

[[published]]
source = "a table of the paper"
quantity = "rate"
values = { E = 38.5 }
"#;
