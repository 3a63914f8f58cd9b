//! What enters a network from outside: currents, Poisson drive, spike trains, encoded images. Promises that every number is a
//! function of (seed, owner, element, step) so that all engines and thread counts see the same input. Knows no engine.

pub mod current;
pub mod emit;
pub mod encode;
pub mod poisson;
pub mod trains;

pub use current::Currents;
pub use emit::SourceEmitter;
pub use encode::Presentation;
pub use poisson::PoissonDrive;

pub use crate::network::inputs::{Course, Drive, DriveKind, Shape, SpikeSource, Trains, active_steps, on_grid, step_of};
