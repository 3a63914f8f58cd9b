//! What a learner remembers, as named arrays: to be kept on disk and given back, bit for bit. Promises that an array that is
//! missing, of another size or not finite is refused by name. Knows names and numbers; nothing of what they mean.

use crate::error::{Error, Result};
#[cfg(feature = "hdf5")]
use crate::io::hdf5::Store;
#[cfg(feature = "hdf5")]
use crate::io::output::Output;
use std::collections::BTreeMap;
#[cfg(feature = "hdf5")]
use std::path::Path;

/// Where a file of its own holds the arrays.
#[cfg(feature = "hdf5")]
const GROUP: &str = "learner";

/// Numbers of one array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit floating point.
    F64(Vec<f64>),
    /// Unsigned integers: counts, seeds, bits.
    U64(Vec<u64>),
}

impl Values {
    /// Numbers in the array.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::F64(v) => v.len(),
            Values::U64(v) => v.len(),
        }
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One number of [`Values`].
pub trait Number: Copy {
    /// A copy, with its kind.
    fn values(from: &[Self]) -> Values;
    /// The numbers, where they are of this kind.
    fn of(values: &Values) -> Option<&[Self]>;
    /// Whether it may be restored: a floating-point number must be finite.
    fn is_sound(self) -> bool;
}

macro_rules! number {
    ($type:ty, $kind:ident, $sound:expr) => {
        impl Number for $type {
            fn values(from: &[Self]) -> Values {
                Values::$kind(from.to_vec())
            }
            fn of(values: &Values) -> Option<&[Self]> {
                if let Values::$kind(v) = values { Some(v) } else { None }
            }
            fn is_sound(self) -> bool {
                let sound: fn($type) -> bool = $sound;
                sound(self)
            }
        }
    };
}
number!(f32, F32, f32::is_finite);
number!(f64, F64, f64::is_finite);
number!(u64, U64, |_| true);

/// An array of any shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Lengths of the dimensions, the slowest first; their product is the number of values.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Values,
}

/// Named arrays. Names of parts are joined by dots: `layer.0.weight`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(pub BTreeMap<String, Array>);

impl State {
    /// Add an array of this shape.
    pub fn put<T: Number>(&mut self, name: impl Into<String>, shape: &[usize], values: &[T]) {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "an array fills its shape");
        self.0.insert(name.into(), Array { shape: shape.to_vec(), values: T::values(values) });
    }

    /// Add what a part remembers, under its name.
    pub fn put_part(&mut self, name: &str, part: State) {
        self.0.extend(part.0.into_iter().map(|(inner, array)| (format!("{name}.{inner}"), array)));
    }

    /// What a part remembered.
    pub fn part(&self, name: &str) -> State {
        let own = |(full, array): (&String, &Array)| {
            full.strip_prefix(name)?.strip_prefix('.').map(|inner| (inner.to_string(), array.clone()))
        };
        State(self.0.iter().filter_map(own).collect())
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The finite numbers of an array that must be there, with `count` elements.
    pub fn get<T: Number>(&self, name: &str, count: usize) -> Result<&[T]> {
        let values = self.any(name)?;
        if values.len() != count {
            return Err(refuse(format!("{} numbers of \"{name}\" where {count} belong", values.len())));
        }
        Ok(values)
    }

    /// The same, of any length.
    pub fn any<T: Number>(&self, name: &str) -> Result<&[T]> {
        let array = self.0.get(name).ok_or_else(|| refuse(format!("no \"{name}\"")))?;
        let values = T::of(&array.values).ok_or_else(|| refuse(format!("\"{name}\" of another type")))?;
        match values.iter().position(|v| !v.is_sound()) {
            Some(at) => Err(refuse(format!("element {at} of \"{name}\" is not finite"))),
            None => Ok(values),
        }
    }

    /// The same, empty where there is none.
    pub fn some<T: Number>(&self, name: &str) -> Result<&[T]> {
        if self.has(name) { self.any(name) } else { Ok(&[]) }
    }

    /// Keep them in an HDF5 file of their own, which takes the place of an earlier one only when it is whole.
    #[cfg(feature = "hdf5")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let output = Output::file(path.as_ref(), true)?;
        let store = Store::create_scratch(output.part())?;
        self.write(&store, GROUP)?;
        store.close()?;
        output.keep()
    }

    /// What [`State::save`] kept.
    #[cfg(feature = "hdf5")]
    pub fn load(path: impl AsRef<Path>) -> Result<State> {
        State::read(&Store::open(path.as_ref())?, GROUP)
    }

    /// Write every array as a dataset of a group, which is made.
    #[cfg(feature = "hdf5")]
    pub(crate) fn write(&self, store: &Store, group: &str) -> Result<()> {
        store.group(group)?;
        self.0.iter().try_for_each(|(name, Array { shape, values })| {
            let object = format!("{group}/{name}");
            match values {
                Values::F32(v) => store.write_shaped(&object, shape, v),
                Values::F64(v) => store.write_shaped(&object, shape, v),
                Values::U64(v) => store.write_shaped(&object, shape, v),
            }
        })
    }

    /// Read what [`State::write`] wrote.
    #[cfg(feature = "hdf5")]
    pub(crate) fn read(store: &Store, group: &str) -> Result<State> {
        let mut state = State::default();
        for name in store.members(group) {
            let object = format!("{group}/{name}");
            let values = if store.holds::<f32>(&object) {
                Values::F32(store.read(&object)?)
            } else if store.holds::<f64>(&object) {
                Values::F64(store.read(&object)?)
            } else if store.holds::<u64>(&object) {
                Values::U64(store.read(&object)?)
            } else {
                return Err(store.foreign(format!("\"{object}\" is no array of a learner")));
            };
            state.0.insert(name, Array { shape: store.shape(&object)?, values });
        }
        Ok(state)
    }
}

fn refuse(what: String) -> Error {
    Error::input(format!("what was learned cannot be restored: {what}"), "restore what the same protocol saved, whole")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_from_a_file_as_they_were() {
        let mut inner = State::default();
        inner.put("weight", &[2, 3], &[1.0f32, -2.5, 3e-39, 0.0, -0.0, f32::MAX]);
        inner.put("covariance", &[1, 2], &[0.1f64, 1e300]);
        inner.put("count", &[1], &[u64::MAX]);
        inner.put("empty", &[0], &[0.0f32; 0]);
        let mut state = State::default();
        state.put_part("layer.0", inner.clone());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.h5");
        State::default().save(&path).unwrap();
        state.save(&path).unwrap();
        let back = State::load(&path).unwrap();
        assert_eq!(back, state);
        assert_eq!(back.part("layer.0"), inner);
        assert!(back.part("layer").0.len() == 4 && back.part("lay").0.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let mut state = State::default();
        state.put("w", &[2], &[1.0f32, f32::NAN]);
        state.put("n", &[1], &[1u64]);
        let said = |error: Error| error.to_string();
        assert!(said(state.get::<f32>("w", 2).unwrap_err()).contains("element 1 of \"w\""));
        assert!(said(state.get::<f32>("v", 2).unwrap_err()).contains("no \"v\""));
        assert!(said(state.get::<f32>("n", 1).unwrap_err()).contains("another type"));
        assert!(said(state.get::<u64>("n", 2).unwrap_err()).contains("1 numbers of \"n\" where 2"));
        assert!(state.some::<u64>("v").unwrap().is_empty());
    }
}
