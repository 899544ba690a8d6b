//! The op table: one row describes an op once.
//!
//! Source of names, parameters and defaults: the registry of coremltools 9.0.
//! The type sets are those of the newest signature, so that one row serves every opset;
//! bf16 and fp64 are accepted wherever fp32 is, and what a norm or `prelu` learns may be computed so
//! that it can be trained; Apple's compilers do neither.
//!
//! Adding an op is adding a row in `table`, its result types in `infer`, its meaning in the
//! interpreter, and, if it is differentiable, its rule in the autodiff table.

mod params;
mod spec;
mod table;

pub use spec::{DefaultValue, OpSpec, ParamSpec, ParamType};
pub use table::{OPS, Op};

impl Op {
    /// The op's row.
    pub fn spec(self) -> &'static OpSpec {
        &OPS[self as usize]
    }

    /// The op's name in programs.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Whether its results are constants that are computed when the program is compiled: weights
    /// in a compressed form.
    pub fn is_constexpr(self) -> bool {
        self.name().starts_with("constexpr_")
    }

    /// Whether nested blocks belong to it.
    pub fn takes_blocks(self) -> bool {
        matches!(self, Op::Cond | Op::WhileLoop)
    }

    /// Whether two operations with the same arguments may give different results.
    pub fn is_random(self) -> bool {
        use Op::*;
        matches!(self, RandomUniform | RandomNormal | RandomBernoulli | RandomCategorical)
    }

    /// The op with this name.
    pub fn from_name(name: &str) -> Option<Op> {
        OPS.iter().find(|spec| spec.name == name).map(|spec| spec.op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_finds_its_own_row_and_name() {
        for spec in OPS {
            assert_eq!(spec.op.spec().name, spec.name);
            assert_eq!(Op::from_name(spec.name), Some(spec.op));
        }
    }
}
