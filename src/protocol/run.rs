//! A protocol on images, from its data to its results. Promises that nothing is trained or written before methods and data are known to
//! fit. Knows the protocol and its data; runs and files are the business of course.rs.

use super::course::{Course, Options, asked, each};
use super::data::Data;
use super::results::{Results, Source};
use super::train::Trainer;
use super::{Event, Protocol};
use crate::error::Result;
use std::sync::atomic::AtomicBool;

/// Run a protocol. `tell` hears progress; when `stop` becomes true the run ends after the batch under way, saved.
/// The results are complete unless it was stopped.
///
/// # Errors
/// Data that are absent or do not fit, unknown methods, an output that exists (without `force` or `resume`) or is of another
/// protocol; a weight that is not a number any more: the last checkpoint then stands.
pub fn run(protocol: &Protocol, options: &Options, tell: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<Results> {
    let named: Vec<(&str, &str)> = protocol.methods.iter().map(|m| (m.name.as_str(), m.title.as_str())).collect();
    let (methods, seeds) = asked(&protocol.name, &named, &protocol.seeds, options)?;
    let against = protocol.uncertainty.as_ref().map_or(&[][..], |u| &u.against);
    let data = Data::load(&protocol.data, against, &options.data, &protocol.sizes)?;
    for (name, _) in data.outside.iter().filter(|o| o.1.is_none()) {
        tell(Event::Note(&format!("the data set {name} was not found: no uncertainty is measured against it")));
    }
    let new = Results {
        title: protocol.title.clone(),
        citation: protocol.citation.clone(),
        kind: protocol.tasks.name().into(),
        tasks: protocol.tasks.count(),
        sizes: protocol.network.sizes.clone(),
        data: Source {
            set: protocol.data.set.clone(),
            train: data.train.labels.len(),
            test: data.test.labels.len(),
            checksum: data.checksum(),
        },
        methods,
        seeds,
        complete: false,
        runs: vec![],
        version: env!("CARGO_PKG_VERSION").into(),
        threads: rayon::current_num_threads(),
        file: protocol.name.clone(),
        settings: protocol.settings.clone(),
        protocol: protocol.text.to_string(),
    };
    let mut begin = |index: usize, seed| -> Result<Box<dyn Course + '_>> {
        Ok(Box::new(Trainer::new(protocol, &data, &protocol.methods[index], seed)?))
    };
    let all: Vec<&str> = named.iter().map(|m| m.0).collect();
    each(new, &all, options, &mut begin, tell, stop)
}
