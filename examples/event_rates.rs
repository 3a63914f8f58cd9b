//! How the event engine's time depends on the rate: 100,000 iaf_psc_exp neurons with 100 synapses each, driven so that they fire at
//! 0.1 to 2 Hz. Prints wall seconds per model second; `cargo run --release --example event_rates [neurons] [ms]`.
//!
//! Last result, one core of a shared two-core machine under load: all synapses with one delay 0.21 s of wall time a model second at 0.1 Hz,
//! 1.08 s at 0.5 Hz, 1.84 s at 1 Hz; all delays different 0.41 s, 2.4 s and 4.6 s. Time per arriving spike 0.2 and 0.4 to 0.5 us.

use sharpwave::engine::event::EventEngine;
use sharpwave::engine::{Engine, Sink, Spike};
use sharpwave::error::Result;
use sharpwave::model::library::Library;
use sharpwave::network::{Cell, Draw, Network, Population, Projection, Rule, Values};
use sharpwave::stimulus::{Drive, DriveKind};
use std::time::Instant;

const DT: f64 = 0.1;
const SYNAPSES: u32 = 100;

struct Count(u64);

impl Sink for Count {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        self.0 += spikes.len() as u64;
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// Every neuron is brought to threshold `rate` times a second by a strong Poisson input, and receives the weak spikes of others in
/// between: half of the synapses excite, half inhibit.
fn network(n: u32, rate: f64, delay: Draw) -> Result<Network> {
    let library = Library::built_in()?;
    let mut net = Network::new(DT, 1);
    let cells = net.add(Population::new("cells", n, Cell::neuron(&library.neuron("iaf_psc_exp")?, &[], DT)?));
    for (name, low, high) in [("excitation", 0.0, 50.0), ("inhibition", -50.0, 0.0)] {
        let rule = Rule::FixedOutdegree { outdegree: SYNAPSES / 2 };
        let projection = Projection::new(name, cells, cells, rule, Draw::Uniform { low, high }, delay.clone())?;
        net.connect(Projection { autapses: false, ..projection });
    }
    net.drive(Drive::new("drive", cells, DriveKind::Poisson { rate: Values::Uniform(rate), weight: 4000.0, port: 0 }));
    Ok(net)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<f64>().expect("a number"));
    let (n, ms) = (arguments.next().unwrap_or(100_000.0) as u32, arguments.next().unwrap_or(2000.0));
    println!("{n} neurons, {SYNAPSES} synapses each; {ms} ms after 1000 ms of warm-up");
    for (what, delay) in [("one delay", Draw::Constant(1.5)), ("all delays different", Draw::Uniform { low: 0.5, high: 5.0 })] {
        for rate in [0.1, 0.2, 0.5, 1.0, 2.0] {
            let started = Instant::now();
            let net = network(n, rate, delay.clone())?;
            let mut engine = EventEngine::new(&net, &|_| {})?;
            let build = started.elapsed().as_secs_f64();
            let mut count = Count(0);
            engine.advance((1000.0 / DT) as u64, &mut count)?;
            count.0 = 0;
            let events = engine.counters().synaptic_events;
            let started = Instant::now();
            engine.advance((ms / DT) as u64, &mut count)?;
            let wall = started.elapsed().as_secs_f64();
            let events = engine.counters().synaptic_events - events;
            println!(
                "{what:>20}: {:.3} Hz, {events} arrivals, {wall:.3} s wall = {:.4} s per model second, {:.0} ns per arrival; built in {build:.1} s, {:.1} bytes a synapse",
                count.0 as f64 / n as f64 / ms * 1e3,
                wall / ms * 1e3,
                wall / events as f64 * 1e9,
                engine.counters().synapse_bytes as f64 / engine.counters().synapses as f64,
            );
        }
    }
    Ok(())
}
