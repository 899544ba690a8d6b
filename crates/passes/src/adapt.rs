//! Adds low-rank updates to products with parameters (LoRA, [Hu et al., 2021]).
//!
//! Before:
//! ```text
//! func layer(tensor<fp32, [2, 3]> x, tensor<fp32, [4, 3]> w) {
//!     tensor<fp32, [2, 4]> y = linear(x = x, weight = w);
//! } -> (y);
//! ```
//! After, for `w` with rank 1 and scale 0.5:
//! ```text
//! func layer(tensor<fp32, [2, 3]> x, tensor<fp32, [4, 3]> w,
//!            tensor<fp32, [1, 3]> w_lora_a, tensor<fp32, [4, 1]> w_lora_b) {
//!     tensor<fp32, [2, 4]> w_base = linear(x = x, weight = w);
//!     tensor<fp32, [2, 1]> w_down = linear(x = x, weight = w_lora_a);
//!     tensor<fp32, [2, 1]> w_scaled = mul(x = w_down, y = 0.5);
//!     tensor<fp32, [2, 4]> w_update = linear(x = w_scaled, weight = w_lora_b);
//!     tensor<fp32, [2, 4]> y = add(x = w_base, y = w_update);
//! } -> (y);
//! ```
//! The matrices of the update are inputs and not constants: an adapter is trained, or replaced by
//! another one, without compiling anything again.
//!
//! [Hu et al., 2021]: https://arxiv.org/abs/2106.09685

use crate::edit;
use mil::{
    Arg, DataType, Function, FunctionBuilder, Literal, Op, OpError, Operand, Operation, Tensor,
    Type, ValueId,
};

/// An update of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The input that is adapted: the right operand of a `linear`, or of a `matmul`, as it is or
    /// cast to another type; `[out, in]` there, or as the product's flag says.
    pub parameter: String,
    /// The rank of the update, R.
    pub rank: usize,
    /// What the update is multiplied by.
    pub scale: f64,
    /// Whether the update sees x multiplied by an input of x's shape: what dropout leaves of it.
    pub dropout: bool,
}

impl Update {
    /// The input `[R, in]` that x is multiplied by first: fp32.
    pub fn a(&self) -> String {
        format!("{}_lora_a", self.parameter)
    }

    /// The input `[out, R]` that the result of that is multiplied by: fp32.
    pub fn b(&self) -> String {
        format!("{}_lora_b", self.parameter)
    }

    /// The input of the shape of x that x is multiplied by, with `dropout`: fp32.
    pub fn kept(&self) -> String {
        format!("{}_kept", self.parameter)
    }
}

/// Why a function cannot be adapted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No product reads the parameter as it must.
    #[error("function `{function}` has no product with `{parameter}` that could be adapted")]
    NoProduct {
        /// The function.
        function: String,
        /// The parameter.
        parameter: String,
    },
    /// A new input would have the name of another value.
    #[error("the function has a value called `{0}` already")]
    NameTaken(String),
    /// An operation cannot be written again.
    #[error(transparent)]
    Op(#[from] OpError),
}

/// The function with updates added to the products of some parameters. The inputs of the updates
/// come after all others, for each update `a`, `b` and, with dropout, `kept`. All other names stay.
///
/// # Errors
/// If a parameter is no right operand of a product, or a name is taken.
pub fn adapt(function: &Function, updates: &[Update]) -> Result<Function, Error> {
    let was_valid = edit::is_valid(function);
    let mut writer = Writer {
        function,
        updates,
        sources: sources(function),
        inputs: vec![None; updates.len()],
        literals: function.literals(),
        builder: FunctionBuilder::new(&function.name, function.opset),
        values: vec![None; function.values.len()],
    };
    let fixed = writer.write()?;
    let outputs: Vec<ValueId> = function
        .body
        .outputs
        .iter()
        .map(|id| writer.values[id.index()].expect("outputs are defined"))
        .collect();
    if let Some(missing) = writer.inputs.iter().position(Option::is_none) {
        return Err(Error::NoProduct {
            function: function.name.clone(),
            parameter: updates[missing].parameter.clone(),
        });
    }
    // In the order of the updates, and not of the products.
    let mut result = writer.builder.finish(&outputs);
    result.inputs.truncate(function.inputs.len());
    result.inputs.extend(writer.inputs.into_iter().flatten().flatten());
    result.attributes.clone_from(&function.attributes);
    edit::settle_names(&mut result, &fixed).map_err(Error::NameTaken)?;
    edit::assert_still_valid(was_valid, "adapt", &result);
    Ok(result)
}

/// For every value, the input that it is, or that it is a cast of.
fn sources(function: &Function) -> Vec<Option<ValueId>> {
    let mut sources = vec![None; function.values.len()];
    for &id in &function.inputs {
        sources[id.index()] = Some(id);
    }
    for operation in function.body.operations.iter().filter(|o| o.op == Op::Cast) {
        if let Some(x) = operation.value("x") {
            sources[operation.output().index()] = sources[x.index()];
        }
    }
    sources
}

struct Writer<'a> {
    function: &'a Function,
    updates: &'a [Update],
    sources: Vec<Option<ValueId>>,
    /// By update: its inputs, once a product was found.
    inputs: Vec<Option<Vec<ValueId>>>,
    literals: Vec<Option<&'a Literal>>,
    builder: FunctionBuilder,
    /// The new value for each of the function's.
    values: Vec<Option<ValueId>>,
}

