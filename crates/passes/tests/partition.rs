//! Parts together compute what the whole does, packed or not.

use anemone_passes::pack::{self, Layout, Packed};
use anemone_passes::partition::{self, Partition, Place, When, partition};
use interp::Array;
use mil::{DataType, Function, FunctionBuilder, Op, Operation, Opset, Program, Type, ValueId};
use std::collections::BTreeMap;

type Values = BTreeMap<String, Array>;

/// A source of numbers that are the same everywhere (a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Elements of about unit size.
    fn array(&mut self, dtype: DataType, dims: &[usize]) -> Array {
        let count: usize = dims.iter().product();
        let values = (0..count).map(|_| self.below(2001) as f64 / 1000.0 - 1.0).collect();
        Array::floats(dtype, dims, values).rounded()
    }
}

fn fp16_only(f: &Function, operation: &Operation) -> Result<(), String> {
    let is_fp16 = |id: ValueId| match f.ty(id).as_tensor() {
        Some(t) => t.dtype != DataType::Fp32,
        None => false,
    };
    let fits = operation.operands().chain(operation.outputs.iter().copied()).all(is_fp16);
    if fits { Ok(()) } else { Err("fp32".into()) }
}

fn options<'a>(
    parameters: &'a [String],
    accumulators: &'a [String],
    fits: &'a partition::Fits<'a>,
) -> partition::Options<'a> {
    partition::Options { parameters, accumulators, accepts: &fp16_only, fits }
}

fn evaluate(f: &Function, values: &Values) -> Values {
    let inputs = f.inputs.iter().map(|&id| f.value(id).name.clone());
    let inputs = inputs.map(|name| (name.clone(), values[&name].clone())).collect();
    let program = Program::new(vec![f.clone()]);
    interp::evaluate(&program, &f.name, &inputs, &interp::Options::default()).unwrap().outputs
}

/// The packed input of a kernel.
fn gather(layout: &Layout, values: &Values) -> Array {
    let mut surface = vec![0.0; layout.rows * layout.columns];
    for block in &layout.blocks {
        let value = values[&block.value].to_f64s();
        for row in 0..block.rows {
            for column in 0..block.columns {
                let from = match block.transposed {
                    true => column * block.rows + row,
                    false => row * block.columns + column,
                };
                let to = (block.row + row) * layout.columns + block.column + column;
                surface[to] = value[from];
            }
        }
    }
    Array::floats(DataType::Fp16, &[1, layout.rows, 1, layout.columns], surface)
}

/// The results of a packed kernel.
fn scatter(layout: &Layout, surface: &Array, kernel: &Function, values: &mut Values) {
    let surface = surface.to_f64s();
    for (block, &id) in layout.blocks.iter().zip(&kernel.body.outputs) {
        let mut value = vec![];
        for row in block.row..block.row + block.rows {
            let from = row * layout.columns;
            value.extend_from_slice(&surface[from..from + block.columns]);
        }
        let dims = kernel.ty(id).as_tensor().unwrap().fixed_dims().unwrap();
        values.insert(block.value.clone(), Array::floats(DataType::Fp16, &dims, value));
    }
}

fn run(parts: &Partition, inputs: &Values, multiple: Option<usize>) -> Values {
    let mut values = inputs.clone();
    for part in &parts.parts {
        assert_eq!(mil::verify_function(&part.function), vec![]);
        match (part.place, multiple) {
            (Place::Kernel, Some(column_multiple)) => {
                let packed = packed(&part.function, &part.weights, column_multiple);
                let surface = gather(&packed.input, &values);
                let inputs = BTreeMap::from([(packed.input.port.clone(), surface)]);
                let results = evaluate(&packed.function, &inputs);
                let surface = &results[&packed.output.port];
                scatter(&packed.output, surface, &part.function, &mut values);
            }
            _ => values.extend(evaluate(&part.function, &values)),
        }
    }
    values
}

fn packed(kernel: &Function, weights: &[String], column_multiple: usize) -> Packed {
    let options =
        pack::Options { weights: weights.to_vec(), column_multiple, constants: BTreeMap::new() };
    let packed = pack::pack(kernel, &options).unwrap();
    assert_eq!(mil::verify_function(&packed.function), vec![]);
    assert!(packed.input.blocks.iter().all(|b| b.column.is_multiple_of(column_multiple)));
    assert!(packed.output.columns.is_multiple_of(column_multiple));
    packed
}

