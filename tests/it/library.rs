//! sharpwave as another crate uses it: few lines, no literal of a struct, and a memory on a thread of its own.

use super::common::stories;
use sharpwave::prelude::*;
use std::sync::atomic::AtomicBool;
use std::thread;

#[test]
fn a_memory_learns_sleeps_and_exports_on_a_thread_of_its_own() {
    let (model, folder) = (stories(), tempfile::tempdir().unwrap());
    let (place, out) = (folder.path().join("memory"), folder.path().join("adapter"));
    let night = out.clone();
    let mut memory = Memory::open_or_create(&place, &model.source, model.host.clone(), &model.settings).unwrap();
    memory.prepare(|_| Ok(model.statistics.clone())).unwrap();
    let worker = thread::spawn(move || -> sharpwave::Result<(usize, Memory)> {
        let fact = Experience::new("name", "The name of the dog was", "Max", Outcome::Success).with_subject("the dog");
        assert!(matches!(memory.observe(&fact)?, Observed::Learned(_)));
        let moved = memory.sleep(None, &AtomicBool::new(false), &mut |_| (), &mut |_, _| ())?;
        let options = sharpwave::export::Options::new(Format::Peft);
        // What sleep wrote in so small a model damages more than is allowed unasked; it is refused by name.
        let refused = memory.export(&model.source, &options, &night).unwrap_err().to_string();
        assert!(refused.contains("would hold nothing") && refused.contains("name"), "{refused}");
        memory.set_damage(5.0)?;
        memory.export(&model.source, &options, &night)?;
        Ok((moved, memory))
    });
    let (moved, memory) = worker.join().unwrap().unwrap();
    assert_eq!((moved, memory.entries().len()), (1, 1), "{:?}", memory.entries());
    assert_eq!(super::common::say(&memory, "The name of the dog was", 8).0.trim(), "Max");
    // What was written is an adapter of this model, and of no other.
    let base = sharpwave::export::Base::of(&model.source).unwrap();
    let adapter = sharpwave::export::load(&[(out, 1.0)], &base).unwrap();
    assert!(adapter.terms().count() > 0);
}

/// Every neuron of the first population fires once, 100 neurons receive it a delay later, and fire.
#[test]
fn a_network_is_built_and_run() -> sharpwave::Result<()> {
    use sharpwave::engine::{Kind, Options, open};
    use sharpwave::network::{Cell, Network, Population, Projection, Rule};
    let (library, mut spikes) = (Library::built_in()?, Vec::<Spike>::new());
    let mut net = Network::new(0.1, 1);
    let driven = Cell::neuron(&library.neuron("iaf_psc_delta")?, &[("I_e", 1000.0), ("t_ref", 50.0)], net.dt)?;
    let first = net.add(Population::new("driven", 10, driven));
    let second = net.add(Population::new("relays", 100, Cell::neuron(&library.neuron("iaf_psc_delta")?, &[], net.dt)?));
    net.connect(Projection::new("relay", first, second, Rule::AllToAll, 2.0, 1.5)?);
    let mut engine = open(Kind::Cpu, &std::sync::Arc::new(net), &Options::default())?;
    engine.advance(200, &mut spikes)?;
    assert_eq!((spikes.len(), spikes[10].id), (110, 10));
    assert!((spikes[10].time - spikes[0].time - 1.5).abs() < 1e-9 && spikes[..10].iter().all(|s| s.time == spikes[0].time));
    Ok(())
}
