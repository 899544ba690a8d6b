//! Inference of any op on any arguments gives types or an error: it does not panic, and what it
//! gives can be worked with.

use anemone_mil::{
    Arg, Block, DataType, Dim, Env, Function, FunctionBuilder, FunctionEnv, Literal, OPS, Op,
    OpSpec, Operand, Operation, Opset, ParamSpec, ParamType, Program, Shape, Span, Tensor,
    TensorType, Type, Value, ValueId, infer, shape, verify,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Choices taken from a list of random numbers; 0 once it is used up.
struct Choices<'a>(std::slice::Iter<'a, u64>);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        (self.0.next().copied().unwrap_or(0) % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn dim(&mut self) -> Dim {
        let huge = [usize::MAX, usize::MAX / 2, 1 << 63, (1 << 62) + 1, 1 << 32, 1 << 31];
        match self.below(16) {
            0 => Dim::Unknown,
            1 => Dim::Fixed(self.of(&huge)),
            _ => Dim::Fixed(self.of(&[2, 1, 3, 0, 4, 6])),
        }
    }

    fn ty(&mut self, dtype: DataType) -> TensorType {
        let rank = self.of(&[2, 3, 4, 1, 0, 5, 40]);
        let shape = match self.below(10) {
            9 => Shape::Unranked,
            _ => Shape::Ranked((0..rank).map(|_| self.dim()).collect()),
        };
        TensorType { dtype, shape }
    }

    fn literal(&mut self, dtype: DataType) -> Tensor {
        if self.below(8) == 0 && dtype != DataType::String {
            // A tensor of some axes, as weights are.
            let dims: Vec<usize> =
                (0..1 + self.below(4)).map(|_| self.of(&[1, 2, 4, 0, 3])).collect();
            let count = dims.iter().product();
            return match dtype.is_float() {
                true => Tensor::from_f64s(dtype, &dims, &vec![0.5; count]).unwrap(),
                false => Tensor::from_i64s(dtype, &dims, &vec![1; count]).unwrap(),
            };
        }
        if dtype == DataType::String {
            let words = [
                "same",
                "custom",
                "valid",
                "same_lower",
                "int8",
                "fp16",
                "reflect",
                "EXACT",
                "?",
                "chw,whu->chu",
                "forward",
                "bidirectional",
                "tanh",
                "int32",
                "probs",
                "fp32",
            ];
            return Tensor::string(self.of(&words));
        }
        let count = self.of(&[1, 2, 3, 4, 0, 6]);
        let dims: &[usize] = match count {
            1 if self.below(2) == 0 => &[],
            4 if self.below(2) == 0 => &[2, 2],
            _ => &[count],
        };
        if dtype.is_float() {
            let values: Vec<f64> = (0..count).map(|_| self.of(&[1.0, -1.5, f64::NAN])).collect();
            return Tensor::from_f64s(dtype, dims, &values).unwrap();
        }
        let numbers = [1, 0, 2, -1, 3, -2, i64::MAX, i64::MIN, 1 << 40, 7];
        let values: Vec<i64> = (0..count).map(|_| self.of(&numbers)).collect();
        Tensor::from_i64s(dtype, dims, &values).unwrap()
    }
}

/// Dims that fit each other, for ops that random ones hardly ever fit.
fn usual(op: Op, name: &str) -> Option<&'static [usize]> {
    Some(match (op, name) {
        (Op::NonMaximumSuppression, "boxes") => &[2, 4, 4],
        (Op::NonMaximumSuppression, "scores") => &[2, 4, 4],
        (Op::Einsum, _) => &[2, 3, 2],
        (Op::Lstm | Op::Gru | Op::Rnn, "x") => &[2, 1, 3],
        (Op::Lstm | Op::Gru | Op::Rnn, "initial_h" | "initial_c") => &[1, 1],
        (Op::Lstm, "weight_ih" | "weight_ih_back") => &[4, 3],
        (Op::Gru, "weight_ih") => &[3, 3],
        (Op::Rnn, "weight_ih") => &[1, 3],
        (Op::Lstm, "weight_hh" | "weight_hh_back") => &[4, 1],
        (Op::Gru, "weight_hh") => &[3, 1],
        (Op::Rnn, "weight_hh") => &[1, 1],
        (Op::Lstm, "bias" | "bias_back") => &[4],
        (Op::Lstm, "peephole" | "peephole_back") | (Op::Gru, "bias" | "input_bias") => &[3],
        (Op::Rnn, "bias") => &[1],
        _ => return None,
    })
}

