//! WGSL text of every kernel: the frames of shaders/ with a model spliced in. Promises that what `sharpwave models show --wgsl`
//! prints is what runs; needs no device.

use crate::error::{Error, Result};
use crate::model::{Constant, NeuronModel, PostState, Sign, State, SynapseModel, Ty};
use std::fmt::Write;

const WINDOW: &str = include_str!("../../../shaders/window.wgsl");
const PHILOX: &str = include_str!("../../../shaders/philox.wgsl");
const POISSON: &str = include_str!("../../../shaders/poisson.wgsl");
const RECORD: &str = include_str!("../../../shaders/record.wgsl");
const TELL: &str = include_str!("../../../shaders/tell.wgsl");
const UPDATE: &str = include_str!("../../../shaders/update.wgsl");
const SHARED: &str = include_str!("../../../shaders/shared.wgsl");
const OWNED: &str = include_str!("../../../shaders/owned.wgsl");
const SOURCES: &str = include_str!("../../../shaders/sources.wgsl");
const DELIVER: &str = include_str!("../../../shaders/deliver.wgsl");
const DELIVER_DYNAMIC: &str = include_str!("../../../shaders/deliver_dynamic.wgsl");
const TABLE: &str = include_str!("../../../shaders/table.wgsl");
const PLAIN: &str = include_str!("../../../shaders/plain.wgsl");
const PLASTIC: &str = include_str!("../../../shaders/plastic.wgsl");
const HISTORY: &str = include_str!("../../../shaders/history.wgsl");
const EXP: &str = include_str!("../../../shaders/exp.wgsl");
const LOG: &str = include_str!("../../../shaders/log.wgsl");
const FLUSH: &str = include_str!("../../../shaders/flush.wgsl");
const NORMAL: &str = include_str!("../../../shaders/normal.wgsl");
const COUNT: &str = include_str!("../../../shaders/count.wgsl");
const REMEMBER: &str = include_str!("../../../shaders/remember.wgsl");
/// The kernel that samples states.
pub const PROBE: &str = include_str!("../../../shaders/probe.wgsl");
/// The kernel that does next to nothing, for what a dispatch costs.
pub const TOUCH: &str = "@group(0) @binding(0) var<storage, read_write> word: array<u32>;
@compute @workgroup_size(64) fn touch(@builtin(global_invocation_id) id: vec3u) { word[id.x] += 1u; }";

/// The kernel that advances all neurons of a model; `owned`: and gathers what arrives at them, as their workgroup owns them.
pub fn update_shader(model: &NeuronModel, owned: bool) -> String {
    let mut access = loads(&model.constants, &model.states, |state| format!(", {:#x}u", state.limit().to_bits()));
    access.push_str("\nfn load_inputs() {\n");
    for (p, port) in model.ports.iter().enumerate() {
        let sum = format!("port_sum({p}u)");
        let sum = if matches!(port.sign, Sign::Negative { absolute: true }) { format!("abs({sum})") } else { sum };
        let _ = writeln!(access, "    {} = {sum};", port.name);
    }
    if let Some((name, _)) = &model.current {
        let _ = writeln!(access, "    {name} = current_sum();");
    }
    access.push_str("}\n");
    let count = model.repeats.map_or("1u".into(), |state| format!("u32({})", model.states[state].name));
    let _ = writeln!(access, "\nfn spike_count() -> u32 {{\n    return {count};\n}}");
    let frame = UPDATE.replace("//{model}", model.wgsl.trim_end()).replace("//{access}", access.trim_end());
    let own: &[&str] = if owned { &[OWNED] } else { &[SHARED, TELL] };
    [&[&*frame], own, &[WINDOW, RECORD, PHILOX, POISSON, NORMAL, LOG]].concat().join("\n")
}

