//! Packed parameters that several requests share.
//!
//! Functions that read one parameter alike (a layer for a prompt and the same layer for one token)
//! need it packed once. A pool knows what is packed already, by the surface it was packed from and
//! by how; whoever stages it packs it for all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use surface::Surface;

/// Something packed, and what it was packed from.
pub(crate) struct Packed<K, P> {
    /// The parameter, and how it is packed; a constant's belongs to its request alone.
    key: Option<(Surface, K)>,
    bytes: usize,
    total: Arc<AtomicUsize>,
    packed: RwLock<P>,
}

impl<K, P> Packed<K, P> {
    /// For computing. Requests of one device compute one after the other.
    pub fn read(&self) -> RwLockReadGuard<'_, P> {
        self.packed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For packing anew.
    pub fn write(&self) -> RwLockWriteGuard<'_, P> {
        self.packed.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, P> Drop for Packed<K, P> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What is packed from surfaces, as long as somebody uses it.
pub(crate) struct Pool<K, P>(Mutex<Vec<Weak<Packed<K, P>>>>);

impl<K, P> Default for Pool<K, P> {
    fn default() -> Pool<K, P> {
        Pool(Mutex::default())
    }
}

impl<K: PartialEq, P> Pool<K, P> {
    /// What is packed from this surface in this way, or else what `new` makes room for; its bytes
    /// are counted in `total`. Without a surface it is never shared.
    pub fn get<E>(
        &self,
        from: Option<&Surface>,
        key: K,
        total: &Arc<AtomicUsize>,
        new: impl FnOnce() -> Result<(P, usize), E>,
    ) -> Result<Arc<Packed<K, P>>, E> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(surface) = from {
            let is_it = |packed: &Arc<Packed<K, P>>| {
                packed.key.as_ref().is_some_and(|(s, k)| s.same(surface) && *k == key)
            };
            if let Some(found) = entries.iter().filter_map(Weak::upgrade).find(is_it) {
                return Ok(found);
            }
        }
        let (packed, bytes) = new()?;
        total.fetch_add(bytes, Ordering::Relaxed);
        let packed = Arc::new(Packed {
            key: from.map(|surface| (surface.clone(), key)),
            bytes,
            total: total.clone(),
            packed: RwLock::new(packed),
        });
        if from.is_some() {
            entries.retain(|entry| entry.strong_count() > 0);
            entries.push(Arc::downgrade(&packed));
        }
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_surface_packed_one_way_is_packed_once_while_it_is_used() {
        let pool: Pool<u8, usize> = Pool::default();
        let total = Arc::new(AtomicUsize::new(0));
        let [a, b] = [8, 8].map(|bytes| Surface::new(bytes).unwrap());
        let get = |from: Option<&Surface>, key| {
            pool.get(from, key, &total, || Ok::<_, ()>((7, 10))).unwrap()
        };
        let first = get(Some(&a), 1);
        assert!(Arc::ptr_eq(&first, &get(Some(&a.clone()), 1)));
        let others = [get(Some(&a), 2), get(Some(&b), 1), get(None, 1), get(None, 1)];
        for other in &others {
            assert!(!Arc::ptr_eq(&first, other));
        }
        assert!(!Arc::ptr_eq(&others[2], &others[3]), "constants are not shared");
        assert_eq!(total.load(Ordering::Relaxed), 50);
        drop((first, others));
        assert_eq!(total.load(Ordering::Relaxed), 0);
        *get(Some(&a), 1).write() = 9;
        assert_eq!(*get(Some(&a), 1).read(), 7, "nobody used the one before");
        let failed = pool.get(Some(&a), 3, &total, || Err::<(usize, usize), _>("no memory"));
        assert_eq!(failed.err(), Some("no memory"));
    }
}
