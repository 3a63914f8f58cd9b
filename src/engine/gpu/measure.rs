//! What a device can do at best: how fast it copies, what a dispatch and a round trip cost. The floors that the benchmark suite holds
//! the engine's times against; no network here.

use super::device::Device;
use crate::error::Result;
use std::time::Instant;
use wgpu::BufferUsages as Usage;

/// Bytes of one copy at most; beyond every cache.
const COPY: u64 = 256 << 20;
/// Repetitions of everything; the best counts, as it is a floor.
const TRIES: usize = 5;

/// Bytes that the device reads and writes a second when it copies a large buffer.
///
/// # Errors
/// No such device, or too little memory on it.
pub fn copy_bandwidth(device: Option<&str>) -> Result<f64> {
    let device = Device::open(device)?;
    let most = if device.info.real { COPY } else { COPY / 4 };
    let bytes = most.min(device.info.max_buffer / 2) & !3;
    let buffer = |usage| device.buffer("copy", bytes, usage | Usage::COPY_SRC | Usage::COPY_DST);
    let (from, to) = (buffer(Usage::empty())?, buffer(Usage::empty())?);
    let copies = if device.info.real { 16 } else { 2 };
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let begin = Instant::now();
        let mut encoder = device.raw.create_command_encoder(&Default::default());
        for k in 0..copies {
            let (a, b) = if k % 2 == 0 { (&from, &to) } else { (&to, &from) };
            encoder.copy_buffer_to_buffer(a, 0, b, 0, bytes);
        }
        device.queue.submit([encoder.finish()]);
        device.wait()?;
        best = best.min(begin.elapsed().as_secs_f64());
    }
    Ok((2 * bytes * copies) as f64 / best)
}

/// Seconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Submitting one small command buffer and waiting for it.
    pub round_trip: f64,
    /// One more dispatch in a pass, with the barrier before it: it writes what the one before wrote.
    pub dispatch: f64,
    /// Recording one dispatch on the host.
    pub record: f64,
}

/// What launching costs on a device.
///
/// # Errors
/// No such device.
pub fn latency(device: Option<&str>) -> Result<Latency> {
    const MANY: u32 = 1000;
    let device = Device::open(device)?;
    let kernel = device.kernel("touch", super::shader::TOUCH, "touch", &[])?;
    let words = device.storage("touched", &[0; 64])?;
    let group = device.bind(&kernel, &[&words])?;
    let run = |dispatches: u32| -> Result<(f64, f64)> {
        let mut best = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TRIES {
            let begin = Instant::now();
            let mut encoder = device.raw.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for _ in 0..dispatches {
                pass.set_pipeline(&kernel.pipeline);
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
            drop(pass);
            let commands = encoder.finish();
            best.0 = best.0.min(begin.elapsed().as_secs_f64());
            let begin = Instant::now();
            device.queue.submit([commands]);
            device.wait()?;
            best.1 = best.1.min(begin.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let (one, many) = (run(1)?, run(MANY)?);
    let each = |one: f64, many: f64| (many - one).max(0.0) / f64::from(MANY - 1);
    Ok(Latency { round_trip: one.1, dispatch: each(one.1, many.1), record: each(one.0, many.0) })
}
