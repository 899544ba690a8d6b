//! Memory that every device sees without a copy: one [`Surface`] holds one tensor's bytes.
//!
//! A surface is an anonymous mapping, on Linux of large pages if there are any; its size never
//! changes. Access is by guards: any number of readers or one writer, and a
//! surface that is in use otherwise is an error, never a wait, because a wait inside an
//! evaluation would be a bug in the caller's ordering.
//!
//! Memory that a system framework owns (an `IOSurface`) becomes a surface through [`Foreign`].
//! A device that reaches the memory itself takes [`Surface::lend`] for as long as it computes,
//! so that the same rule holds without mapping anything.
//!
//! This crate knows nothing of programs.

mod element;
mod foreign;
mod memory;

pub use element::Element;
pub use foreign::{Access, Foreign};

use foreign::View;
use memory::Memory;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Memory of a fixed size, page aligned and zero at first. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Surface(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    storage: Storage,
    /// Number of readers, or [`WRITER`].
    users: AtomicI32,
}

#[derive(Debug)]
enum Storage {
    Own(Memory),
    Foreign(Box<dyn Foreign>),
}

const WRITER: i32 = -1;

/// Why a surface cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused the memory.
    #[error("cannot allocate a surface of {bytes} bytes: {source}")]
    Allocate {
        /// Size asked for.
        bytes: usize,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is being written, or being read when it was to be written.
    #[error("the surface is in use")]
    Busy,
    /// The owner of foreign memory did not lock it.
    #[error("cannot lock the surface: {0}")]
    Lock(std::io::Error),
}

impl Surface {
    /// A surface of `bytes` bytes, all zero.
    pub fn new(bytes: usize) -> Result<Surface, Error> {
        let memory = Memory::new(bytes).map_err(|source| Error::Allocate { bytes, source })?;
        Ok(Surface::of(Storage::Own(memory)))
    }

    /// A surface of memory that something else allocated; `owner` lives as long as the surface
    /// and every guard of it.
    pub fn from_foreign(owner: Box<dyn Foreign>) -> Surface {
        Surface::of(Storage::Foreign(owner))
    }

    fn of(storage: Storage) -> Surface {
        Surface(Arc::new(Inner { storage, users: AtomicI32::new(0) }))
    }

    /// A surface that holds a copy of `elements`.
    pub fn from_slice<T: Element>(elements: &[T]) -> Result<Surface, Error> {
        let surface = Surface::new(size_of_val(elements))?;
        surface.write()?.as_mut_slice::<T>().copy_from_slice(elements);
        Ok(surface)
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        match &self.0.storage {
            Storage::Own(memory) => memory.len(),
            Storage::Foreign(owner) => owner.len(),
        }
    }

    /// Whether the size is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are the same memory.
    pub fn same(&self, other: &Surface) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The owner of foreign memory, if it is a `T`.
    pub fn foreign<T: Foreign>(&self) -> Option<&T> {
        match &self.0.storage {
            Storage::Own(_) => None,
            Storage::Foreign(owner) => (owner.as_ref() as &dyn std::any::Any).downcast_ref(),
        }
    }

    /// Begins reading. Allocates nothing.
    pub fn read(&self) -> Result<Reading, Error> {
        let lent = self.lend(Access::Read)?;
        Ok(Reading(View::new(lent)?))
    }

    /// Begins writing. Allocates nothing.
    pub fn write(&self) -> Result<Writing, Error> {
        let lent = self.lend(Access::Write)?;
        Ok(Writing(View::new(lent)?))
    }

    /// Counts as a reader or as the writer without giving access to the bytes: for a device that
    /// reaches the memory itself while it computes. Allocates nothing.
    pub fn lend(&self, access: Access) -> Result<Lent, Error> {
        let next = |users| match access {
            Access::Read => (users >= 0).then_some(users + 1),
            Access::Write => (users == 0).then_some(WRITER),
        };
        match self.0.users.fetch_update(Ordering::Acquire, Ordering::Relaxed, next) {
            Ok(_) => Ok(Lent { inner: self.0.clone(), access }),
            Err(_) => Err(Error::Busy),
        }
    }
}

/// A use of a surface, which ends when this is dropped.
#[derive(Debug)]
pub struct Lent {
    inner: Arc<Inner>,
    access: Access,
}

impl Drop for Lent {
    fn drop(&mut self) {
        match self.access {
            Access::Read => _ = self.inner.users.fetch_sub(1, Ordering::Release),
            Access::Write => self.inner.users.store(0, Ordering::Release),
        }
    }
}

/// Read access to a surface's bytes; others may read too.
#[derive(Debug)]
pub struct Reading(View);

/// Sole access to a surface's bytes.
#[derive(Debug)]
pub struct Writing(View);

impl Reading {
    /// The contents as elements; trailing bytes that do not fill one are left out.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        element::cast(self)
    }
}

impl Writing {
    /// The contents as elements; trailing bytes that do not fill one are left out.
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        element::cast_mut(self)
    }

    /// The contents as elements, to read.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        element::cast(self)
    }
}

impl Deref for Reading {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this guard counts as a reader, so no `Writing` of this surface exists.
        unsafe { std::slice::from_raw_parts(self.0.address(), self.0.len()) }
    }
}

impl Deref for Writing {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this guard is the only one of this surface.
        unsafe { std::slice::from_raw_parts(self.0.address(), self.0.len()) }
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: this guard is the only one of this surface, and it is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.0.address(), self.0.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_excludes_everyone_and_readers_share() {
        let s = Surface::from_slice(&[1.0f32, 2.0]).unwrap();
        let (a, b) = (s.read().unwrap(), s.read().unwrap());
        assert!(matches!(s.write(), Err(Error::Busy)));
        assert_eq!(a.as_slice::<f32>(), b.as_slice::<f32>());
        drop((a, b));
        let mut w = s.clone().write().unwrap();
        assert!(matches!(s.read(), Err(Error::Busy)));
        w.as_mut_slice::<f32>()[1] = 5.0;
        drop(w);
        assert_eq!(s.read().unwrap().as_slice::<f32>(), [1.0, 5.0]);
    }

    #[test]
    fn a_surface_may_be_empty() {
        let s = Surface::new(0).unwrap();
        assert!(s.is_empty());
        assert_eq!(s.read().unwrap().len(), 0);
    }
}
