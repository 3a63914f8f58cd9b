//! What one step of one neuron costs in each form of the code. Why: the CPU engine spends most of its time here.
//! Run with `cargo bench --bench kernels`.

use sharpwave::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use sharpwave::model::library::Library;
use sharpwave::network::NeuronInstance;
use std::time::Instant;

/// Best of several runs, in ns for one neuron and step.
fn cost(kernel: &dyn Kernel, instance: &NeuronInstance, n: usize) -> f64 {
    let model = &instance.model;
    let constants = instance.constants();
    let operands: Vec<Operand> = constants.iter().map(|c| c.operand(0..n)).collect();
    let mut states: Vec<Vec<u32>> = instance.initial_words().iter().map(|w| (0..n).map(|i| w.get(i)).collect()).collect();
    let ports = model.ports.len() + model.current.is_some() as usize;
    let inputs: Vec<Vec<f32>> = (0..ports).map(|p| (0..n).map(|i| if p == 0 { (i % 7) as f32 } else { 0.0 }).collect()).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let (mut output, mut scratch, mut best) = (vec![0u32; n], Scratch::default(), f64::INFINITY);
    let steps = 400;
    for _ in 0..15 {
        let start = Instant::now();
        for _ in 0..steps {
            let mut views: Vec<&mut [u32]> = states.iter_mut().map(Vec::as_mut_slice).collect();
            let mut lanes = Lanes { n, constants: &operands, states: &mut views, inputs: &inputs, output: &mut output };
            kernel.run(&mut lanes, instance.substeps, &mut scratch);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / (n * steps) as f64);
    }
    best
}

fn main() {
    let library = match Library::built_in() {
        Ok(library) => library,
        Err(error) => return eprintln!("{error}"),
    };
    println!("{:<20} {:>14} {:>14}   ns a neuron and step", "model", "compiled", "interpreter");
    for model in library.neurons() {
        let instance = match NeuronInstance::new(model, &[], 0.1) {
            Ok(instance) => instance,
            Err(error) => return eprintln!("{error}"),
        };
        let (compiled, interpreted) = (model.kernel(), model.interpreter());
        let (fast, slow) = (cost(&*compiled, &instance, BLOCK), cost(&*interpreted, &instance, BLOCK));
        println!("{:<20} {fast:>14.3} {slow:>14.3}   {}; {}", model.name, compiled.describe(), interpreted.describe());
    }
}
