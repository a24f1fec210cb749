//! Fetching into the cache what will be needed soon: how a batch of a million-grain working set
//! waits for memory once instead of once per message, and how slots come from the other CPU side
//! by side.
//!
//! Unsafe code: the instructions take any address and change nothing but the cache; the standard
//! library offers the one as an intrinsic on a raw pointer only, and the other not at all (its hint
//! for writing fetches for reading unless the whole program is built for newer CPUs).
#![allow(unsafe_code)]

const LINE: usize = 64;

/// Asks for the cache line of `value`. Costs one instruction, or nothing where there is none.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    let address = std::ptr::from_ref(value).cast::<i8>();
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction reads nothing that the program can see and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Asks for the first two cache lines of `value` as their only owner, because they are about to be
/// written.
#[inline]
pub(crate) fn prefetch_to_write<T>(value: &T) {
    let address = std::ptr::from_ref(value).cast::<u8>();
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as in `prefetch`. CPUs without the instruction take it for one that does nothing.
    unsafe {
        std::arch::asm!(
            "prefetchw [{0}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
        if size_of::<T>() > LINE {
            std::arch::asm!(
                "prefetchw [{0} + 64]",
                in(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (address, LINE);
}