/// A product with a parameter that is adapted.
struct Product {
    update: usize,
    x: ValueId,
    /// Elements of a row of x, and of a row of the result.
    widths: [usize; 2],
}

impl Writer<'_> {
    /// Writes everything; gives the values whose names are settled.
    fn write(&mut self) -> Result<Vec<(ValueId, String)>, Error> {
        let function = self.function;
        let mut fixed = vec![];
        for &id in &function.inputs {
            let value = function.value(id);
            let new = self.builder.input(&value.name, value.ty.clone());
            self.values[id.index()] = Some(new);
            fixed.push((new, value.name.clone()));
        }
        for operation in &function.body.operations {
            let results = self.copy(operation)?;
            let results = match self.product(operation) {
                Some(product) => vec![self.update(&product, results[0], &mut fixed)?],
                None => results,
            };
            for (&id, new) in operation.outputs.iter().zip(results) {
                self.values[id.index()] = Some(new);
                // Shared constants are one value of several names.
                if !fixed.iter().any(|(known, _)| *known == new) {
                    fixed.push((new, function.value(id).name.clone()));
                }
            }
        }
        Ok(fixed)
    }

    fn copy(&mut self, operation: &Operation) -> Result<Vec<ValueId>, Error> {
        let stem = operation.outputs.first().map_or("none", |&id| &self.function.value(id).name);
        if operation.op == Op::Const
            && let Some(literal) = operation.attributes.get("val")
        {
            return Ok(vec![self.builder.constant(stem, literal.clone())]);
        }
        let strange = operation.attributes.keys().any(|name| name != "name");
        if strange || !operation.blocks.is_empty() {
            let message = "attributes and nested blocks are not offered here".to_owned();
            return Err(OpError { op: operation.op, message }.into());
        }
        let new = |id: &ValueId| self.values[id.index()].expect("values are defined before use");
        let operand = |operand: &Operand| match operand {
            Operand::Value(id) => Operand::Value(new(id)),
            Operand::Literal(literal) => Operand::Literal(literal.clone()),
        };
        let inputs: Vec<(&str, Arg)> = operation
            .inputs
            .iter()
            .map(|(name, arg)| {
                let arg = match arg {
                    Arg::One(one) => Arg::One(operand(one)),
                    Arg::Many(many) => Arg::Many(many.iter().map(operand).collect()),
                };
                (name.as_str(), arg)
            })
            .collect();
        Ok(self.builder.operation(operation.op, stem, inputs)?)
    }

    /// The product that an operation is, if its right operand is adapted.
    fn product(&self, operation: &Operation) -> Option<Product> {
        let (weight, flag) = match operation.op {
            Op::Linear => ("weight", true),
            Op::Matmul if !self.flag(operation, "transpose_x") => {
                ("y", self.flag(operation, "transpose_y"))
            }
            _ => return None,
        };
        let source = self.sources[operation.value(weight)?.index()]?;
        let name = &self.function.value(source).name;
        let update = self.updates.iter().position(|update| update.parameter == *name)?;
        let dims = self.function.ty(source).as_tensor()?.fixed_dims()?;
        let [rows, columns] = dims[..] else { return None };
        let widths = if flag { [columns, rows] } else { [rows, columns] };
        Some(Product { update, x: operation.value("x")?, widths })
    }

    /// A flag of a product; absent means false.
    fn flag(&self, operation: &Operation, flag: &str) -> bool {
        let literal = match operation.inputs.get(flag) {
            Some(Arg::One(Operand::Literal(literal))) => Some(literal),
            Some(Arg::One(Operand::Value(id))) => self.literals[id.index()],
            _ => None,
        };
        literal.and_then(Literal::as_tensor) == Some(&Tensor::bool(true))
    }

    /// `base` + scale · (x · kept)·aᵀ·bᵀ.
    fn update(
        &mut self,
        product: &Product,
        base: ValueId,
        fixed: &mut Vec<(ValueId, String)>,
    ) -> Result<ValueId, Error> {
        let update = &self.updates[product.update];
        let [width_in, width_out] = product.widths;
        let mut x = self.values[product.x.index()].expect("values are defined before use");
        if self.inputs[product.update].is_none() {
            let mut ports = vec![
                (update.a(), vec![update.rank, width_in]),
                (update.b(), vec![width_out, update.rank]),
            ];
            if update.dropout {
                ports.push((update.kept(), self.builder.dims(x)));
            }
            let inputs = ports.into_iter().map(|(name, dims)| {
                let id = self.builder.input(&name, Type::tensor(DataType::Fp32, &dims));
                fixed.push((id, name));
                id
            });
            self.inputs[product.update] = Some(inputs.collect());
        }
        let inputs = self.inputs[product.update].clone().expect("they were declared");
        let b = &mut self.builder;
        let compute = b.dtype(x);
        if update.dropout {
            let kept = b.cast(inputs[2], compute)?;
            x = b.mul(x, kept)?;
        }
        let down = b.cast(inputs[0], compute)?;
        let low = b.linear(x, down)?;
        // Where there are the fewest elements.
        let low = if update.scale == 1.0 { low } else { b.scale(low, update.scale)? };
        let up = b.cast(inputs[1], compute)?;
        let high = b.linear(low, up)?;
        Ok(b.add(base, high)?)
    }
}
