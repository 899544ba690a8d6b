//! Writing the packed kernel.

use super::{Block, Error, Layout, Options, Packed};
use mil::{
    Arg, DataType, Function, FunctionBuilder, Literal, Op, OpError, Operand, Operation, Tensor,
    Type, ValueId,
};
use std::collections::BTreeMap;

pub(super) fn write(
    function: &Function,
    options: &Options,
    mut input: Layout,
    mut output: Layout,
) -> Result<Packed, Error> {
    let mut writer = Writer {
        function,
        literals: function.literals(),
        builder: FunctionBuilder::new("main", function.opset),
        values: vec![None; function.values.len()],
        turned: vec![false; function.values.len()],
    };
    let result = writer.kernel(options, &mut input, &mut output);
    let result = result.map_err(|error| Error::Operation {
        function: function.name.clone(),
        message: error.to_string(),
    })?;
    let function = writer.builder.finish(&[result]);
    Ok(Packed { function, input, output })
}

struct Writer<'a> {
    function: &'a Function,
    literals: Vec<Option<&'a Literal>>,
    builder: FunctionBuilder,
    /// The packed kernel's value for each of the original's.
    values: Vec<Option<ValueId>>,
    /// Whether that is the transpose.
    turned: Vec<bool>,
}

impl Writer<'_> {
    fn kernel(
        &mut self,
        options: &Options,
        input: &mut Layout,
        output: &mut Layout,
    ) -> Result<ValueId, OpError> {
        let ty = Type::tensor(DataType::Fp16, &[1, input.rows, 1, input.columns]);
        let packed = self.builder.input(&input.port, ty);
        input.port = self.builder.name(packed).to_owned();
        let function = self.function;
        let by_name: BTreeMap<&str, ValueId> =
            function.inputs.iter().map(|&id| (function.value(id).name.as_str(), id)).collect();
        for block in &input.blocks {
            let id = by_name[block.value.as_str()];
            let value = self.unpack(packed, input, block, id)?;
            self.define(id, value);
            self.turned[id.index()] = block.transposed;
        }
        for (name, literal) in &options.constants {
            if let Some(&id) = by_name.get(name.as_str()) {
                let value = self.builder.constant(name, literal.clone());
                self.values[id.index()] = Some(value);
            }
        }
        for operation in &self.function.body.operations {
            self.operation(operation)?;
        }
        let mut rows = vec![];
        for (block, &id) in output.blocks.iter().zip(&self.function.body.outputs) {
            let value = self.value(id, Op::Concat)?;
            rows.push(self.view(value, &[1, block.rows, 1, block.columns])?);
        }
        let mut result = match rows.as_slice() {
            &[only] => only,
            rows => self.builder.concat(rows, 1)?,
        };
        let missing = output.columns - output.blocks[0].columns;
        if missing > 0 {
            result = self.pad_columns(result, missing)?;
        }
        self.builder.rename(result, &output.port);
        output.port = self.builder.name(result).to_owned();
        Ok(result)
    }

    /// The value of a block of the packed input, in its own shape.
    fn unpack(
        &mut self,
        packed: ValueId,
        layout: &Layout,
        block: &Block,
        id: ValueId,
    ) -> Result<ValueId, OpError> {
        let whole = (block.rows, block.columns) == (layout.rows, layout.columns);
        let part = if whole {
            packed
        } else {
            let b = &mut self.builder;
            let begin = b.ints(&[0, block.row as i64, 0, block.column as i64]);
            let size = b.ints(&[1, block.rows as i64, 1, block.columns as i64]);
            let inputs = [("x", packed.into()), ("begin", begin.into()), ("size", size.into())];
            b.op(Op::SliceBySize, "block", inputs)?
        };
        let ty = self.function.ty(id).as_tensor().and_then(|t| t.fixed_dims());
        let mut dims = ty.expect("the layout has checked that shapes are fixed");
        if block.transposed {
            let last = dims.len() - 1;
            dims.swap(last - 1, last);
        }
        self.view(part, &dims)
    }

    fn view(&mut self, value: ValueId, dims: &[usize]) -> Result<ValueId, OpError> {
        match self.builder.dims(value) == dims {
            true => Ok(value),
            false => self.builder.reshape(value, dims),
        }
    }

    fn pad_columns(&mut self, value: ValueId, columns: usize) -> Result<ValueId, OpError> {
        let b = &mut self.builder;
        let pad = b.ints(&[0, 0, 0, 0, 0, 0, 0, columns as i64]);
        let mode = b.string("constant");
        let zero = b.float(DataType::Fp16, 0.0);
        let inputs = [
            ("x", value.into()),
            ("pad", pad.into()),
            ("mode", mode.into()),
            ("constant_val", zero.into()),
        ];
        b.op(Op::Pad, "padded", inputs)
    }

    fn operation(&mut self, operation: &Operation) -> Result<(), OpError> {
        if operation.op == Op::Const {
            // Written where it is read, so that what no longer is goes.
            return Ok(());
        }
        if let Some(name) = operation.attributes.keys().find(|name| *name != "name") {
            let message = format!("attribute `{name}` has no place in a packed kernel");
            return Err(OpError { op: operation.op, message });
        }
        let stem = self.name(operation.output()).to_owned();
        let mut inputs = vec![];
        for (name, arg) in &operation.inputs {
            inputs.push((name.as_str(), self.argument(arg, operation.op)?));
        }
        if operation.op == Op::Matmul {
            for (operand, flag) in [("x", "transpose_x"), ("y", "transpose_y")] {
                let turned = operation.value(operand).is_some_and(|id| self.turned[id.index()]);
                let value = self.flag(operation, flag) ^ turned;
                let value = self.builder.bool(value);
                inputs.retain(|(name, _)| *name != flag);
                inputs.push((flag, value.into()));
            }
        }
        let results = self.builder.operation(operation.op, &stem, inputs)?;
        for (&id, value) in operation.outputs.iter().zip(results) {
            self.define(id, value);
        }
        Ok(())
    }

    /// A flag of a product; absent means false.
    fn flag(&self, operation: &Operation, flag: &str) -> bool {
        let literal = operation.value(flag).and_then(|id| self.literals[id.index()]);
        literal.and_then(Literal::as_tensor) == Some(&Tensor::bool(true))
    }

    fn argument(&mut self, arg: &Arg, op: Op) -> Result<Arg, OpError> {
        let mut operand = |operand: &Operand| match operand {
            Operand::Value(id) => self.value(*id, op),
            Operand::Literal(literal) => Ok(self.builder.constant("c", literal.clone())),
        };
        match arg {
            Arg::One(one) => Ok(operand(one)?.into()),
            Arg::Many(many) => {
                let ids = many.iter().map(operand).collect::<Result<Vec<ValueId>, _>>()?;
                Ok(ids.as_slice().into())
            }
        }
    }

    fn value(&mut self, id: ValueId, op: Op) -> Result<ValueId, OpError> {
        if let Some(value) = self.values[id.index()] {
            return Ok(value);
        }
        let literal = self.literals[id.index()].ok_or_else(|| {
            let name = &self.function.value(id).name;
            OpError { op, message: format!("`{name}` is not computed before it is read") }
        })?;
        let name = self.name(id).to_owned();
        let value = self.builder.constant(&name, literal.clone());
        self.values[id.index()] = Some(value);
        Ok(value)
    }

    /// Makes `value` the one that stands for `id`, under its name where that is free.
    fn define(&mut self, id: ValueId, value: ValueId) {
        self.values[id.index()] = Some(value);
    }

    fn name(&self, id: ValueId) -> &str {
        &self.function.value(id).name
    }
}
