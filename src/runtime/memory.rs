//! How this process uses its allocator.

/// Bytes of free memory that are kept at the top of the heap, and below which an allocation comes from the heap.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 64 << 20;

/// Keeps freed memory for the next batch. By default glibc gives a batch's memory back to the system when it is freed and
/// asks for it again at once, which cost a quarter of the CPU time of a run in page faults.
pub fn keep() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator, before any thread has been started.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT / 2);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}
