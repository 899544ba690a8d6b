//! Where every value of a packed kernel lies.

use super::{Block, Error, Layout, Options};
use mil::{DataType, Function, Literal, Op, Operation, ValueId};
use std::collections::BTreeSet;

/// A kernel's values as matrices.
pub(super) struct Shapes {
    function: String,
    activations: Vec<Matrix>,
    weights: Vec<Matrix>,
    results: Vec<Matrix>,
    /// Elements of a row of the results.
    columns: usize,
}

#[derive(Clone, Debug)]
struct Matrix {
    name: String,
    rows: usize,
    columns: usize,
    /// Whether it may be stored the other way round.
    turns: bool,
}

impl Shapes {
    pub fn of(function: &Function, options: &Options) -> Result<Shapes, Error> {
        let name = |id: ValueId| &function.value(id).name;
        let is_weight = |id: &&ValueId| options.weights.contains(name(**id));
        let is_port = |id: &&ValueId| !options.constants.contains_key(name(**id));
        let ports: Vec<ValueId> = function.inputs.iter().filter(is_port).copied().collect();
        let results = &function.body.outputs;
        if results.is_empty() || !ports.iter().any(|id| !is_weight(&id)) {
            return Err(Error::Empty(function.name.clone()));
        }
        let dims = |id: ValueId| fixed(function, id);
        // The row of a surface is the row that most activations have.
        let mut columns = 1;
        for &id in ports.iter().filter(|id| !is_weight(id)).chain(results) {
            let dims = dims(id)?;
            if is_surface(&dims) {
                columns = columns.max(dims[3]);
            }
        }
        let turning = turning(function);
        let mut shapes = Shapes {
            function: function.name.clone(),
            activations: vec![],
            weights: vec![],
            results: vec![],
            columns,
        };
        for &id in &ports {
            let dims = dims(id)?;
            let name = name(id).clone();
            let (rows, last) = matrix(&dims);
            if is_weight(&&id) {
                let turns = turning.contains(&id) && matrix_of_two_axes(&dims);
                shapes.weights.push(Matrix { name, rows, columns: last, turns });
            } else {
                let count = rows * last;
                let (rows, columns) = match count.is_multiple_of(columns) && !is_surface(&dims) {
                    true => (count / columns, columns),
                    false => (rows, last),
                };
                shapes.activations.push(Matrix { name, rows, columns, turns: false });
            }
        }
        for &id in results {
            let (rows, last) = matrix(&dims(id)?);
            let name = name(id).clone();
            if !(rows * last).is_multiple_of(columns) {
                let function = function.name.clone();
                return Err(Error::Columns { function, value: name, columns });
            }
            let rows = rows * last / columns;
            shapes.results.push(Matrix { name, rows, columns, turns: false });
        }
        Ok(shapes)
    }
}

/// The input: as few bytes as the choice of channels and the turning of weights allow.
pub(super) fn input(shapes: &Shapes, options: &Options) -> Layout {
    let padded = |columns: usize| columns.next_multiple_of(options.column_multiple);
    let least = shapes.activations.iter().map(|m| m.rows).max().unwrap_or(1);
    let fixed = shapes.weights.iter().filter(|m| !m.turns).map(|m| m.rows);
    let least = fixed.fold(least, usize::max);
    let candidates = shapes.weights.iter().flat_map(|m| [m.rows, m.columns]).chain([least]);
    let candidates: BTreeSet<usize> = candidates.filter(|&c| c >= least).collect();
    let width = |rows: usize| -> Option<usize> {
        let activations: usize = shapes.activations.iter().map(|m| padded(m.columns)).sum();
        let weights = shapes.weights.iter().map(|m| Some(padded(m.width(rows)?)));
        Some(activations + weights.sum::<Option<usize>>()?)
    };
    let sized = candidates.into_iter().filter_map(|rows| Some((rows * width(rows)?, rows)));
    let rows = sized.min().map_or(least, |(_, rows)| rows);

    let mut layout = Layout { port: "packed".into(), rows, columns: 0, blocks: Vec::new() };
    let mut place = |matrix: &Matrix, weight: bool| {
        let transposed = matrix.is_turned(rows);
        let (own_rows, columns) = match transposed {
            true => (matrix.columns, matrix.rows),
            false => (matrix.rows, matrix.columns),
        };
        layout.blocks.push(Block {
            value: matrix.name.clone(),
            rows: own_rows,
            columns,
            row: 0,
            column: layout.columns,
            weight,
            transposed,
        });
        layout.columns += padded(columns);
    };
    shapes.activations.iter().for_each(|m| place(m, false));
    shapes.weights.iter().for_each(|m| place(m, true));
    layout
}

