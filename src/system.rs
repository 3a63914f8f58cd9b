//! What the operating system tells of this process and machine: memory, processor time, cores. Promises None where it tells nothing.

/// Bytes of the largest resident set of this process so far (None where the system does not tell).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Lets `peak_memory` start anew from what is in use now, where the system can do that.
pub(crate) fn reset_peak_memory() {
    if cfg!(target_os = "linux") {
        // Without permission the peak stays that of the whole process, which is said wherever it is told.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
}

/// Processor time this process has used, all threads together.
pub(crate) fn cpu_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes to the given structure and nothing else.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        (failed == 0).then(|| time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    None
}

/// Threads that this machine runs at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