/// The kernel that carries spikes to synapses: static ones, or those of a model that has its own dynamics. Where weights change
/// it has a second entry point, `flush`.
pub fn deliver_shader(model: Option<&SynapseModel>) -> String {
    let Some(model) = model.filter(|m| m.program.is_some()) else { return [DELIVER, TABLE, WINDOW].join("\n") };
    let mut access = loads(&model.constants, &model.states, |_| String::new());
    let Some(plasticity) = &model.plasticity else { return dynamic(model, &access, &[PLAIN]) };
    access = access.replace("fn store_states() {\n", "fn store_states() {\n    synapse_words[own_synapse] = bitcast<u32>(w);\n");
    let mut function = |head: &str, lines: &mut dyn Iterator<Item = String>| {
        access.push_str(&format!("\nfn {head} {{\n"));
        lines.for_each(|line| access.push_str(&format!("    {line}\n")));
        access.push_str("}\n");
    };
    let traces = || plasticity.traces.iter().enumerate();
    let states = || plasticity.post_states.iter().enumerate();
    let first = model.constants.len();
    function(
        "load_traces(before: u32)",
        &mut traces().map(|(k, t)| format!("{} = event_trace({}u, before);", t.name, first + 2 * k)),
    );
    function("clear_traces()", &mut traces().map(|(_, t)| format!("{} = 0.0;", t.name)));
    let column = |(k, s): (usize, &PostState)| {
        format!("{} = event_column(projection.columns - {}u, event);", s.name, plasticity.post_states.len() - k)
    };
    function("load_states_of_event(event: u32)", &mut states().map(column));
    function("recall_states(age: u32)", &mut states().map(|(k, s)| format!("{} = state_at({k}u, age);", s.name)));
    for head in
        ["on_post()", "on_modulator()", "on_read()"].into_iter().filter(|head| !model.wgsl.contains(&format!("fn {head}")))
    {
        function(head, &mut std::iter::empty());
    }
    let _ = writeln!(access, "const READS_SIGNAL: bool = {};", plasticity.modulator.is_some());
    let _ = writeln!(access, "const HAS_ON_POST: bool = {};", plasticity.on_post.is_some());
    let _ = writeln!(access, "const HAS_ON_MODULATOR: bool = {};", plasticity.on_modulator.is_some());
    let _ = writeln!(access, "const HAS_ON_READ: bool = {};", plasticity.on_read.is_some());
    dynamic(model, &access, &[PLASTIC, HISTORY, EXP, LOG, FLUSH])
}

fn dynamic(model: &SynapseModel, access: &str, parts: &[&str]) -> String {
    let frame = DELIVER_DYNAMIC.replace("//{model}", model.wgsl.trim_end()).replace("//{access}", access.trim_end());
    [&[&*frame, TABLE, WINDOW], parts].concat().join("\n")
}

/// The kernel that keeps the events of targets of plastic synapses.
pub fn remember_shader() -> String {
    [REMEMBER, HISTORY, EXP, LOG, FLUSH, WINDOW, RECORD, TELL].join("\n")
}

/// The kernel that counts the spikes that make a signal jump.
pub fn count_shader() -> String {
    [COUNT, WINDOW, RECORD, TELL].join("\n")
}

/// The kernel that enters the spikes of source populations.
pub fn source_shader() -> String {
    [SOURCES, WINDOW, RECORD, TELL, PHILOX, POISSON].join("\n")
}

/// `load_constants`, `load_states` and `store_states` of a model; `limit` is what the frame wants to know of an f32 state besides.
fn loads(constants: &[Constant], states: &[State], limit: impl Fn(&State) -> String) -> String {
    let mut text = String::from("fn load_constants() {\n");
    for (k, constant) in constants.iter().enumerate() {
        let _ = writeln!(text, "    {} = {};", constant.name, from_word(constant.ty, &format!("constant_word({k}u)")));
    }
    text.push_str("}\n\nfn load_states() {\n");
    for (k, state) in states.iter().enumerate() {
        let _ = writeln!(text, "    {} = {};", state.name, from_word(state.ty, &format!("state_word({k}u)")));
    }
    text.push_str("}\n\nfn store_states() {\n");
    for (k, state) in states.iter().enumerate() {
        let _ = match state.ty {
            Ty::F32 => writeln!(text, "    set_state_float({k}u, {}{});", state.name, limit(state)),
            ty => writeln!(text, "    set_state_word({k}u, {});", to_word(ty, &state.name)),
        };
    }
    text.push_str("}\n");
    text
}

