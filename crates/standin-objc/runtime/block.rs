//! Blocks: copying them to the heap and counting who holds them.

use crate::memory::LIVE;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ffi::{c_int, c_void};
use std::ptr::{copy_nonoverlapping, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};

/// What a block begins with; what it captured follows.
#[repr(C)]
struct Block {
    isa: *const c_void,
    flags: AtomicI32,
    reserved: c_int,
    invoke: *const c_void,
    descriptor: *const Descriptor,
}

#[repr(C)]
struct Descriptor {
    reserved: usize,
    size: usize,
    /// There only with [`HAS_HELPERS`].
    copy: unsafe extern "C" fn(*mut Block, *const Block),
    dispose: unsafe extern "C" fn(*mut Block),
}

const ON_HEAP: c_int = 1 << 24;
const HAS_HELPERS: c_int = 1 << 25;
const GLOBAL: c_int = 1 << 28;
/// One reference; the count is in bits 1 to 15 of the flags.
const ONE: c_int = 2;
const COUNT: c_int = 0xfffe;

#[repr(transparent)]
pub struct Kind([usize; 32]);

#[unsafe(no_mangle)]
pub static _NSConcreteStackBlock: Kind = Kind([0; 32]);
#[unsafe(no_mangle)]
pub static _NSConcreteGlobalBlock: Kind = Kind([0; 32]);
static HEAP: Kind = Kind([0; 32]);

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _Block_copy(block: *const c_void) -> *mut c_void {
    // SAFETY: the caller passes a block or null.
    let Some(source) = (unsafe { block.cast::<Block>().as_ref() }) else { return null_mut() };
    let flags = source.flags.load(Ordering::Relaxed);
    if flags & ON_HEAP != 0 {
        source.flags.fetch_add(ONE, Ordering::Relaxed);
        return block.cast_mut();
    }
    if flags & GLOBAL != 0 {
        return block.cast_mut();
    }
    // SAFETY: a block has a descriptor, which tells its size; that much can be read from it, and
    // the copy helper, where the flags say that there is one, finishes what was copied.
    unsafe {
        let descriptor = &*source.descriptor;
        let layout = layout(descriptor.size);
        let copy = alloc(layout).cast::<Block>();
        if copy.is_null() {
            handle_alloc_error(layout);
        }
        copy_nonoverlapping(block.cast::<u8>(), copy.cast(), descriptor.size);
        (*copy).isa = (&raw const HEAP).cast();
        (*copy).flags = AtomicI32::new(flags & !COUNT | ON_HEAP | ONE);
        if flags & HAS_HELPERS != 0 {
            (descriptor.copy)(copy, block.cast());
        }
        LIVE.fetch_add(1, Ordering::Relaxed);
        copy.cast()
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _Block_release(block: *const c_void) {
    // SAFETY: the caller passes a block or null.
    let Some(it) = (unsafe { block.cast::<Block>().as_ref() }) else { return };
    if it.flags.load(Ordering::Relaxed) & ON_HEAP == 0 {
        return;
    }
    if it.flags.fetch_sub(ONE, Ordering::AcqRel) & COUNT == ONE {
        let flags = it.flags.load(Ordering::Relaxed);
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: that was the last reference to what `_Block_copy` allocated with this layout.
        unsafe {
            let descriptor = &*it.descriptor;
            if flags & HAS_HELPERS != 0 {
                (descriptor.dispose)(block.cast_mut().cast());
            }
            dealloc(block.cast_mut().cast(), layout(descriptor.size));
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap_or_else(|_| crate::die("a block has no size"))
}
