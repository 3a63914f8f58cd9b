//! Every key that a scenario may hold: the one list that the reader refuses unknown keys by, and that the reference is made from.
//! Data; nothing is read here.

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Type and unit of the value.
    pub kind: &'static str,
    /// What holds where it is left out; [`REQUIRED`] where it must be given, empty where then there is nothing.
    pub default: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
}

/// The default of a key that must be given.
pub const REQUIRED: &str = "required";

/// Keys of one table.
pub type Keys = &'static [Key];

const fn key(name: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

/// When what enters a network is there, and what is done about times between two steps.
const START: Key = key("start", "time (ms)", "0 ms", "Nothing comes before.");
const STOP: Key = key("stop", "time (ms)", "never", "Nothing comes after.");
const OFFGRID: Key = key(
    "allow_offgrid_times",
    "true or false",
    "false",
    "Rounds times between two steps up to the next instead of refusing them.",
);

/// The names of the keys of tables.
pub fn names(tables: &[Keys]) -> Vec<&'static str> {
    tables.iter().flat_map(|keys| keys.iter()).map(|key| key.name).collect()
}

/// Of the file itself.
pub const SCENARIO: Keys = &[
    key("title", "text", "", "What the scenario calls itself."),
    key("citation", "text", "", "The paper that the network is from."),
    key("description", "text", "", "What it shows."),
    key("simulation", "table", REQUIRED, "Step, duration, seed and engine."),
    key("variables", "table", "", "Named numbers for expressions."),
    key("variant", "name of a variant", "", "The variant that holds where none is asked for."),
    key("variants", "table of tables", "", "Named settings to choose from."),
    key("scale", "table", "", "Fewer neurons and synapses than the full network, with the same mean input."),
    key("populations", "table of tables", REQUIRED, "Neurons and sources of spikes, one table each."),
    key("projections", "array of tables", "", "Who connects to whom, and how."),
    key("modulators", "table of tables", "", "Global signals that synapses read."),
    key("homeostasis", "array of tables", "", "What acts on the weights onto a target at stated times."),
    key("drives", "array of tables", "", "Poisson input and currents, one for each neuron."),
    key("published", "array of tables", "", "Published figures to print beside those of a run."),
];

pub const SIMULATION: Keys = &[
    key("dt", "time (ms)", "0.1 ms", "Step of the grid, from 1e-6 to 1000 ms; the event engine has none."),
    key("duration", "time (ms)", REQUIRED, "What counts; a whole number of steps."),
    key("warmup", "time (ms)", "0 ms", "Simulated first, and not counted in the statistics."),
    key("seed", "whole number", "1", "Of every random number."),
    key("engine", "\"auto\", \"cpu\", \"gpu\" or \"event\"", "auto", "What it runs on; --engine says otherwise for one run."),
    key("threads", "whole number", "as many as pay", "Threads of the cpu engine; spikes do not depend on it."),
];

pub const SCALE: Keys = &[
    key("n", "number", "1", "Factor on the neurons of every population; the name `scale_n` in expressions."),
    key("k", "number", "1", "Factor on the synapses of every neuron, whose weights grow by 1/sqrt(k); the name `scale_k`."),
    key(
        "rates",
        "table of rates (Hz)",
        "",
        "Mean rate at full scale of each population whose lost input is replaced by a current.",
    ),
];

pub const POPULATION: Keys = &[
    key("model", "name", REQUIRED, "A neuron model (`sharpwave models` lists them), or a source of spikes."),
    key("n", "whole number", REQUIRED, "Neurons at full scale; spike_generator and images know it themselves."),
    key("positions", "table", "", "Where the neurons lie, for the rule `distance`."),
    key("record", "table", "", "What is recorded of them."),
];

pub const NEURON: Keys = &[
    key(
        "params",
        "table",
        "the model's",
        "Parameters of the model, each for all or for every neuron; names and units are the model's.",
    ),
    key("initial", "table", "the model's", "The same for parameters that say where states start, such as V_m."),
    key(
        "random",
        "table of distributions",
        "",
        "Named numbers, drawn once for each neuron, that its parameters may use together.",
    ),
];

pub const POISSON: Keys =
    &[key("rate", "rate (Hz), for all or for every source", REQUIRED, "Of each source; all are independent."), START, STOP];

pub const SINUSOIDAL: Keys = &[
    key("rate", "rate (Hz), for all or for every source", REQUIRED, "Around which the sine swings."),
    key("amplitude", "rate (Hz), for all or for every source", REQUIRED, "Of the sine; below 0 Hz nothing fires."),
    key("frequency", "rate (Hz)", REQUIRED, "Of the sine."),
    key("phase", "angle (deg)", "0", "At time 0; rad is understood too."),
    START,
    STOP,
];