/// A function over `[1, C, 1, T]` that goes back and forth between fp32 and fp16, with products
/// by parameters, and the names of its parameters.
fn random_function(n: &mut Numbers) -> (Function, Vec<String>) {
    let columns = n.pick(&[1, 5, 32]);
    let mut b = FunctionBuilder::new("f", Opset::Ios18);
    let mut parameters = vec![];
    let dims = [1, n.pick(&[3, 8]), 1, columns];
    let mut pool = vec![b.input("x", Type::tensor(DataType::Fp32, &dims))];
    let small = b.input("s", Type::tensor(DataType::Fp16, &[1, 4, 1, columns]));
    pool.push(small);
    for step in 0..4 + n.below(12) {
        let x = n.pick(&pool);
        let dims = b.dims(x);
        let value = match n.below(6) {
            0 => b.cast(x, n.pick(&[DataType::Fp16, DataType::Fp32])),
            1 => b.unary(n.pick(&[Op::Sigmoid, Op::Relu]), x),
            2 => match pool.iter().find(|&&y| b.dims(y) == dims && b.dtype(y) == b.dtype(x)) {
                Some(&y) => b.mul(x, y),
                None => b.mul(x, x),
            },
            3 => b.reduce(Op::ReduceSum, x, &[1], true),
            4 if b.dtype(x) == DataType::Fp16 => {
                let wide = n.pick(&[2, 7, 11]);
                let name = format!("w{step}");
                let shape = [1, 1, wide, dims[1]];
                let (shape, flag) = match n.below(2) {
                    0 => (shape, false),
                    _ => ([1, 1, dims[1], wide], true),
                };
                let w = b.input(&name, Type::tensor(DataType::Fp32, &shape));
                parameters.push(name);
                let w = b.cast(w, DataType::Fp16).unwrap();
                let x = b.reshape(x, &[1, 1, dims[1], dims[3]]).unwrap();
                let y = b.matmul(w, x, (flag, false)).unwrap();
                b.reshape(y, &[1, wide, 1, dims[3]])
            }
            _ => b.scale(x, 0.5),
        };
        pool.push(value.unwrap());
    }
    let function = b.clone().finish(&[]);
    let read: Vec<ValueId> =
        function.body.operations.iter().flat_map(|o| o.operands().collect::<Vec<_>>()).collect();
    // What nobody reads, and one value that somebody does. A cast to the same type is its operand.
    let mut results: Vec<ValueId> =
        pool.into_iter().filter(|id| !function.inputs.contains(id)).collect();
    results.sort();
    results.dedup();
    let (read, mut outputs): (Vec<ValueId>, Vec<ValueId>) =
        results.into_iter().partition(|id| read.contains(id));
    outputs.extend(read.first());
    (b.finish(&outputs), parameters)
}

