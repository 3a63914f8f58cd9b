//! Every kernel by name, for whoever looks at all of them. Needs no device.

use super::device::LOOPS;
use super::learning;
use super::shader::{PROBE, TOUCH, count_shader, deliver_shader, remember_shader, source_shader, update_shader};
use crate::model::library::Library;

/// Name, text and entry point of every kernel: those of the library's models, and the others.
pub fn kernels(library: &Library) -> Vec<(String, String, &'static str)> {
    let own = [
        (source_shader(), "emit"),
        (deliver_shader(None), "deliver"),
        (remember_shader(), "remember"),
        (count_shader(), "count_spikes"),
        (PROBE.to_string(), "probe"),
        (LOOPS.to_string(), "count_iterations"),
        (TOUCH.to_string(), "touch"),
    ];
    let learning = learning::kernels().map(|(entry, text)| (text, entry));
    let mut all: Vec<_> = own.into_iter().chain(learning).map(|(text, entry)| (entry.to_string(), text, entry)).collect();
    for model in library.neurons() {
        for owned in [false, true] {
            all.push((format!("{}, owned: {owned}", model.name), update_shader(model, owned), "step_neurons"));
        }
    }
    for model in library.synapses().filter(|m| m.program.is_some()) {
        let entries = ["deliver_dynamic", "flush"].into_iter().take(1 + model.plasticity.is_some() as usize);
        all.extend(entries.map(|entry| (model.name.clone(), deliver_shader(Some(model)), entry)));
    }
    all
}
