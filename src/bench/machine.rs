//! The machine that figures are taken on: what it is, and how fast its memory copies, which is the floor of everything that streams
//! synapses. Knows no network.

use super::Place;
use crate::simd;
use crate::system::cores;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Bytes of one copy; beyond every cache.
const COPY: usize = 256 << 20;
const TRIES: usize = 5;

/// What a report was measured on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name, as the system gives it.
    pub processor: String,
    /// Threads that the system lets run at once.
    pub cores: usize,
    /// Vector instructions that the cpu engine uses.
    pub vector: String,
    /// Memory of the machine, bytes; None where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// Operating system and architecture.
    pub system: String,
    /// Bytes read and written a second when all cores copy, and one.
    pub copy_bandwidth: f64,
    /// The same when one core copies.
    pub copy_bandwidth_one: f64,
    /// None where no row runs on a GPU.
    pub gpu: Option<Gpu>,
    /// Processes that wanted to run in the last minute, before the suite began.
    pub load: Option<f64>,
    /// UTC, RFC 3339.
    pub date: String,
    /// Of sharpwave.
    pub version: String,
}

/// The GPU that rows run on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// As the driver names it.
    pub name: String,
    /// Name and version of the driver.
    pub driver: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// None where it could not be measured.
    pub copy_bandwidth: Option<f64>,
}

impl Machine {
    /// This one, with a GPU (the one named, or the best) where rows run on it.
    pub fn here(gpu_rows: Option<Option<&str>>) -> Machine {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |path: &str, name: &str| {
            let found = text(path).lines().find_map(|l| Some(l.strip_prefix(name)?.split_once(':')?.1.trim().to_string()));
            found.unwrap_or_default()
        };
        let total = field("/proc/meminfo", "MemTotal").strip_suffix("kB").and_then(|kib| kib.trim().parse::<u64>().ok());
        let load = text("/proc/loadavg").split_whitespace().next().and_then(|n| n.parse().ok());
        let processor = match field("/proc/cpuinfo", "model name") {
            name if name.is_empty() => std::env::consts::ARCH.to_string(),
            name => name,
        };
        let [copy_bandwidth_one, copy_bandwidth] = [1, cores()].map(copy_bandwidth);
        Machine {
            processor,
            cores: cores(),
            vector: simd::level().name().into(),
            memory_bytes: total.map(|kib| kib * 1024),
            system: format!("{} {}", std::env::consts::OS, text("/proc/sys/kernel/osrelease").trim()).trim().into(),
            copy_bandwidth,
            copy_bandwidth_one,
            gpu: gpu_rows.and_then(gpu),
            load,
            date: crate::memory::experience::now(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// The GPU as rows name their engine.
    pub fn gpu_name(&self) -> String {
        self.gpu.as_ref().map_or("gpu".into(), |g| format!("gpu: {}", g.name))
    }

    /// What memory copies there, bytes read and written a second; the event engine is held against no copy.
    pub fn copies(&self, place: &Place) -> Option<f64> {
        match place {
            Place::Cpu(1) => Some(self.copy_bandwidth_one),
            Place::Cpu(_) => Some(self.copy_bandwidth),
            Place::Gpu(_) => self.gpu.as_ref().and_then(|g| g.copy_bandwidth),
            Place::Event => None,
        }
    }
}

/// Bytes read and written a second when so many threads copy; the best of some tries.
fn copy_bandwidth(threads: usize) -> f64 {
    let share = COPY / threads;
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> = (0..threads).map(|k| (vec![k as u8; share], vec![1; share])).collect();
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for (from, to) in &mut parts {
                scope.spawn(move || to.copy_from_slice(from));
            }
        });
        best = best.min(begin.elapsed().as_secs_f64());
    }
    (2 * share * threads) as f64 / best
}

#[cfg(feature = "gpu")]
fn gpu(device: Option<&str>) -> Option<Gpu> {
    use crate::engine::gpu::{copy_bandwidth, devices};
    let all = devices();
    let info = match device {
        Some(wanted) => all.iter().find(|d| d.is(wanted)),
        None => all.iter().find(|d| d.real && d.usable.is_ok()).or(all.first()),
    }?;
    Some(Gpu {
        name: info.name.clone(),
        driver: info.driver.clone(),
        backend: info.backend.clone(),
        copy_bandwidth: copy_bandwidth(Some(&info.index.to_string())).ok(),
    })
}
#[cfg(not(feature = "gpu"))]
fn gpu(_: Option<&str>) -> Option<Gpu> {
    None
}
