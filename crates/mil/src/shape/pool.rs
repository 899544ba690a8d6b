//! Where the windows of a pool lie.

use super::{padding, pads, positive};
use crate::{OpError, Params};

/// Where the windows of a pool lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Size of the window per spatial axis.
    pub kernel: Vec<usize>,
    /// Step of the window per spatial axis.
    pub strides: Vec<usize>,
    /// What is put before and after each spatial axis.
    pub pads: Vec<(usize, usize)>,
    /// Spatial dims of x.
    pub space: Vec<usize>,
    /// Spatial dims of the result.
    pub out: Vec<usize>,
}

impl PoolGeometry {
    /// The elements of x that the window at `at` of the result sees along an axis, without padding;
    /// empty if it sees only padding.
    pub fn window(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let (before, n) = (self.pads[axis].0, self.space[axis]);
        let start = at * self.strides[axis];
        let end = (start + self.kernel[axis]).saturating_sub(before).min(n);
        start.saturating_sub(before).min(end)..end
    }

    /// Elements of that window with the padding, but not what reaches beyond it as the last window
    /// of `ceil_mode` can.
    pub fn padded(&self, axis: usize, at: usize) -> usize {
        let (before, after) = self.pads[axis];
        let start = at * self.strides[axis];
        (start + self.kernel[axis]).min(before + self.space[axis] + after).saturating_sub(start)
    }
}

/// The geometry of `max_pool`, `avg_pool` and `l2_pool` for x of the dims `[N, C, …]`.
///
/// An axis of the result has ⌊(in + pads − k)/s⌋ + 1 elements; with `ceil_mode` the quotient is
/// rounded up, and a last window that would begin beyond the input and the padding before it is
/// left out, where there is padding. `same` and `same_lower` pad as a convolution does.
///
/// # Errors
/// If ranks or lengths do not fit, or the window is larger than the padded input.
pub fn pool_geometry(params: &Params, x: &[usize]) -> Result<PoolGeometry, OpError> {
    if !(3..=5).contains(&x.len()) {
        return Err(params.error(format!("x has rank {}; it must be 3, 4 or 5", x.len())));
    }
    let spatial = x.len() - 2;
    params.need_ints("kernel_sizes")?;
    let kernel = positive(params, "kernel_sizes", spatial)?;
    let strides = positive(params, "strides", spatial)?;
    let custom = pads(params, spatial)?;
    let kind = params.string("pad_type")?;
    let ceil = params.bool("ceil_mode")?;
    if ceil && kind == "same" {
        return Err(params.error(format!("`ceil_mode` does not go with the padding \"{kind}\"")));
    }
    let space = x[2..].to_vec();
    let mut geometry = PoolGeometry { kernel, strides, pads: vec![], space, out: vec![] };
    for (axis, &custom) in custom.iter().enumerate() {
        let (n, k, s) = (geometry.space[axis], geometry.kernel[axis], geometry.strides[axis]);
        let too_large = || params.error(format!("the window of axis {axis} is too large"));
        let (before, after) = match padding(&kind, custom, n, s, k) {
            Some(pads) => pads.ok_or_else(too_large)?,
            None => return Err(params.error(format!("`pad_type` is \"{kind}\""))),
        };
        let padded = n.checked_add(before).and_then(|n| n.checked_add(after));
        // Wherever a window begins, its end is a number too.
        let end = |padded: usize| padded.checked_add(k)?.checked_add(s);
        let padded = padded.filter(|&p| end(p).is_some()).ok_or_else(too_large)?;
        // Rounding up is rounding down with all but one element of a stride more.
        let more = if ceil { s - 1 } else { 0 };
        let Some(room) = (padded + more).checked_sub(k) else {
            return Err(params.error(format!(
                "the window of axis {axis} spans {k} elements, the padded input has {padded}"
            )));
        };
        let mut out = room / s + 1;
        let begins = (out - 1) * s;
        if ceil && begins >= n + before && before + after > 0 {
            out -= 1;
        }
        geometry.pads.push((before, after));
        geometry.out.push(out);
    }
    Ok(geometry)
}