fn from_word(ty: Ty, word: &str) -> String {
    match ty {
        Ty::F32 => format!("bitcast<f32>({word})"),
        Ty::I32 => format!("bitcast<i32>({word})"),
        Ty::U32 => word.to_string(),
        Ty::Bool => format!("{word} != 0u"),
    }
}

fn to_word(ty: Ty, name: &str) -> String {
    match ty {
        Ty::F32 | Ty::I32 => format!("bitcast<u32>({name})"),
        Ty::U32 => name.to_string(),
        Ty::Bool => format!("select(0u, 1u, {name})"),
    }
}

/// Refuses a neuron model whose names are taken by the frame, before a driver refuses it less clearly.
pub fn check_neuron(model: &NeuronModel) -> Result<()> {
    let constants = model.constants.iter().map(|c| c.name.as_str());
    let states = model.states.iter().map(|s| s.name.as_str());
    let ports = model.ports.iter().map(|p| p.name.as_str());
    let names = constants.chain(states).chain(ports).chain(model.current.iter().map(|c| c.0.as_str()));
    check_names(&model.name, &[UPDATE, SHARED, OWNED, WINDOW, RECORD, TELL, PHILOX, POISSON, NORMAL, LOG], names)
}

/// The same for a synapse model.
pub fn check_synapse(model: &SynapseModel) -> Result<()> {
    let constants = model.constants.iter().map(|c| c.name.as_str());
    let traces = model.plasticity.iter().flat_map(|p| &p.traces).map(|t| t.name.as_str());
    let frames: &[&str] = match model.plasticity {
        None => &[DELIVER_DYNAMIC, TABLE, WINDOW, PLAIN],
        Some(_) => &[DELIVER_DYNAMIC, TABLE, WINDOW, PLASTIC, HISTORY],
    };
    check_names(&model.name, frames, constants.chain(model.states.iter().map(|s| s.name.as_str())).chain(traces))
}

fn check_names<'a>(model: &str, frames: &[&str], names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let taken: Vec<&str> = frames.iter().flat_map(|frame| declared(frame)).collect();
    for name in names {
        if taken.contains(&name) {
            let message = format!("model `{model}`: the name `{name}` is taken by the GPU's frame");
            return Err(Error::input(message, "rename it in the model file, or use --engine cpu"));
        }
    }
    Ok(())
}

/// Names declared at module level of a frame (overrides, structs, variables, functions).
fn declared(frame: &str) -> Vec<&str> {
    let name = |text: &'_ str| text.trim_start().find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let mut found = Vec::new();
    for line in frame.lines().filter(|line| !line.starts_with([' ', '/', '}'])) {
        let after_var = line.find("var<").and_then(|at| line[at..].find('>').map(|end| &line[at + end + 1..]));
        let after_word = ["override ", "struct ", "fn ", "const "].iter().find_map(|word| line.strip_prefix(word));
        if let Some(rest) = after_word.or(after_var) {
            let rest = rest.trim_start();
            found.push(&rest[..name(rest)]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_frames_are_found() {
        let names: Vec<&str> = [UPDATE, SHARED, WINDOW, RECORD, TELL].iter().flat_map(|f| declared(f)).collect();
        for expected in [
            "ring_slots",
            "Population",
            "ring",
            "currents",
            "own_step",
            "poisson_count",
            "step_neurons",
            "window",
            "Mark",
            "latest",
        ] {
            assert!(names.contains(&expected), "{expected} in {names:?}");
        }
        assert!(names.iter().all(|n| !n.is_empty() && *n != "group" && *n != "var"));
    }
}