#[test]
fn parts_of_random_functions_compute_what_the_whole_does() {
    let mut kernels = 0;
    for seed in 0..300 {
        let mut n = Numbers(seed);
        let (function, parameters) = random_function(&mut n);
        assert_eq!(mil::verify_function(&function), vec![]);
        let mut inputs = Values::new();
        for &id in &function.inputs {
            let ty = function.ty(id).as_tensor().unwrap();
            let array = n.array(ty.dtype, &ty.fixed_dims().unwrap());
            inputs.insert(function.value(id).name.clone(), array);
        }
        let expected = evaluate(&function, &inputs);
        // Without a limit, and with one that only small kernels keep.
        let small = |f: &Function, _: &[String]| {
            let count = f.body.operations.iter().filter(|o| o.op != Op::Const).count();
            if count <= 2 { Ok(()) } else { Err(format!("{count} operations")) }
        };
        let any = |_: &Function, _: &[String]| Ok(());
        let late: Vec<String> = function
            .body
            .outputs
            .iter()
            .map(|&id| function.value(id).name.clone())
            .filter(|_| n.below(3) == 0)
            .collect();
        let no_products = |f: &Function, _: &[String]| {
            let has = f.body.operations.iter().any(|o| o.op == Op::Matmul);
            if has { Err("a product".to_owned()) } else { Ok(()) }
        };
        for (fits, limited) in
            [(&any as &partition::Fits<'_>, false), (&small, true), (&no_products, true)]
        {
            let options = options(&parameters, &late, fits);
            let parts = partition(&function, &options).unwrap();
            kernels += parts.parts.iter().filter(|p| p.place == Place::Kernel).count();
            assert!(limited || parts.cuts.iter().all(|c| c.reason == "fp32"), "{:?}", parts.cuts);
            for multiple in [None, Some(1), Some(32)] {
                let found = run(&parts, &inputs, multiple);
                for (name, array) in &expected {
                    assert_eq!(&found[name], array, "seed {seed}: {name}, {multiple:?}");
                }
            }
        }
    }
    assert!(kernels > 300, "{kernels} kernels are too few to mean anything");
}

fn parse(inputs: &str, body: &str, outputs: &str) -> Function {
    let text =
        format!("program(1.3)\n{{\nfunc f<ios18>({inputs}) {{\n{body}\n}} -> ({outputs});\n}}");
    let program = mil::parse(&text).unwrap();
    mil::verify(&program).unwrap();
    program.functions.into_iter().next().unwrap()
}

const COLUMN: &str = "tensor<fp16, [1, 4, 1, 32]>";
const WIDE: &str = "tensor<fp32, [1, 4, 1, 32]>";

#[test]
fn a_cut_says_why_and_what_is_recomputed_moves_to_its_reader() {
    let body = format!(
        "{COLUMN} a = sigmoid(x = t);
         {COLUMN} b = relu(x = u);
         {WIDE} c = cast(x = b, dtype = string(\"fp32\"));
         {WIDE} d = square(x = c);
         {COLUMN} e = cast(x = d, dtype = string(\"fp16\"));
         {COLUMN} y = mul(x = a, y = e);"
    );
    let f = parse(&format!("{COLUMN} t, {COLUMN} u"), &body, "y");
    let any = |_: &Function, _: &[String]| Ok(());
    let parts = partition(&f, &options(&[], &[], &any)).unwrap();
    let names: Vec<&str> = parts.parts.iter().map(|p| p.function.name.as_str()).collect();
    assert_eq!(names, ["f_kernel_0", "f_host_1", "f_kernel_2"]);
    // `sigmoid` could run in the first kernel, but only the second reads it.
    let last = &parts.parts[2].function;
    assert!(last.body.operations.iter().any(|o| o.op == Op::Sigmoid));
    let [cut] = parts.cuts.as_slice() else { panic!("{:?}", parts.cuts) };
    assert_eq!((cut.before.as_str(), cut.reason.as_str()), ("f_kernel_2", "fp32"));
    assert_eq!(cut.operations, ["c = cast", "d = square", "e = cast"]);
}

#[test]
fn what_only_accumulators_need_is_late() {
    let body = format!(
        "{COLUMN} a = sigmoid(x = t);
         tensor<bool, []> no = const()[val = bool(false)];
         tensor<bool, []> yes = const()[val = bool(true)];
         tensor<int32, [4]> s = const()[val = tensor<int32, [4]>([1, 1, 4, 32])];
         tensor<fp16, [1, 1, 4, 32]> m = reshape(x = a, shape = s);
         tensor<fp16, [1, 1, 4, 4]> p = matmul(x = m, y = m, transpose_x = no, transpose_y = yes);
         tensor<fp32, [1, 1, 4, 4]> d_w = cast(x = p, dtype = string(\"fp32\"));
         {COLUMN} y = relu(x = a);"
    );
    let f = parse(&format!("{COLUMN} t"), &body, "y, d_w");
    let any = |_: &Function, _: &[String]| Ok(());
    let late = ["d_w".to_owned()];
    let parts = partition(&f, &options(&[], &late, &any)).unwrap();
    let of = |when| {
        let parts = parts.parts.iter().filter(|p| p.when == when);
        parts.flat_map(|p| p.function.body.operations.iter().map(|o| o.op)).collect::<Vec<Op>>()
    };
    let late = of(When::Late);
    assert!(late.contains(&Op::Matmul) && late.contains(&Op::Cast));
    assert!(!of(When::InTurn).contains(&Op::Matmul));
}

#[test]
fn an_operation_that_fits_nowhere_is_the_hosts_and_is_named() {
    let body = format!("{COLUMN} a = sigmoid(x = t); {COLUMN} y = relu(x = a);");
    let f = parse(&format!("{COLUMN} t"), &body, "y");
    let no_relu = |kernel: &Function, _: &[String]| {
        let has = kernel.body.operations.iter().any(|o| o.op == Op::Relu);
        if has { Err("too wide".to_owned()) } else { Ok(()) }
    };
    let parts = partition(&f, &options(&[], &[], &no_relu)).unwrap();
    let places: Vec<Place> = parts.parts.iter().map(|p| p.place).collect();
    assert_eq!(places, [Place::Kernel, Place::Host]);
    assert_eq!(parts.too_large, BTreeMap::from([("y".to_owned(), "too wide".to_owned())]));
}

#[test]
fn weights_lie_the_way_that_makes_the_input_smallest() {
    let body = "
        tensor<bool, []> no = const()[val = bool(false)];
        tensor<int32, [4]> s = const()[val = tensor<int32, [4]>([1, 1, 8, 32])];
        tensor<fp16, [1, 1, 8, 32]> m = reshape(x = h, shape = s);
        tensor<fp16, [1, 1, 64, 32]> y = matmul(x = w, y = m, transpose_x = no, transpose_y = no);";
    let inputs = "tensor<fp16, [1, 8, 1, 32]> h, tensor<fp16, [1, 1, 64, 8]> w";
    let f = parse(inputs, body, "y");
    let packed = packed(&f, &["w".to_owned()], 32);
    // As it is, `w` would need 64 channels; turned, the 8 that `h` has.
    assert_eq!((packed.input.rows, packed.input.columns), (8, 32 + 64));
    let block = packed.input.block("w").unwrap();
    assert!(block.transposed && block.weight && (block.rows, block.columns) == (8, 64));
    assert_eq!(block.column, 32);
    assert_eq!((packed.output.rows, packed.output.columns), (64, 32));
}
