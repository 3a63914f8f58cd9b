//! The library's errors as `sharpwave.Error`, which has their message, remedy and place.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use sharpwave::Error;

/// The exception for an error.
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    exception(py, &error).unwrap_or_else(|failed| failed)
}

/// The same of input that is refused here.
pub fn refuse(py: Python<'_>, message: impl Into<String>, remedy: impl Into<String>) -> PyErr {
    raise(py, Error::input(message, remedy))
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "sharpwave._error", "Error")?;
    let (message, file, at) = match error {
        Error::Input(fault) => {
            let place = fault.place.as_ref();
            (fault.message.clone(), place.map(|p| p.file.clone()), place.map(|p| p.line_column()))
        }
        Error::File { path, message, .. } => (message.clone(), Some(path.display().to_string()), None),
        other => (other.to_string(), None, None),
    };
    let (line, column) = (at.map(|at| at.0), at.map(|at| at.1));
    Ok(PyErr::from_value(class.call1((message, error.remedy(), file, line, column))?))
}