pub const INHOMOGENEOUS: Keys = &[
    key("times", "array of times (ms)", "", "Increasing; on a grid, ends of steps. With `rates`; or `file`."),
    key(
        "rates",
        "array of rates (Hz)",
        "",
        "What the rate is from each time on: for all, or an array with one for every source.",
    ),
    key("file", "path", "", "A table with a column time, and one of rates for all or one for every source."),
    OFFGRID,
    START,
    STOP,
];

pub const SPIKE_GENERATOR: Keys = &[
    key("times", "array of arrays of times (ms)", "", "The spikes of each source; or `file`."),
    key("file", "path", "", "A table with columns time and id; SONATA's HDF5 or CSV; NEST's .dat or .gdf."),
    key("population", "text", "this population's name", "Whose spikes to take from a file of several populations."),
    key("first_id", "whole number", "1 in .dat and .gdf, else 0", "The id that stands for this population's first source."),
    OFFGRID,
];

pub const IMAGES: Keys = &[
    key("images", "path", REQUIRED, "IDX file of grey pictures, plain or .gz; one source a pixel."),
    key("labels", "path", "", "IDX file of their classes."),
    key("encoding", "\"rate\" or \"latency\"", "rate", "A brighter pixel fires more often, or earlier and once."),
    key("max_rate", "rate (Hz)", "63.75 Hz", "Of a white pixel (rate encoding)."),
    key("window", "time (ms)", "the time of presentation", "The darkest pixel that fires does so at its end (latency encoding)."),
    key("present", "time (ms)", "350 ms", "How long each picture is shown."),
    key("rest", "time (ms)", "150 ms", "Silence after each picture."),
    key("samples", "whole number", "all", "How many pictures are shown, before they start again."),
    key("first", "whole number", "0", "The picture to begin with."),
    key("shuffle", "true or false", "false", "In random order."),
    key("start", "time (ms)", "0 ms", "When the first picture appears."),
];

pub const POSITIONS: Keys = &[
    key("extent", "[width, height] (mm)", REQUIRED, "Of the sheet; populations that connect by distance share it."),
    key("layout", "\"random\" or \"grid\"", "random", "Evenly distributed, or the centres of a grid, row by row."),
    key("file", "path", "", "Instead of a layout: columns x and y in mm, 0 to width and height."),
];

pub const RECORD: Keys = &[
    key(
        "spikes",
        "true, false, a whole number or array of ids",
        "true for neurons",
        "All spikes, none, those of the first so many, or of the neurons listed.",
    ),
    key(
        "states",
        "text or array of texts",
        "",
        "Variables to sample, of those that the model offers (`sharpwave models show NAME`).",
    ),
    key("neurons", "whole number or array of ids", "all", "Whose states: the first so many, or those listed."),
    key("interval", "time (ms)", "1 ms", "Between samples of the states."),
    key("rate_bin", "time (ms)", "", "Records the mean rate of the population in bins of this width."),
    key("start", "time (ms)", "0 ms", "What is stamped by then, or before, is not recorded; of rates, whole bins from then on."),
    key("stop", "time (ms)", "never", "What is stamped later is not recorded; of rates, bins that end by then."),
];

pub const PROJECTION: Keys = &[
    key("name", "text", "SOURCE->TARGET", "To refer to it, and in recordings."),
    key("source", "text or array of texts", REQUIRED, "Populations that send; every pair of source and target is a projection."),
    key("target", "text or array of texts", REQUIRED, "Populations of neurons that receive."),
    key("rule", "name or table", REQUIRED, "Who connects to whom."),
    key("weight", "quantity or distribution, in the receptor's unit", "1", "Of each synapse."),
    key("delay", "time (ms) or distribution", "1 ms", "Of each synapse: at least one step, rounded to the nearest."),
    key(
        "axonal_delay",
        "time (ms)",
        "0 ms",
        "The share of every delay after which a spike of the source counts at a plastic synapse; one of the target counts after the rest, at least a step.",
    ),
    key("receptor", "text", "by the weight's sign", "Through which input of the target's model."),
    key("synapse", "name or table", "static_synapse", "Model of the synapses, and its parameters."),
    key("autapses", "true or false", "true", "Whether a neuron may connect to itself."),
    key("multapses", "true or false", "true", "Whether a pair may be connected more than once."),
    key("record", "table", "", "What is recorded of the synapses."),
];

pub const RECORD_WEIGHTS: Keys = &[
    key("weights", "true or false", "false", "Records every weight, at `start` and at `stop`."),
    key(
        "states",
        "text or array of texts",
        "",
        "Variables of every synapse to record beside its weight, of those that the model offers (`sharpwave models show NAME`).",
    ),
    key("interval", "time (ms)", "", "And at every multiple of this time between."),
    key("start", "time (ms)", "0 ms", "When they are recorded first; a whole number of steps."),
    key("stop", "time (ms)", "the end of the run", "When they are recorded last; a whole number of steps."),
];