/// The output: every result's rows below those of the one before.
pub(super) fn output(shapes: &Shapes, options: &Options) -> Result<Layout, Error> {
    let mut rows: usize = 0;
    let mut blocks = vec![];
    for result in &shapes.results {
        blocks.push(Block {
            value: result.name.clone(),
            rows: result.rows,
            columns: shapes.columns,
            row: rows,
            column: 0,
            weight: false,
            transposed: false,
        });
        rows = rows.checked_add(result.rows).ok_or_else(|| Error::Columns {
            function: shapes.function.clone(),
            value: result.name.clone(),
            columns: shapes.columns,
        })?;
    }
    let columns = shapes.columns.next_multiple_of(options.column_multiple);
    Ok(Layout { port: "results".into(), rows, columns, blocks })
}

impl Matrix {
    /// The narrowest that it can be in a surface of this many rows.
    fn width(&self, rows: usize) -> Option<usize> {
        match self.is_turned(rows) {
            true => Some(self.rows),
            false => (self.rows <= rows).then_some(self.columns),
        }
    }

    /// Whether it lies the other way round in a surface of this many rows.
    fn is_turned(&self, rows: usize) -> bool {
        self.turns && self.columns <= rows && (self.rows > rows || self.rows < self.columns)
    }
}

/// Dimensions of an fp16 value.
fn fixed(function: &Function, id: ValueId) -> Result<Vec<usize>, Error> {
    let ty = function.ty(id);
    let dims = ty.as_tensor().filter(|t| t.dtype == DataType::Fp16).and_then(|t| t.fixed_dims());
    dims.filter(|dims| !dims.contains(&0)).ok_or_else(|| Error::Type {
        function: function.name.clone(),
        value: function.value(id).name.clone(),
        ty: ty.to_string(),
    })
}

/// Whether a value lies in a surface as it is: `[1, C, 1, S]`.
pub(super) fn is_surface(dims: &[usize]) -> bool {
    matches!(dims, [1, _, 1, _])
}

/// Rows and columns of a value.
fn matrix(dims: &[usize]) -> (usize, usize) {
    match dims.split_last() {
        Some((&last, leading)) => (leading.iter().product(), last),
        None => (1, 1),
    }
}

/// Whether all but the last two axes are 1.
fn matrix_of_two_axes(dims: &[usize]) -> bool {
    dims.len() >= 2 && dims[..dims.len() - 2].iter().all(|&d| d == 1)
}

/// Inputs that only matrix products read, each with flags that are constants.
fn turning(function: &Function) -> BTreeSet<ValueId> {
    let mut turning: BTreeSet<ValueId> = function.inputs.iter().copied().collect();
    let literals = function.literals();
    for operation in &function.body.operations {
        for id in operation.operands() {
            if !(is_flagged_product(operation, &literals)
                && [operation.value("x"), operation.value("y")].contains(&Some(id)))
            {
                turning.remove(&id);
            }
        }
    }
    turning.retain(|id| !function.body.outputs.contains(id));
    turning
}

fn is_flagged_product(operation: &Operation, literals: &[Option<&Literal>]) -> bool {
    let known = |flag: &str| match operation.inputs.get(flag) {
        None => true,
        Some(_) => operation.value(flag).is_some_and(|id| literals[id.index()].is_some()),
    };
    operation.op == Op::Matmul && known("transpose_x") && known("transpose_y")
}
