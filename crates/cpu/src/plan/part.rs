//! A part of a tensor that begins where a tensor says: what `slice_update`, `slice_by_index` and
//! `slice_by_size` take whose bounds are computed.

use super::graph::Val;
use super::place::Location;
use super::step::Context;
use super::transfer::Transfer;
use super::view::View;
use mil::shape::{SliceAxis, slice_between, slice_one, slice_sized};

/// A part whose size is known and whose place is not.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// How each axis is taken.
    pub axes: Vec<Bounds>,
    /// Elements taken of each axis.
    pub sizes: Vec<usize>,
    /// int32 vectors of which the bounds are entries: `begin`, and `end` or `size`.
    pub begin: Option<Val>,
    pub last: Option<Val>,
}

/// What is taken of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// From one bound to another, `None` where it is masked.
    Between { begin: Option<Bound>, end: Option<Bound>, stride: i64 },
    /// One element.
    One(Bound),
    /// So many elements, −1 for all that are left.
    Sized { begin: Bound, size: Bound },
}

/// A number of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Known(i64),
    /// The entry of the axis in `begin`.
    Begin,
    /// The entry of the axis in `end` or `size`.
    Last,
}

impl Bounds {
    /// How many elements lie from one taken to the next.
    fn stride(self) -> i64 {
        match self {
            Bounds::Between { stride, .. } => stride,
            Bounds::One(_) | Bounds::Sized { .. } => 1,
        }
    }
}

impl Part {
    /// Whether both take the same of tensors of the same dims.
    pub fn same(&self, other: &Part) -> bool {
        let same = |a: &Option<Val>, b: &Option<Val>| match (a, b) {
            (Some(a), Some(b)) => a.node == b.node && a.view == b.view,
            (a, b) => a.is_none() && b.is_none(),
        };
        self.axes == other.axes
            && self.sizes == other.sizes
            && same(&self.begin, &other.begin)
            && same(&self.last, &other.last)
    }

    /// The elements of a tensor of this view that would be taken if every axis began at 0.
    pub fn view(&self, whole: &View) -> View {
        let mut view = View { dims: self.sizes.clone(), ..whole.clone() };
        let axes = self.axes.iter().zip(&self.sizes);
        for (stride, (bounds, _)) in view.strides.iter_mut().zip(axes).filter(|(_, a)| *a.1 > 1) {
            *stride *= bounds.stride() as isize;
        }
        view
    }

    /// How many elements lie before the part in a tensor of these dims and strides.
    ///
    /// # Errors
    /// If the bounds leave the tensor, or take another number of elements.
    ///
    /// # Safety
    /// `begin` and `last` must point to a number for every axis where bounds are entries of them.
    pub unsafe fn offset(
        axes: &[Bounds],
        sizes: &[usize],
        whole: &View,
        begin: *const i32,
        last: *const i32,
    ) -> Result<isize, String> {
        let mut offset = 0;
        for (axis, (&dim, &stride)) in whole.dims.iter().zip(&whole.strides).enumerate() {
            let number = |bound: Bound| match bound {
                Bound::Known(number) => number,
                // SAFETY: as for the caller.
                Bound::Begin => i64::from(unsafe { *begin.add(axis) }),
                // SAFETY: as for the caller.
                Bound::Last => i64::from(unsafe { *last.add(axis) }),
            };
            let taken = match axes[axis] {
                Bounds::Between { begin, end, stride } => {
                    Some(slice_between(dim, begin.map(number), end.map(number), stride))
                }
                Bounds::One(index) => slice_one(dim, number(index)),
                Bounds::Sized { begin, size } => slice_sized(dim, number(begin), number(size)),
            };
            let expected = sizes[axis];
            match taken {
                Some(SliceAxis { begin, size, .. }) if size == expected => {
                    offset += begin as isize * stride;
                }
                Some(SliceAxis { size, .. }) => {
                    return Err(format!(
                        "the bounds take {size} elements of axis {axis}, expected {expected}"
                    ));
                }
                None => {
                    return Err(format!("the bounds leave axis {axis}, which has {dim} elements"));
                }
            }
        }
        Ok(offset)
    }
}

/// A move from or to a part whose place is computed.
pub(crate) struct PartStep {
    pub axes: Vec<Bounds>,
    pub sizes: Vec<usize>,
    /// The tensor that the part is of, from its first element on.
    pub whole: View,
    pub begin: Option<Location>,
    pub last: Option<Location>,
    /// Bytes of an element.
    pub width: usize,
    pub transfer: Transfer,
    /// Where the move goes from and to, and which of both the part is in.
    pub ends: [Location; 2],
    pub end: usize,
    /// The program's value.
    pub name: String,
}

impl PartStep {
    /// Runs the step.
    ///
    /// # Safety
    /// As [`Step::run`](super::step::Step::run).
    pub unsafe fn run(&self, c: &Context<'_>) -> Result<(), String> {
        let numbers = |location: Option<Location>| {
            location.map_or(std::ptr::null(), |location| c.at(location).cast_const().cast())
        };
        // SAFETY: the plan places a number for every axis in each vector of bounds, and
        // an offset that is no error leaves the part inside of the whole.
        unsafe {
            let (begin, last) = (numbers(self.begin), numbers(self.last));
            let offset = Part::offset(&self.axes, &self.sizes, &self.whole, begin, last)
                .map_err(|message| format!("`{}`: {message}", self.name))?;
            let mut ends = self.ends.map(|end| c.at(end));
            ends[self.end] = ends[self.end].wrapping_offset(offset * self.width as isize);
            self.transfer.run(c.team, ends[0], ends[1]);
        }
        Ok(())
    }
}
