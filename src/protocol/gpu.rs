//! The gpu as a place where a method's network learns and is tested, or its absence. Promises that a build without the gpu engine refuses
//! by name. Knows no protocol.

#[cfg(feature = "gpu")]
pub(super) use crate::engine::gpu::GpuNetwork as Gpu;

#[cfg(not(feature = "gpu"))]
pub(super) use without::Gpu;

#[cfg(not(feature = "gpu"))]
mod without {
    use crate::error::{Error, Result};
    use crate::learning::Protection;
    use crate::learning::local::{Network, Outcome, Samples};

    /// There is none.
    pub enum Gpu {}

    impl Gpu {
        pub fn new(_: Network, _: Option<&str>) -> Result<Self> {
            let remedy = "build with the default features, or set engine = \"cpu\"";
            Err(Error::input("this binary was built without the gpu engine", remedy))
        }

        pub fn set(&mut self, _: Network) -> Result<()> {
            match *self {}
        }

        pub fn network(&mut self) -> Result<&mut Network> {
            match *self {}
        }

        pub fn evaluate(&mut self, _: &Samples) -> Result<Outcome> {
            match *self {}
        }

        pub fn learn(
            &mut self,
            _: &[Samples],
            _: &[u32],
            _: usize,
            _: &dyn Fn(usize) -> f32,
            _: Option<&mut dyn Protection>,
            _: &mut dyn FnMut(&Outcome) -> Result<bool>,
        ) -> Result<Outcome> {
            match *self {}
        }
    }
}
