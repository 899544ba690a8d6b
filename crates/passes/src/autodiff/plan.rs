//! Where the backward function gets each forward value from.

use super::Error;
use mil::{Env, Function, FunctionEnv, Op, Operation, Type, ValueId};
use std::collections::BTreeSet;

/// What the backward function computes again instead of being given.
///
/// Constants, and casts and views of inputs and of values it has anyway, are never given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// Nothing: every needed intermediate value is an extra output of the forward function.
    Nothing,
    /// Element-wise operations, reductions, norms and views; the forward function gives only
    /// results of products, convolutions, attention, softmax, running sums and gathers.
    #[default]
    Cheap,
    /// Everything: the backward function needs only original inputs, and what
    /// [`Options::keep`](super::Options::keep) names.
    Everything,
}

/// Where the backward function gets a forward value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is an input of the original function.
    Input,
    /// The forward function gives it.
    Tap,
    /// Its operation is repeated.
    Recompute,
}

/// The origin of every value that the rules ask for, and of what those are computed from.
pub(super) struct Plan {
    origins: Vec<Origin>,
}

impl Plan {
    /// Plans for a set of values that the rules ask for; those in `keep` are taps if they are
    /// needed at all, and those in `repeat` never are.
    pub(super) fn new(
        function: &Function,
        env: &FunctionEnv,
        recompute: Recompute,
        keep: &BTreeSet<ValueId>,
        repeat: &BTreeSet<ValueId>,
        demanded: &BTreeSet<ValueId>,
    ) -> Result<Plan, Error> {
        let mut origins = vec![Origin::Input; function.values.len()];
        // Whether the value is at hand without a tap of its own.
        let mut at_hand = vec![false; function.values.len()];
        for &id in &function.inputs {
            at_hand[id.index()] = true;
        }
        for operation in &function.body.operations {
            let source = operation.value("x").filter(|&id| !env.is_constant(id));
            let source_at_hand =
                source.is_some_and(|id| at_hand[id.index()] || demanded.contains(&id));
            let view = view(operation, function);
            let changes = operation.op == Op::ReadState || operation.op.is_random();
            let origin = match (operation.op, recompute) {
                (Op::Const, _) => Origin::Recompute,
                (_, Recompute::Everything) if changes => {
                    let missing = |id: &&ValueId| demanded.contains(id) && !keep.contains(id);
                    if let Some(&id) = operation.outputs.iter().find(missing) {
                        let value = function.value(id).name.clone();
                        let what = match operation.op.is_random() {
                            true => "without a tap: it would draw other numbers",
                            false => "without a tap: its state may have changed",
                        };
                        let what = what.to_owned();
                        return Err(Error::Unsupported { op: operation.op, value, what });
                    }
                    Origin::Tap
                }
                _ if changes => Origin::Tap,
                (_, Recompute::Everything) => Origin::Recompute,
                (op, Recompute::Cheap) if !is_expensive(op) => Origin::Recompute,
                (_, Recompute::Cheap) => Origin::Tap,
                (_, Recompute::Nothing) => match view {
                    View::Whole => Origin::Recompute,
                    View::Less if source_at_hand => Origin::Recompute,
                    View::Less | View::No => Origin::Tap,
                },
            };
            for &id in &operation.outputs {
                let kept = keep.contains(&id) && operation.op != Op::Const;
                let repeated = repeat.contains(&id) && !changes;
                let origin = match (kept, repeated) {
                    (true, _) => Origin::Tap,
                    (false, true) => Origin::Recompute,
                    (false, false) => origin,
                };
                origins[id.index()] = origin;
                at_hand[id.index()] = operation.op == Op::Const
                    || origin == Origin::Tap && demanded.contains(&id)
                    || view != View::No && source_at_hand;
            }
        }
        Ok(Plan { origins })
    }

    /// Where a value comes from.
    pub(super) fn origin(&self, id: ValueId) -> Origin {
        self.origins[id.index()]
    }
}

/// How an operation's result relates to its operand `x`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// All of x's elements, under another shape or in an element type at least as wide.
    Whole,
    /// A part of x, or x in a narrower element type: smaller than x, so it is worth being given
    /// instead of x unless x is at hand.
    Less,
    /// Something else.
    No,
}

fn view(operation: &Operation, function: &Function) -> View {
    let bits = |id: ValueId| match function.ty(id) {
        Type::Tensor(t) => t.dtype.bits(),
        _ => 0,
    };
    match operation.op {
        Op::Identity | Op::Reshape | Op::Transpose | Op::ExpandDims | Op::Squeeze => View::Whole,
        Op::ReshapeLike | Op::Flatten2d => View::Whole,
        Op::SliceByIndex | Op::SliceBySize | Op::Split | Op::Crop => View::Less,
        Op::Cast => match operation.value("x") {
            Some(x) if bits(operation.output()) < bits(x) => View::Less,
            _ => View::Whole,
        },
        _ => View::No,
    }
}

/// Whether repeating the op costs more than keeping its result.
fn is_expensive(op: Op) -> bool {
    matches!(
        op,
        Op::Matmul
            | Op::Linear
            | Op::Conv
            | Op::ConvTranspose
            | Op::ScaledDotProductAttention
            | Op::Softmax
            | Op::Cumsum
            | Op::Gather
            | Op::GatherAlongAxis
            | Op::Scatter
            | Op::ScatterAlongAxis
            | Op::GatherNd
            | Op::ScatterNd
            | Op::Topk
            | Op::Argsort
            | Op::Einsum
            | Op::MaxPool
            | Op::AvgPool
            | Op::L2Pool
            | Op::LocalResponseNorm
            | Op::UpsampleBilinear
            | Op::ResizeBilinear
            | Op::Resize
            | Op::Resample
            | Op::Affine
            | Op::CropResize
    )
}