pub const RULE: Keys = &[key("name", "name", REQUIRED, "Of the rule; a rule without keys may stand as its name alone.")];

/// Rules by name: what each does, and its keys.
pub const RULES: [(&str, &str, Keys); 8] = [
    ("one_to_one", "Neuron i connects to neuron i; both populations have one size.", &[]),
    ("all_to_all", "Every neuron connects to every neuron.", &[]),
    (
        "pairwise_bernoulli",
        "Every pair is connected with one probability.",
        &[key("p", "0 to 1", REQUIRED, "The probability; it is scaled with scale.k / scale.n.")],
    ),
    (
        "fixed_indegree",
        "Every target receives from so many sources, drawn at random.",
        &[key("indegree", "whole number", REQUIRED, "Synapses a target at full scale.")],
    ),
    (
        "fixed_outdegree",
        "Every source projects to so many targets, drawn at random.",
        &[key("outdegree", "whole number", REQUIRED, "Synapses a source at full scale.")],
    ),
    (
        "fixed_total_number",
        "So many synapses, the ends of each drawn at random.",
        &[
            key("n", "whole number", "", "Synapses at full scale; or `probability`."),
            key(
                "probability",
                "0 to 1",
                "",
                "As many as connect a pair at least once with this probability (Potjans & Diesmann 2014, eq. 1).",
            ),
        ],
    ),
    (
        "distance",
        "A pair is connected with a probability that falls with the distance between its positions.",
        &[
            key(
                "profile",
                "\"constant\", \"gaussian\" or \"exponential\"",
                REQUIRED,
                "p; p0 exp(-d^2 / 2 sigma^2); p0 exp(-d / lambda).",
            ),
            key("p", "0 to 1", "required by constant", "Probability within the radius."),
            key("p0", "0 to 1", "required by the others", "Probability at distance 0."),
            key("sigma", "length (mm)", "required by gaussian", "Its width."),
            key("lambda", "length (mm)", "required by exponential", "Its length."),
            key("radius", "length (mm)", "the sheet; half of it if periodic", "Nothing connects beyond it."),
            key("periodic", "true or false", "false", "The sheet's edges are joined."),
        ],
    ),
    (
        "explicit",
        "The synapses of a file, in columns source, target, and where given weight and delay (ms); ids count from 0 in each population.",
        &[
            key(
                "file",
                "path",
                REQUIRED,
                "A table, a recording, or SONATA's edges; its weights and delays stand for those of the projection.",
            ),
            key(
                "projection",
                "text",
                "",
                "Whose synapses to take from an HDF5 file of several; of a recording the last weights.",
            ),
        ],
    ),
];

pub const SYNAPSE: Keys = &[
    key("model", "name", REQUIRED, "A synapse model (`sharpwave models` lists them); its parameters stand beside this key."),
    key("modulator", "name of a signal", "", "The signal that the model reads, where it reads one."),
    key("gate", "name of a signal", "", "Multiplies every change of the weight by this signal."),
    key(
        "metaplasticity",
        "name, table or array of them",
        "",
        "Modifiers of the weight's changes, applied in order; a table holds `model` and parameters.",
    ),
];

pub const MODIFIER: Keys =
    &[key("model", "name", REQUIRED, "A modifier (`sharpwave models` lists them); its parameters stand beside this key.")];

pub const MODULATOR: Keys = &[
    key("tau", "time (ms), or \"inf\"", REQUIRED, "The signal decays to 0 with it; inf: it stays."),
    key("initial", "number", "0", "The signal at the start."),
    key("jumps", "table", "", "Times at which the signal jumps."),
    key("spikes", "table", "", "A population whose spikes raise the signal."),
];

pub const JUMPS: Keys = &[
    key("times", "array of times (ms)", REQUIRED, "Whole steps."),
    key("amounts", "array of numbers", REQUIRED, "By how much: one a time, or one for all."),
];

pub const SIGNAL_SPIKES: Keys = &[
    key("population", "name of a population", REQUIRED, "Whose spikes."),
    key("delay", "time (ms)", "1 ms", "From a spike to its effect."),
    key("amount", "number", REQUIRED, "What each spike adds."),
];

pub const HOMEOSTASIS: Keys = &[
    key("projection", "text or array of texts", REQUIRED, "Names of projections with plastic synapses."),
    key("every", "time (ms)", REQUIRED, "It acts at every multiple of this time."),
    key(
        "normalise",
        "sum in the weights' unit",
        "",
        "The weights onto a target are multiplied so that they have this sum; or `scaling`.",
    ),
    key("scaling", "table", "", "The weights onto a target are multiplied by 1 + gain (target - its rate)."),
];