/// A function of one operation.
fn function(spec: &OpSpec, choices: &mut Choices) -> Function {
    let mut function = FunctionBuilder::new("main", Opset::Ios26).finish(&[]);
    let mut inputs = BTreeMap::new();
    // One element type for all that share a letter, most of the time.
    let float = choices.of(&[0, 1, 2]);
    for param in spec.params {
        if !param.required && choices.below(2) == 0 {
            continue;
        }
        let dtype = |choices: &mut Choices, set: &[DataType]| match choices.below(12) {
            0 => choices.of(set),
            _ => set[float % set.len()],
        };
        let arg = match &param.ty {
            ParamType::Tensor(letter, set) => {
                let dtype = dtype(choices, if *letter == 'I' { &[DataType::Int64] } else { set });
                match usual(spec.op, param.name).filter(|_| choices.below(8) > 0) {
                    Some(dims) => input(&mut function, Type::tensor(dtype, dims)).into(),
                    None => operand(&mut function, param, choices, dtype),
                }
            }
            ParamType::Tuple
                if matches!(param.name, "elem_shape" | "begins" | "ends" | "end_masks") =>
            {
                let dtype =
                    if param.name == "end_masks" { DataType::Bool } else { DataType::Int64 };
                let values =
                    (0..choices.below(3)).map(|_| Operand::Literal(choices.literal(dtype).into()));
                Arg::Many(values.collect())
            }
            ParamType::Tuple => {
                let ty = |choices: &mut Choices| match usual(spec.op, param.name) {
                    Some(dims) if choices.below(4) > 0 => Type::tensor(DataType::Fp32, dims),
                    _ => choices.ty(DataType::Fp32).into(),
                };
                let values: Vec<ValueId> =
                    (0..choices.below(4)).map(|_| input(&mut function, ty(choices))).collect();
                Arg::from(&values[..])
            }
            ParamType::Values => {
                let values: Vec<ValueId> = (0..choices.below(3))
                    .map(|_| input(&mut function, choices.ty(DataType::Fp32).into()))
                    .collect();
                Arg::from(&values[..])
            }
            ParamType::List if param.constant => {
                let ty = Type::List { element: Box::new(Type::scalar(DataType::Int64)), len: None };
                let items = (0..choices.below(4))
                    .map(|i| Tensor::from_i64s(DataType::Int64, &[], &[i as i64]));
                let items = items.map(|item| item.unwrap().into()).collect();
                Arg::from(Literal::List { ty, items })
            }
            ParamType::List => {
                let element = Box::new(choices.ty(DataType::Fp32).into());
                let len = Some(choices.below(3)).filter(|_| choices.below(2) == 0);
                input(&mut function, Type::List { element, len }).into()
            }
            ParamType::State => {
                let inner = choices.ty(DataType::Fp16).into();
                input(&mut function, Type::State(Box::new(inner))).into()
            }
            ParamType::Any => input(&mut function, choices.ty(DataType::Int4).into()).into(),
        };
        inputs.insert(param.name.to_owned(), arg);
    }
    let mut attributes = BTreeMap::new();
    if spec.op == Op::Const {
        attributes.insert("val".into(), choices.literal(DataType::Fp32).into());
    }
    let operation = Operation {
        op: spec.op,
        inputs,
        attributes,
        outputs: vec![],
        blocks: if spec.op.takes_blocks() { blocks(&mut function, choices) } else { vec![] },
        span: Span::default(),
    };
    function.body.operations.push(operation);
    function
}

/// Blocks with a few inputs, which they give back, or other values from around.
fn blocks(function: &mut Function, choices: &mut Choices) -> Vec<Block> {
    let flag = input(function, Type::scalar(DataType::Bool));
    let small = |choices: &mut Choices| -> Type {
        let dim = choices.of(&[Dim::Fixed(2), Dim::Unknown, Dim::Fixed(1)]);
        let shape = match choices.below(4) {
            0 => Shape::Unranked,
            _ => Shape::Ranked(vec![dim; choices.of(&[2, 3, 4])]),
        };
        TensorType { dtype: DataType::Fp32, shape }.into()
    };
    let around = small(choices);
    let around = input(function, around);
    (0..choices.of(&[2, 2, 2, 0, 1, 3]))
        .map(|_| {
            let mut block = Block::default();
            for _ in 0..choices.below(3) {
                let id = ValueId(function.values.len() as u32);
                let ty = small(choices);
                function.values.push(Value { name: format!("v{}", id.0), ty });
                block.inputs.push(id);
            }
            block.outputs = match choices.below(3) {
                0 => vec![flag],
                1 => vec![around],
                _ => block.inputs.clone(),
            };
            block
        })
        .collect()
}

