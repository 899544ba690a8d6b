//! Which values cotangents flow through.

use super::rules::{Rule, rule};
use super::{Error, is_differentiable};
use mil::{Function, Op, Operation, ValueId};

/// For every value, whether it depends on a wanted input and influences a seeded output, both
/// through differentiable operations.
pub(super) struct Activity {
    active: Vec<bool>,
}

impl Activity {
    /// Looks at the whole function.
    ///
    /// # Errors
    /// If a value that depends on a wanted input reaches an output through an operation without
    /// a rule, or through a state; if a wanted input influences none of `outputs`.
    pub(super) fn of(
        function: &Function,
        wrt: &[ValueId],
        outputs: &[ValueId],
    ) -> Result<Activity, Error> {
        let mut depends = vec![false; function.values.len()];
        for &id in wrt {
            depends[id.index()] = true;
        }
        for operation in &function.body.operations {
            if !operation.blocks.is_empty() {
                return Err(Error::NestedBlocks { op: operation.op });
            }
            if operation.op == Op::WriteState
                && let Some(data) = operation.value("data")
                && depends[data.index()]
            {
                let state = operation.value("input").unwrap_or(data);
                let value = function.value(state).name.clone();
                return Err(Error::NoRule { op: operation.op, value });
            }
            if sources(operation).any(|id| depends[id.index()]) {
                // Integers end the way, but not those of an op that has no rule: what it loses
                // must not go unnoticed, as in `quantize` followed by `dequantize`.
                let opaque = rule(operation.op).is_none();
                for &id in &operation.outputs {
                    depends[id.index()] = opaque || is_differentiable(function.ty(id));
                }
            }
        }

        let mut influences = vec![false; function.values.len()];
        for &id in outputs {
            influences[id.index()] = is_differentiable(function.ty(id));
        }
        for operation in function.body.operations.iter().rev() {
            let reaches = |id: &ValueId| influences[id.index()] && depends[id.index()];
            let Some(&reached) = operation.outputs.iter().find(|id| reaches(id)) else { continue };
            if rule(operation.op).is_none() {
                let value = function.value(reached).name.clone();
                return Err(Error::NoRule { op: operation.op, value });
            }
            for id in sources(operation) {
                influences[id.index()] = true;
            }
        }

        let active: Vec<bool> = depends.iter().zip(&influences).map(|(d, i)| *d && *i).collect();
        for &id in wrt {
            if !active[id.index()] {
                return Err(Error::NoInfluence { input: function.value(id).name.clone() });
            }
        }
        for (value, _) in function.values.iter().zip(&active).filter(|(_, active)| **active) {
            if value.ty.as_tensor().and_then(|t| t.fixed_dims()).is_none() {
                return Err(Error::UnknownShape {
                    value: value.name.clone(),
                    ty: value.ty.clone(),
                });
            }
        }
        Ok(Activity { active })
    }

    /// Whether the value has a cotangent.
    pub(super) fn is_active(&self, id: ValueId) -> bool {
        self.active[id.index()]
    }
}

/// The operands through which the results depend on others differentiably. An op without a rule
/// counts with all its operands, so that it is found instead of passed over.
fn sources(operation: &Operation) -> impl Iterator<Item = ValueId> + '_ {
    let rule = rule(operation.op);
    operation.operands().filter(move |_| !matches!(rule, Some(Rule::Constant(_))))
}
