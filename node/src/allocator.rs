//! The program's allocator: mimalloc. Most of the hot path's allocations are small and freed on another thread, where the
//! system's allocator takes locks.
//!
//! The crate `mimalloc` asks for an alignment with every call. Version 3 then takes its short way only for sizes that are
//! powers of two, and gives all others some bytes more by a long way; but nearly everything is aligned as every block is.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys as sys;

/// Alignment, in bytes, of every block however small.
const NATURAL_ALIGN_BYTES: usize = size_of::<usize>();

/// See the module.
pub struct Mimalloc;

// SAFETY: mimalloc gives blocks of at least the size asked for, aligned to a word at least or as asked for, null where there is
// no memory; blocks of both kinds may be given to `mi_free` and to either `mi_realloc`.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: no preconditions.
        unsafe {
            match layout.align() <= NATURAL_ALIGN_BYTES {
                true => sys::mi_malloc(layout.size()).cast(),
                false => sys::mi_malloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: no preconditions.
        unsafe {
            match layout.align() <= NATURAL_ALIGN_BYTES {
                true => sys::mi_zalloc(layout.size()).cast(),
                false => sys::mi_zalloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's block is one of ours.
        unsafe { sys::mi_free(block.cast::<c_void>()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let block = block.cast::<c_void>();
        // SAFETY: the caller's block is one of ours.
        unsafe {
            match layout.align() <= NATURAL_ALIGN_BYTES {
                true => sys::mi_realloc(block, new_size).cast(),
                false => sys::mi_realloc_aligned(block, new_size, layout.align()).cast(),
            }
        }
    }
}