pub const SCALING: Keys =
    &[key("target", "rate (Hz)", REQUIRED, "The rate to reach."), key("gain", "number", REQUIRED, "Per Hz off the target.")];

pub const DRIVE: Keys = &[
    key("name", "text", "", "In messages; two drives of one name and target are refused."),
    key("target", "text or array of texts", REQUIRED, "Populations of neurons."),
    key("type", "name", REQUIRED, "What comes in."),
    START,
    STOP,
];

/// Drives by type: what each is, and its keys.
pub const DRIVES: [(&str, &str, Keys); 5] = [
    (
        "poisson_generator",
        "Poisson spikes, an independent train for every neuron.",
        &[
            key("rate", "rate (Hz), for all or for every neuron", REQUIRED, "Of each train."),
            key("weight", "quantity in the receptor's unit", REQUIRED, "What a spike adds."),
            key("receptor", "text", "by the weight's sign", "Through which input of the model."),
        ],
    ),
    (
        "dc_generator",
        "A constant current.",
        &[key("amplitude", "current (pA), for all or for every neuron", REQUIRED, "The current.")],
    ),
    (
        "ac_generator",
        "offset + amplitude sin(2 pi frequency t + phase).",
        &[
            key("amplitude", "current (pA)", REQUIRED, "Of the sine."),
            key("frequency", "rate (Hz)", REQUIRED, "Of the sine."),
            key("phase", "angle (deg)", "0", "At time 0; rad is understood too."),
            key("offset", "current (pA)", "0 pA", "Added to the sine."),
        ],
    ),
    (
        "step_current_generator",
        "A current that changes at stated times.",
        &[
            key("times", "array of times (ms)", "", "Increasing; on a grid, ends of steps. With `amplitudes`; or `file`."),
            key("amplitudes", "array of currents (pA)", "", "What it is from each time on."),
            key("file", "path", "", "A table with columns time and amplitude."),
            OFFGRID,
        ],
    ),
    (
        "noise_generator",
        "A current that is drawn anew at every interval, for every neuron by itself, from a normal distribution.",
        &[
            key("mean", "current (pA)", "0 pA", "Of the distribution."),
            key("std", "current (pA)", REQUIRED, "Of the distribution."),
            key("interval", "time (ms)", "one step", "How long each draw holds."),
        ],
    ),
];

pub const PUBLISHED: Keys = &[
    key("source", "text", REQUIRED, "Where the figures are from."),
    key("quantity", "\"rate\" or \"cv_isi\"", REQUIRED, "What they measure: mean rate in Hz, or irregularity."),
    key("values", "table", REQUIRED, "The figure of each population, by name."),
    key("variant", "name of a variant", "all", "The variant that they hold for."),
];

pub const DISTRIBUTION: Keys = &[key("distribution", "name", REQUIRED, "What is drawn.")];

const MEAN: Key = key("mean", "quantity", REQUIRED, "Mean, before limits.");
const STD: Key = key("std", "quantity", "", "Standard deviation, before limits; or `relative_std`.");
const RELATIVE_STD: Key = key("relative_std", "number", "", "Standard deviation as a part of the mean.");
const LOW: Key = key("low", "quantity", "none", "Draws below it become it.");
const HIGH: Key = key("high", "quantity", "none", "Draws above it become it.");
const REDRAW: Key = key("redraw", "true or false", "false", "Draws again instead, until it lies within low and high.");

/// Distributions by name, with the keys of each.
pub const DISTRIBUTIONS: [(&str, &str, Keys); 5] = [
    ("normal", "A Gauss curve.", &[MEAN, STD, RELATIVE_STD, LOW, HIGH, REDRAW]),
    (
        "lognormal",
        "The exponential of a normal number: by mean and std, or by mu and sigma of the logarithm.",
        &[
            MEAN,
            STD,
            RELATIVE_STD,
            key("mu", "number", "", "Mean of the logarithm; instead of mean."),
            key("sigma", "number", "", "Standard deviation of the logarithm; instead of std."),
            LOW,
            HIGH,
            REDRAW,
        ],
    ),
    (
        "uniform",
        "All values between two alike.",
        &[key("low", "quantity", REQUIRED, "The least."), key("high", "quantity", REQUIRED, "The greatest.")],
    ),
    ("exponential", "Decaying from 0 on.", &[MEAN, LOW, HIGH, REDRAW]),
    ("constant", "No draw at all.", &[key("value", "quantity", REQUIRED, "The value.")]),
];

pub const FILE: Keys = &[
    key(
        "file",
        "path",
        REQUIRED,
        "A table (commas, semicolons or tabs) or an HDF5 file; from the scenario's folder, else from the current one.",
    ),
    key("column", "text or number from 0", "the only one, or that of the key's name", "The column of a table."),
    key("dataset", "text", "required by HDF5 files", "The dataset of an HDF5 file."),
];
