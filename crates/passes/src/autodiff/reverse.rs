//! The reverse sweep: cotangents by forward value, and forward values where they are wanted.

use super::activity::Activity;
use super::plan::Origin;
use super::rules::{Rule, rule};
use super::step::{Fault, Step};
use super::{Error, settle_names};
use mil::{
    Arg, Env, Function, FunctionBuilder, FunctionEnv, Op, OpError, Operand, Operation, Tensor,
    Type, ValueId,
};
use std::collections::{BTreeSet, HashMap};

/// A function's reverse while it is written.
///
/// Values of the original function are called forward values; the function under construction
/// has its own ids for them.
pub(super) struct Reverse<'a> {
    /// Writes the function under construction.
    pub(super) builder: FunctionBuilder,
    pub(super) function: &'a Function,
    pub(super) env: &'a FunctionEnv<'a>,
    activity: &'a Activity,
    origin: &'a dyn Fn(ValueId) -> Origin,
    /// By forward value: the operation that defines it.
    producer: Vec<Option<usize>>,
    /// By forward value: its id here, once it is at hand.
    here: Vec<Option<ValueId>>,
    /// By forward value: its cotangent so far. Dimensions on which it does not depend may be 1.
    cotangents: Vec<Option<ValueId>>,
    /// Forward values that rules asked for.
    demanded: BTreeSet<ValueId>,
    /// Inputs that the function under construction must have under these names.
    seeds: Vec<(ValueId, String)>,
    /// Forward values that came in as inputs.
    taken: BTreeSet<ValueId>,
    /// Values that are a cotangent already, and named for it.
    named: BTreeSet<ValueId>,
}

