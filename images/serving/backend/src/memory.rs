//! Charter: keeping the server's memory close to what its models need: the C library's allocator, set up and trimmed.
//!
//! glibc's defaults suit a program that keeps its memory. They make up to eight heaps a core, and raise by themselves the
//! size from which a block is returned to the system at once, up to 32 MiB; `malloc_trim` does not touch the unused end
//! of any heap but the first. A server whose models come and go would so hold on to most of what it ever needed.

/// Blocks from this size on have pages of their own, which are returned when they are freed; also the most that a heap
/// may keep unused at its end. Larger than the tensors of most requests, which would pay for fresh pages each time.
const RETURN_BYTES: libc::c_int = 2 << 20;
/// Few heaps keep little unused; more than this many threads seldom allocate at once.
const HEAPS: libc::c_int = 8;

/// Called once. What the user set through the environment stays.
pub fn set_up() {
    let set = |variable: &str| std::env::var_os(variable).is_some() || std::env::var_os("GLIBC_TUNABLES").is_some();
    for (variable, parameter, value) in [
        ("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, HEAPS),
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, RETURN_BYTES),
        ("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, RETURN_BYTES),
    ] {
        if !set(variable) {
            // SAFETY: a plain call into the C library, which takes its own lock.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Returns free pages inside the heaps to the system; walks all heaps, so not for each unload.
pub fn give_back() {
    // SAFETY: a plain call into the C library, safe from any thread.
    unsafe { libc::malloc_trim(0) };
}
