//! The module `_sharpwave`: the library's runs, simulations, recordings and memories for the Python package around it, which gives them
//! names and shapes. Promises that work lets other Python threads run, that Ctrl-C is heard while it lasts, that arrays are handed over
//! without a copy, and that everything that goes wrong is a Python exception.

mod error;
mod memory;
mod recording;
mod run;
mod simulation;
mod watch;

use pyo3::prelude::*;
use std::ffi::OsString;
use std::process::ExitCode;

/// Does what the `sharpwave` command does with these arguments, the first of which is its name; the exit code.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let code = py.detach(|| sharpwave::cli::main(arguments));
    // An exit code tells its number only by comparison.
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(1)
}

#[pymodule]
fn _sharpwave(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(command, module)?)?;
    module.add_function(wrap_pyfunction!(run::run, module)?)?;
    module.add_function(wrap_pyfunction!(run::check, module)?)?;
    module.add_function(wrap_pyfunction!(run::scenarios, module)?)?;
    module.add_function(wrap_pyfunction!(run::milliseconds, module)?)?;
    module.add_function(wrap_pyfunction!(run::write_edges, module)?)?;
    module.add_function(wrap_pyfunction!(simulation::origin, module)?)?;
    module.add_class::<watch::Stop>()?;
    module.add_class::<recording::Recording>()?;
    module.add_class::<simulation::Simulation>()?;
    module.add_class::<memory::Memory>()
}
