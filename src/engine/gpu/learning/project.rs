//! Projection of factors by themselves: the device's twin of [`Basis::project`] and [`Basis::hebbian_step`]. Promises their results
//! within f32 rounding (1e-5 of the largest value). Knows bases and rows; no network.

use super::super::device::{Device, mib};
use super::links::Map;
use super::record::{Kernels, List, View};
use super::{values, words};
use crate::error::{Error, Result};
use crate::learning::Projector;
use crate::learning::projection::Basis;
use wgpu::{Buffer, BufferUsages as Usage};

/// A device that projects.
pub struct Projections {
    device: Device,
    kernels: Kernels,
}

impl Projections {
    /// Opens the device of index or partial name `device` (none: the best there is).
    pub fn new(device: Option<&str>) -> Result<Self> {
        let device = Device::open(device)?;
        Ok(Projections { kernels: Kernels::new(&device)?, device })
    }

    /// x - H'(Hx) for every row of `x` (batch x inputs, row-major), in place.
    pub fn project(&self, basis: &Basis, x: &mut [f32]) -> Result<()> {
        let (n, rank) = (basis.inputs(), basis.rank());
        let rows = rows(x, n)?;
        if rank == 0 || rows == 0 {
            return Ok(());
        }
        let map = Map::new(&self.device, Projector::Basis(basis))?;
        let given = self.device.storage("factors", words(x))?;
        let (between, to) = (self.buffer(rows * rank)?, self.buffer(rows * n)?);
        let mut list = self.list()?;
        map.record(&mut list, [&given, &between, &to], rows, n)?;
        self.once(list)?;
        x.copy_from_slice(values(&self.device.read(&[(&to, 0, (rows * n) as u64)])?[0]));
        Ok(())
    }

    /// As [`Basis::hebbian_step`]: the step is taken here, the rows are kept orthonormal on the host.
    pub fn hebbian_step(&self, basis: &mut Basis, x: &[f32], frozen: usize, eta: f64) -> Result<()> {
        let (n, rank) = (basis.inputs(), basis.rank());
        let count = rows(x, n)?;
        if let Some(at) = x.iter().position(|v| !v.is_finite()) {
            let message = format!("projection: input {} of sample {} is {}", at % n, at / n, x[at]);
            return Err(Error::Run { message, remedy: "lower the learning rate, or look at what drives that input".into() });
        }
        if count == 0 || frozen >= rank {
            return Ok(());
        }
        let h = self.device.storage("rows of the projection", words(basis.rows()))?;
        let given = self.device.storage("factors", words(x))?;
        let (y, left) = (self.buffer(count * rank)?, self.buffer(count * n)?);
        let mut list = self.list()?;
        let (of_y, of_h, of_left) = (View::new(&y, rank), View::new(&h, n), View::new(&left, n));
        list.copy(&given, &left, count * n);
        list.product([count, n, rank], [View::new(&given, n), of_h.transposed()], of_y, [1.0, 0.0])?;
        list.product([count, rank, n], [of_y, of_h], of_left, [-1.0, 1.0])?;
        let rate = (eta / count as f64) as f32;
        let new = [of_y.from_column(frozen).transposed(), of_left];
        list.product([rank - frozen, count, n], new, of_h.from_row(frozen), [rate, 1.0])?;
        self.once(list)?;
        let read = self.device.read(&[(&h, 0, (rank * n) as u64)])?;
        basis.become_rows(values(&read[0]), frozen);
        Ok(())
    }

    fn list(&self) -> Result<List<'_>> {
        List::new(&self.device, &self.kernels)
    }

    fn once(&self, list: List) -> Result<()> {
        list.finish()?.run(&self.device, &self.kernels, 0);
        Ok(())
    }

    fn buffer(&self, values: usize) -> Result<Buffer> {
        let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
        self.device.buffer("factors", 4 * values as u64, usage).map_err(|_| Error::Memory {
            message: format!(
                "factors need {} in one buffer, which {} does not allow",
                mib(4 * values as u64),
                self.device.info.name
            ),
            remedy: "project smaller batches, or on the cpu".into(),
        })
    }
}

fn rows(x: &[f32], inputs: usize) -> Result<usize> {
    if inputs == 0 || !x.len().is_multiple_of(inputs) {
        let message = format!("projection: {} numbers are no samples of {inputs} inputs", x.len());
        return Err(Error::input(message, "give count x inputs presynaptic factors"));
    }
    Ok(x.len() / inputs)
}