impl<'a> Reverse<'a> {
    pub(super) fn new(
        function: &'a Function,
        env: &'a FunctionEnv<'a>,
        activity: &'a Activity,
        origin: &'a dyn Fn(ValueId) -> Origin,
    ) -> Reverse<'a> {
        let mut producer = vec![None; function.values.len()];
        for (i, operation) in function.body.operations.iter().enumerate() {
            for &id in &operation.outputs {
                producer[id.index()] = Some(i);
            }
        }
        Reverse {
            builder: FunctionBuilder::new("backward", function.opset),
            function,
            env,
            activity,
            origin,
            producer,
            here: vec![None; function.values.len()],
            cotangents: vec![None; function.values.len()],
            demanded: BTreeSet::new(),
            seeds: vec![],
            taken: BTreeSet::new(),
            named: BTreeSet::new(),
        }
    }

    /// Copies the whole original function, so that every forward value is at hand; its outputs.
    pub(super) fn copy_forward(&mut self) -> Result<Vec<ValueId>, Error> {
        for &id in &self.function.inputs {
            let value = self.function.value(id);
            let input = self.builder.input(&value.name, value.ty.clone());
            self.here[id.index()] = Some(input);
            self.taken.insert(id);
        }
        for i in 0..self.function.body.operations.len() {
            self.copy(i)?;
        }
        self.function.body.outputs.iter().map(|&id| self.forward(id)).collect()
    }

    /// Gives an output a constant cotangent.
    pub(super) fn seed(&mut self, output: ValueId, cotangent: Tensor) {
        let id = FunctionBuilder::constant(&mut self.builder, "seed", cotangent);
        self.named.insert(id);
        self.cotangents[output.index()] = Some(id);
    }

    /// Gives every output that has a cotangent an input for it.
    pub(super) fn seed_with_inputs(&mut self) -> Result<(), Error> {
        for &id in &self.function.body.outputs {
            if self.activity.is_active(id) && self.cotangents[id.index()].is_none() {
                let value = self.function.value(id);
                let name = format!("d_{}", value.name);
                let input = self.builder.input(&name, value.ty.clone());
                self.seeds.push((input, name));
                self.named.insert(input);
                self.cotangents[id.index()] = Some(input);
            }
        }
        Ok(())
    }

    /// Runs the rules of all operations with a cotangent, last first.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        let function = self.function;
        for operation in function.body.operations.iter().rev() {
            let reached = |id: &&ValueId| self.cotangents[id.index()].is_some();
            let Some(&first) = operation.outputs.iter().find(reached) else { continue };
            if !operation.operands().any(|id| self.activity.is_active(id)) {
                continue;
            }
            match rule(operation.op) {
                Some(Rule::Adjoint(apply)) => {
                    apply(&mut Step::new(self, operation)).map_err(|fault| match fault {
                        Fault::Rule(error) => error,
                        Fault::Build(source) => {
                            Error::Build { value: label(function, operation), source }
                        }
                    })?;
                }
                Some(Rule::Constant(_)) => {}
                // One of a function that was not written out before.
                Some(Rule::Unrolled) | None => {
                    let value = self.function.value(first).name.clone();
                    return Err(Error::NoRule { op: operation.op, value });
                }
            }
        }
        Ok(())
    }

    /// The cotangent of an input, complete and of the input's shape.
    pub(super) fn gradient(&mut self, input: ValueId) -> Result<ValueId, Error> {
        let name = self.function.value(input).name.clone();
        let Some(cotangent) = self.cotangents[input.index()] else {
            return Err(Error::NoInfluence { input: name });
        };
        let dims = self.dims(input)?;
        self.spread(cotangent, &dims).map_err(|source| Error::Build { value: name, source })
    }

    /// The forward values that rules asked for.
    pub(super) fn demanded(&self) -> &BTreeSet<ValueId> {
        &self.demanded
    }

    /// The forward values that came in as inputs, in order of definition.
    pub(super) fn taken(&self) -> impl Iterator<Item = ValueId> + '_ {
        let defined = self.function.body.operations.iter().flat_map(|o| &o.outputs);
        let all = self.function.inputs.iter().chain(defined).copied();
        all.filter(|id| self.taken.contains(id))
    }

    /// The finished function. Its inputs are the seeds, taps, then original inputs.
    pub(super) fn finish(
        mut self,
        outputs: &[ValueId],
        names: &[String],
    ) -> Result<Function, Error> {
        let is_input = |id: &ValueId| self.producer[id.index()].is_none();
        let (inputs, taps): (Vec<_>, Vec<_>) = self.taken().partition(is_input);
        let mut fixed = self.seeds.clone();
        for id in taps.into_iter().chain(inputs) {
            let here = self.here[id.index()].expect("a value that came in is at hand");
            fixed.push((here, self.function.value(id).name.clone()));
        }
        let inputs: Vec<ValueId> = fixed.iter().map(|(id, _)| *id).collect();

        // Every output is a value of its own, with a name of its own.
        let mut own: Vec<ValueId> = vec![];
        for (&id, name) in outputs.iter().zip(names) {
            let is_twin = own.contains(&id) || inputs.contains(&id);
            let same_name = fixed.iter().any(|(other, n)| *other == id && n == name);
            let id = match is_twin && !same_name {
                true => self
                    .builder
                    .unary(Op::Identity, id)
                    .map_err(|source| Error::Build { value: name.clone(), source })?,
                false => id,
            };
            own.push(id);
            if !same_name {
                fixed.push((id, name.clone()));
            }
        }
        let mut function = self.builder.finish(&own);
        function.inputs = inputs;
        // The reverse of an old op may need a newer one.
        let newest = function.body.operations.iter().map(|o| o.op.spec().since).max();
        function.opset = function.opset.max(newest.unwrap_or(function.opset));
        settle_names(&mut function, &fixed)?;
        Ok(function)
    }

    /// Whether the forward value has a cotangent.
    pub(super) fn is_active(&self, id: ValueId) -> bool {
        self.activity.is_active(id)
    }

    /// The cotangent that has reached a forward value.
    pub(super) fn cotangent(&self, id: ValueId) -> Option<ValueId> {
        self.cotangents[id.index()]
    }

    /// Replaces a cotangent by an equal one.
    pub(super) fn set_cotangent(&mut self, id: ValueId, cotangent: ValueId) {
        self.named.insert(cotangent);
        self.cotangents[id.index()] = Some(cotangent);
    }

    /// Adds a contribution to a forward value's cotangent.
    pub(super) fn accumulate(&mut self, id: ValueId, contribution: ValueId) -> Result<(), OpError> {
        let sum = match self.cotangents[id.index()] {
            Some(so_far) => self.builder.add(so_far, contribution)?,
            None => contribution,
        };
        if self.named.insert(sum) {
            let name = format!("d_{}", self.function.value(id).name);
            self.builder.rename(sum, &name);
        }
        self.cotangents[id.index()] = Some(sum);
        Ok(())
    }

    /// A forward value, on behalf of a rule.
    pub(super) fn demand(&mut self, id: ValueId) -> Result<ValueId, Error> {
        if self.function.ty(id).as_tensor().and_then(|t| t.fixed_dims()).is_none() {
            let value = self.function.value(id).clone();
            return Err(Error::UnknownShape { value: value.name, ty: value.ty });
        }
        if !self.env.is_constant(id) {
            self.demanded.insert(id);
        }
        self.forward(id)
    }

    /// The dimensions of a forward value.
    pub(super) fn dims(&self, id: ValueId) -> Result<Vec<usize>, Error> {
        let value = self.function.value(id);
        match &value.ty {
            Type::Tensor(t) => t.fixed_dims(),
            _ => None,
        }
        .ok_or_else(|| Error::UnknownShape { value: value.name.clone(), ty: value.ty.clone() })
    }

    /// A forward value: at hand, taken in, or computed again with all it needs.
    fn forward(&mut self, id: ValueId) -> Result<ValueId, Error> {
        if let Some(here) = self.here[id.index()] {
            return Ok(here);
        }
        // A stack instead of recursion: chains are as long as the function.
        let mut operations = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if self.here[id.index()].is_some() {
                continue;
            }
            let producer = self.producer[id.index()];
            let Some(i) = producer
                .filter(|_| self.env.is_constant(id) || (self.origin)(id) == Origin::Recompute)
            else {
                let value = self.function.value(id);
                let input = self.builder.input(&value.name, value.ty.clone());
                self.here[id.index()] = Some(input);
                self.taken.insert(id);
                continue;
            };
            if operations.insert(i) {
                open.extend(self.function.body.operations[i].operands());
            }
        }
        for i in operations {
            self.copy(i)?;
        }
        Ok(self.here[id.index()].expect("its operation was copied"))
    }

    /// Writes one of the original operations; its operands are at hand.
    fn copy(&mut self, i: usize) -> Result<(), Error> {
        let operation = &self.function.body.operations[i];
        if let (Op::Const, Some(&id)) = (operation.op, operation.outputs.first()) {
            let literal = self.env.literal(id).expect("a const operation has a literal").clone();
            let name = &self.function.value(id).name;
            let here = FunctionBuilder::constant(&mut self.builder, name, literal);
            self.here[id.index()] = Some(here);
            return Ok(());
        }
        let local = |operand: &Operand| match operand {
            Operand::Value(id) => {
                Operand::Value(self.here[id.index()].expect("operands come before their use"))
            }
            literal => literal.clone(),
        };
        let mut arguments: HashMap<&str, Arg> = HashMap::new();
        for (name, arg) in &operation.inputs {
            let arg = match arg {
                Arg::One(operand) => Arg::One(local(operand)),
                Arg::Many(operands) => Arg::Many(operands.iter().map(local).collect()),
            };
            arguments.insert(name, arg);
        }
        // Old operator sets hold some parameters as attributes.
        for (name, literal) in &operation.attributes {
            if name != "name" && operation.op.spec().param(name).is_some() {
                arguments.entry(name).or_insert_with(|| literal.clone().into());
            }
        }
        let stem = operation.outputs.first().map(|&id| self.function.value(id).name.clone());
        let stem = stem.unwrap_or_else(|| operation.op.name().to_owned());
        let results = self
            .builder
            .operation(operation.op, &stem, arguments)
            .map_err(|source| Error::Build { value: stem, source })?;
        for (&id, here) in operation.outputs.iter().zip(results) {
            self.here[id.index()] = Some(here);
        }
        Ok(())
    }

    /// A value repeated along its dimensions of 1 until it has these dimensions.
    pub(super) fn spread(&mut self, id: ValueId, dims: &[usize]) -> Result<ValueId, OpError> {
        let now = self.builder.dims(id);
        if now == dims {
            return Ok(id);
        }
        let reps = dims.iter().zip(&now).map(|(&d, &n)| if n == d { 1 } else { d as i64 });
        let reps: Vec<i64> = reps.collect();
        let reps = self.builder.ints(&reps);
        self.builder.op(Op::Tile, "tile", [("x", id.into()), ("reps", reps.into())])
    }
}

/// What an operation is called in error messages.
pub(super) fn label(function: &Function, operation: &Operation) -> String {
    let first = operation.outputs.first();
    first.map_or_else(|| operation.op.name().into(), |&id| function.value(id).name.clone())
}