fn operand(f: &mut Function, param: &ParamSpec, choices: &mut Choices, dtype: DataType) -> Arg {
    let shape_giving = dtype == DataType::Int64;
    if dtype == DataType::String && choices.below(4) > 0 {
        return Literal::from(Tensor::string(choices.of(words(param.name)))).into();
    }
    if param.constant || (shape_giving && choices.below(4) > 0) {
        return Literal::from(choices.literal(dtype)).into();
    }
    let ty = choices.ty(dtype);
    input(f, ty.into()).into()
}

/// What a parameter of strings takes.
fn words(parameter: &str) -> &'static [&'static str] {
    match parameter {
        "sampling_mode" => &["bilinear", "nearest", "DEFAULT", "ALIGN_CORNERS", "OFFSET_CORNERS"],
        "padding_mode" => &["constant", "border", "reflection", "symmetric"],
        "coordinates_mode" => &["unnormalized", "normalized_zero_to_one"],
        "box_coordinate_mode" => &["CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST"],
        "interpolation_mode" => &["LINEAR", "NEAREST_NEIGHBOR"],
        "output_dtype" => &["int32", "uint16", "int8"],
        "pad_type" => &["valid", "same", "same_lower", "custom"],
        _ => &["fp16", "reflect", "EXACT", "add"],
    }
}

fn input(function: &mut Function, ty: Type) -> ValueId {
    let id = ValueId(function.values.len() as u32);
    function.values.push(Value { name: format!("v{}", id.0), ty });
    function.inputs.push(id);
    id
}

/// Whether inference accepts the operation.
fn accepts(spec: &OpSpec, numbers: &[u64]) -> bool {
    let mut function = function(spec, &mut Choices(numbers.iter()));
    let env = FunctionEnv::new(&function);
    let Ok(types) = infer(&function.body.operations[0], &env) else { return false };
    for ty in &types {
        if let Type::Tensor(ty) = ty {
            assert!(shape::is_addressable(ty), "{}: {ty}", spec.name);
        }
    }
    // Slices that are inferred are the ones that are taken.
    let operation = &function.body.operations[0];
    if let (Op::SliceByIndex | Op::SliceBySize, [Type::Tensor(ty)]) = (spec.op, &types[..])
        && let Some(id) = operation.value("x")
        && let Some(dims) = env.ty(id).as_tensor().and_then(|t| t.fixed_dims())
        && let Ok(axes) = shape::resolve_slice(&anemone_mil::Params::new(operation, &env), &dims)
    {
        for (axis, dim) in axes.iter().zip(&dims).filter(|(axis, _)| axis.size > 0) {
            let last = axis.begin as i128 + (axis.size as i128 - 1) * i128::from(axis.stride);
            assert!(axis.begin < *dim && (0..*dim as i128).contains(&last), "{axis:?} of {dim}");
        }
        let kept: Vec<usize> = axes.iter().filter(|a| !a.dropped).map(|a| a.size).collect();
        assert_eq!(ty.fixed_dims(), Some(kept));
    }
    // What inference accepts, the verifier does.
    for ty in types {
        let id = ValueId(function.values.len() as u32);
        function.values.push(Value { name: format!("v{}", id.0), ty });
        function.body.operations[0].outputs.push(id);
        function.body.outputs.push(id);
    }
    let program = Program::new(vec![function]);
    assert_eq!(verify(&program).map_err(|e| e.to_string()), Ok(()), "{}", spec.name);
    true
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn inference_never_panics(op in 0..OPS.len(), numbers in prop::collection::vec(any::<u64>(), 0..60)) {
        accepts(&OPS[op], &numbers);
    }
}

/// The property above would hold for nothing if all of its operations were refused.
#[test]
fn random_operations_reach_every_op() {
    let mut state = 1u64;
    let mut random = || {
        // Splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    for spec in OPS {
        let accepted = (0..200_000).any(|_| {
            let numbers: Vec<u64> = (0..60).map(|_| random()).collect();
            accepts(spec, &numbers)
        });
        assert!(accepted, "no random {} was accepted", spec.name);
    }
}
