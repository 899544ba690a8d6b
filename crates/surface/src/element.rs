//! Bytes seen as numbers.

/// A number type for which every bit pattern is a value and which holds no padding.
///
/// # Safety
/// Implementors must have both properties.
pub unsafe trait Element: Copy + Send + Sync + 'static {}

macro_rules! elements {
    ($($ty:ty),*) => {
        // SAFETY: primitive numbers have no padding and no invalid bit patterns.
        $(unsafe impl Element for $ty {})*
    };
}

elements!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

/// The whole elements of `bytes`.
///
/// # Panics
/// If `bytes` is not aligned for `T`; surfaces are page aligned.
pub(crate) fn cast<T: Element>(bytes: &[u8]) -> &[T] {
    assert!(bytes.as_ptr().cast::<T>().is_aligned(), "surfaces are page aligned");
    // SAFETY: aligned as just checked, within the slice, and every bit pattern is a `T`.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// The whole elements of `bytes`.
///
/// # Panics
/// If `bytes` is not aligned for `T`; surfaces are page aligned.
pub(crate) fn cast_mut<T: Element>(bytes: &mut [u8]) -> &mut [T] {
    assert!(bytes.as_ptr().cast::<T>().is_aligned(), "surfaces are page aligned");
    let count = bytes.len() / size_of::<T>();
    // SAFETY: aligned as just checked, within the slice that is borrowed mutably, every bit
    // pattern is a `T`, and a `T` has no padding that writing could leave undefined.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) }
}
