//! Huge pages for large arrays: a spike's row lies anywhere in gigabytes of synapses, and with pages of 4 KiB most of its steps would
//! begin with a walk through the page table. Promises no more than a hint: where the system has none to give, nothing changes.

/// Smaller arrays fit the buffers of page addresses well enough.
#[cfg(target_os = "linux")]
const WORTHWHILE: usize = 4 << 20;
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// Asks for huge pages behind an array that was allocated and not yet written.
pub fn ask<T>(array: &Vec<T>) {
    advise(array, false);
}

/// The same for an array that is written already: its contents move to huge pages where the system can do that.
pub fn gather<T>(array: &Vec<T>) {
    advise(array, true);
}

#[cfg(target_os = "linux")]
fn advise<T>(array: &Vec<T>, written: bool) {
    /// Since Linux 6.1; older ones refuse it.
    const MADV_COLLAPSE: libc::c_int = 25;
    let bytes = array.capacity() * size_of::<T>();
    if bytes < WORTHWHILE {
        return;
    }
    let start = (array.as_ptr() as usize).next_multiple_of(PAGE);
    let length = (array.as_ptr() as usize + bytes - start) / PAGE * PAGE;
    for advice in [libc::MADV_HUGEPAGE, MADV_COLLAPSE].into_iter().take(1 + written as usize) {
        // SAFETY: whole pages inside one allocation; neither advice changes what is in them. A refusal is no loss.
        unsafe { libc::madvise(start as *mut libc::c_void, length, advice) };
    }
}
#[cfg(not(target_os = "linux"))]
fn advise<T>(_: &Vec<T>, _: bool) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_stay() {
        for n in [0, 1000, 3_000_000] {
            let mut array: Vec<u32> = Vec::with_capacity(n);
            ask(&array);
            array.extend(0..n as u32);
            gather(&array);
            assert!(array.iter().zip(0..).all(|(x, i)| *x == i) && array.len() == n);
        }
    }
}
