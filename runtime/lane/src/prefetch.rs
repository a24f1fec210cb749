//! Fetching into the cache what will be needed soon: how a batch of a million-grain working set
//! waits for memory once instead of once per message.
//!
//! Unsafe code: the instruction takes any address and changes nothing but the cache; the standard
//! library offers it as an intrinsic on a raw pointer only.
#![allow(unsafe_code)]

/// Asks for the cache line of `value`. Costs one instruction, or nothing where there is none.
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
