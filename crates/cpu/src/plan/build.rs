//! From a function to its steps.

use super::constant::Constant;
use super::fuse::{self, Unit, UnitKind};
use super::graph::{Graph, Kind, NodeId, Val};
use super::in_place;
use super::int_step::IntStep;
use super::integer::{self, IntegerPack};
use super::line_step::LineStep;
use super::loop_step::OwnBytes;
use super::loops;
use super::lower::{self, Lowered};
use super::mix_step::MixStep;
use super::part::{Part, PartStep};
use super::place::{self, Location, Places, Slots, element_bytes, format};
use super::products::Pack;
use super::rewrite;
use super::step::{Fallback, RowStep, Step, Table, WindowStep};
use super::tables::{GatherStep, ScatterStep, Tables};
use super::transfer::Transfer;
use super::view::View;
use super::walk::Walk;
use super::{body, emit_rows, scan};
use crate::format::Format;
use crate::ints::IntOp;
use crate::isa::Isa;
use mil::{DataType, Function, Op, ValueId};
use runtime::{CompileOptions, Error, Products, Staging};
use std::collections::HashMap;

/// A compiled function.
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    /// Inputs that are ports, in order.
    pub inputs: Vec<ValueId>,
    /// Inputs that are updated where they are, and the outputs that they become.
    pub in_place: Vec<(usize, usize)>,
    pub arena_bytes: usize,
    /// Bytes of working memory of the largest matrix product, and of the largest row program.
    pub product_bytes: usize,
    pub row_bytes: usize,
    /// Working memory of each thread for the bodies of loops.
    pub own: OwnBytes,
    /// Element type and dims of every input and output.
    pub input_types: Vec<(DataType, Vec<usize>)>,
    pub output_types: Vec<(DataType, Vec<usize>)>,
    /// Constants by slot.
    pub constants: Vec<Constant>,
    /// What is packed once per update.
    pub packs: Vec<Pack>,
    /// The same for integer products.
    pub integers: Vec<IntegerPack>,
    /// Every operation with the place where it runs.
    pub operations: Vec<(String, Op, String)>,
}

/// Runs of at least this many bytes are copied as bytes: a row program would convert their elements
/// to f32 and back.
const MOVED_BYTES: usize = 32;

/// Compiles a function.
pub(crate) fn compile(
    function: &Function,
    options: &CompileOptions,
    isa: Isa,
    threads: usize,
) -> Result<Plan, Error> {
    let Lowered { mut graph, inputs, operations } =
        lower::lower(function, &options.constants, &options.weights)?;
    let accumulates: Vec<bool> = function
        .body
        .outputs
        .iter()
        .map(|&id| options.accumulators.contains(&function.value(id).name))
        .collect();
    check_elements(&graph, &function.name)?;
    rewrite::convert_in_products(&mut graph);
    rewrite::finish_on_the_way(&mut graph, options.products);
    integer::requantize(&mut graph);
    strip_conversions(&mut graph);
    place::separate_outputs(&mut graph, &accumulates);
    let uses = graph.uses();
    let units = fuse::fuse(&graph, &uses);
    let accumulators: Vec<NodeId> =
        graph.outputs.iter().zip(&accumulates).filter(|(_, a)| **a).map(|(o, _)| o.node).collect();
    let units = loops::gather(&graph, units, threads, &|node| accumulators.contains(&node));
    let slots = Slots { inputs: inputs.len(), outputs: graph.outputs.len() };
    let in_place =
        in_place::find(&graph, &uses, &units, &wanted_in_place(function, options, &inputs));
    let places = place::place(&graph, &uses, &units, slots, &accumulates, &in_place);
    let input_types = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.kind, Kind::Input(_)))
        .map(|node| (node.dtype, node.dims.clone()))
        .collect();
    let output_types = graph
        .outputs
        .iter()
        .map(|output| (graph.nodes[output.node].dtype, output.view.dims.clone()))
        .collect();
    let is_parameter: Vec<bool> =
        inputs.iter().map(|&id| options.parameters.contains(&function.value(id).name)).collect();

    let mut constants = vec![];
    let mut constant_of = HashMap::new();
    for (node, n) in graph.nodes.iter().enumerate().filter(|(node, _)| uses[*node] > 0) {
        if let Kind::Constant(tensor) = &n.kind {
            constant_of.insert(node, constants.len());
            constants.push(Constant::new(tensor));
        }
    }
    let mut build = Build::new(&graph, &places, isa, threads, &function.name);
    build.is_parameter = is_parameter;
    build.staging = options.staging;
    build.products = options.products;
    build.constant_of = constant_of;
    build.units(&units)?;
    let integers = std::mem::take(&mut build.integers);
    let (steps, packs, place_of) = build.finish();
    let own = steps.iter().map(Step::own_bytes).fold(OwnBytes::default(), OwnBytes::max);
    let product_bytes = steps.iter().map(|step| step.product_bytes(threads)).max().unwrap_or(0);
    let row_bytes = steps.iter().map(|s| s.row_bytes(threads)).max().unwrap_or(0);
    let operations = operations
        .into_iter()
        .map(|(name, op, node)| {
            let place = match node {
                None => "folded",
                Some(node) => match graph.nodes[graph.who(node)].kind {
                    Kind::Input(_) => "view of an input",
                    Kind::Constant(_) => "folded",
                    _ => place_of.get(&graph.who(node)).copied().unwrap_or("not needed"),
                },
            };
            (name, op, place.to_owned())
        })
        .collect();
    Ok(Plan {
        steps,
        inputs,
        in_place,
        input_types,
        output_types,
        arena_bytes: places.arena_bytes,
        product_bytes,
        row_bytes,
        own,
        constants,
        packs,
        integers,
        operations,
    })
}

/// The inputs and outputs that the caller lets be one, by index. Parameters may be packed, and are
/// then not read again.
fn wanted_in_place(
    function: &Function,
    options: &CompileOptions,
    inputs: &[ValueId],
) -> Vec<(usize, usize)> {
    let index =
        |ids: &[ValueId], name: &str| ids.iter().position(|&id| function.value(id).name == name);
    let pairs = options.in_place.iter().filter(|(input, _)| !options.parameters.contains(input));
    pairs
        .filter_map(|(input, output)| {
            Some((index(inputs, input)?, index(&function.body.outputs, output)?))
        })
        .collect()
}

/// The most bytes that one tensor may take: far more than any machine has, and few enough that
/// sums of sizes and offsets cannot overflow.
const MAX_TENSOR: usize = 1 << 42;

/// Refuses element types that have no whole bytes in memory, unless they were folded away, and
/// tensors that no memory holds.
fn check_elements(graph: &Graph, kernel: &str) -> Result<(), Error> {
    let unsupported =
        |message| Error::Unsupported { device: "cpu".into(), kernel: kernel.to_owned(), message };
    for node in &graph.nodes {
        if node.dtype == DataType::String || node.dtype.bits() < 8 {
            let (name, dtype) = (&node.name, node.dtype);
            return Err(unsupported(format!("`{name}` is {dtype}, which must be constant")));
        }
        let bytes = mil::element_count(&node.dims)
            .and_then(|n| n.checked_mul(element_bytes(node.dtype)))
            .filter(|&bytes| bytes <= MAX_TENSOR);
        if bytes.is_none() {
            let (name, dims) = (&node.name, &node.dims);
            return Err(unsupported(format!("`{name}`, of shape {dims:?}, is too large")));
        }
    }
    Ok(())
}

/// Lets products read inputs through their conversions, which then may not be needed at all.
fn strip_conversions(graph: &mut Graph) {
    for node in 0..graph.nodes.len() {
        let Kind::Product(product) = &graph.nodes[node].kind else { continue };
        let (a, round_a) = rewrite::through_conversion(graph, &product.a);
        let (b, round_b) = rewrite::through_conversion(graph, &product.b);
        if let Kind::Product(product) = &mut graph.nodes[node].kind {
            (product.a, product.round_a) = (a, round_a);
            (product.b, product.round_b) = (b, round_b);
        }
    }
}

/// What makes steps of units.
pub(super) struct Build<'a> {
    pub(super) graph: &'a Graph,
    pub(super) places: &'a Places,
    pub(super) isa: Isa,
    pub(super) threads: usize,
    pub(super) is_parameter: Vec<bool>,
    pub(super) staging: Staging,
    pub(super) products: Products,
    pub(super) constant_of: HashMap<NodeId, usize>,
    pub(super) kernel: String,
    pub(super) packs: Vec<Pack>,
    pub(super) integers: Vec<IntegerPack>,
    pub(super) steps: Vec<Step>,
    /// Where nodes are computed.
    place_of: HashMap<NodeId, &'static str>,
}

impl<'a> Build<'a> {
    /// For a graph without parameters or constants that are packed.
    pub(super) fn new(
        graph: &'a Graph,
        places: &'a Places,
        isa: Isa,
        threads: usize,
        kernel: &str,
    ) -> Build<'a> {
        Build {
            is_parameter: vec![false; graph.nodes.len()],
            staging: Staging::default(),
            products: Products::default(),
            integers: vec![],
            constant_of: HashMap::new(),
            kernel: kernel.to_owned(),
            packs: vec![],
            steps: vec![],
            place_of: HashMap::new(),
            graph,
            places,
            isa,
            threads,
        }
    }

    /// The steps, what must be packed for them, and where nodes are computed.
    pub(super) fn finish(self) -> (Vec<Step>, Vec<Pack>, HashMap<NodeId, &'static str>) {
        (self.steps, self.packs, self.place_of)
    }

    /// Adds the steps of units.
    pub(super) fn units(&mut self, units: &[Unit]) -> Result<(), Error> {
        for unit in units {
            let place = match &unit.kind {
                UnitKind::Rows(_) | UnitKind::Columns(_) => {
                    let step = emit_rows::unit(self.graph, self.places, unit);
                    self.steps.push(Step::Rows(Box::new(step)));
                    let columns = matches!(unit.kind, UnitKind::Columns(_));
                    if columns { "column reduction" } else { "row program" }
                }
                UnitKind::Single => self.single(&unit.nodes)?,
                UnitKind::Loop { lead, units } => {
                    let step = body::build(self, lead, units)?;
                    self.steps.push(Step::Loop(Box::new(step)));
                    "loop of products and row programs"
                }
            };
            self.place_of.extend(unit.nodes.iter().map(|&node| (node, place)));
        }
        Ok(())
    }
}

impl Build<'_> {
    /// Adds the steps of a node that is a unit of its own and says what they are.
    fn single(&mut self, nodes: &[NodeId]) -> Result<&'static str, Error> {
        let (graph, node) = (self.graph, nodes[0]);
        let output = self.location(node);
        let accumulates = self.places.of[node].as_ref().is_some_and(|p| p.accumulates);
        match &graph.nodes[node].kind {
            Kind::Product(product) => {
                return self.product(node, product, accumulates);
            }
            Kind::Integer(product) => {
                self.integer(node, product)?;
                return Ok("integer matrix product");
            }
            Kind::Concat(parts, axis) => {
                let mut begin = 0;
                for part in parts {
                    let dims = &graph.nodes[node].dims;
                    let mut view = View::dense(dims);
                    // The same over the dims of the part's own node.
                    let mut own = None;
                    if let Some(&size) = part.view.dims.get(*axis) {
                        view = view.slice(*axis, begin, 1, size);
                        own = place::inside(graph, part, dims, (*axis, begin));
                        begin += size;
                    }
                    // A part that was computed in place has nothing left to move.
                    let target = output.byte_offset
                        + view.offset as usize * element_bytes(graph.nodes[node].dtype);
                    let at = self.places.of[part.node].as_ref();
                    let in_place = at.is_some_and(|p| {
                        p.location == Location { slot: output.slot, byte_offset: target }
                            && own.as_ref().is_some_and(|own| own.strides == p.strides)
                    });
                    if !in_place {
                        self.copy(part, node, &view)?;
                    }
                }
                return Ok("concatenation");
            }
            Kind::Window(w) => {
                let step = WindowStep {
                    window: w.window.clone(),
                    x: self.at(&w.x),
                    weight: w.weight.as_ref().map(|weight| self.at(weight)),
                    bias: w.bias.as_ref().map(|bias| self.at(bias)),
                    output,
                };
                self.steps.push(Step::Window(Box::new(step)));
                return Ok("windows");
            }
            Kind::Ints(op, args) => {
                self.ints(node, *op, args);
                return Ok("integer arithmetic");
            }
            Kind::Update { base, update, part } => {
                self.carry(base, node)?;
                self.copy(update, node, part)?;
                return Ok("update of a part");
            }
            Kind::UpdateAt { base, update, part } => {
                self.carry(base, node)?;
                let whole = View::dense(&graph.nodes[node].dims);
                let (from, to) = (update.view.clone(), part.view(&whole));
                let ends = [self.at(update), output];
                self.part(node, part, &whole, [from, to], ends, 1);
                return Ok("update of a part");
            }
            Kind::SliceAt { x, part } => {
                let (from, to) = (part.view(&x.view), View::dense(&part.sizes));
                let ends = [self.at(x), output];
                self.part(node, part, &x.view, [from, to], ends, 0);
                return Ok("slice");
            }
            Kind::GatherRows { table, indices } => {
                let step = Step::GatherRows(Box::new(GatherStep {
                    tables: self.tables(table),
                    row_bytes: table.view.dims[3]
                        * element_bytes(self.graph.nodes[table.node].dtype),
                    indices: self.at(indices),
                    count: indices.view.dims[1],
                    output,
                }));
                self.steps.push(step);
            }
            Kind::Scatter { mode, base, indices, updates } => {
                self.carry(base, node)?;
                let step = Step::Scatter(Box::new(ScatterStep {
                    mode: *mode,
                    tables: Tables { at: output, ..self.tables(&self.whole(node)) },
                    integers: graph.nodes[node].dtype == DataType::Int32,
                    indices: self.at(indices),
                    count: indices.view.dims[1],
                    updates: self.at(updates),
                }));
                self.steps.push(step);
            }
            Kind::Scan(scan) => {
                for (index, initial) in scan.initial.iter().enumerate() {
                    let first = View::dense(&graph.nodes[node].dims).slice(0, 0, 1, 1);
                    let view = initial.view.insert_axis(0).insert_axis(0);
                    let initial = Val { node: initial.node, view };
                    self.copy(&initial, node, &first.slice(1, index, 1, 1))?;
                }
                let step = scan::build(self, node, scan)?;
                self.steps.push(Step::Scan(Box::new(step)));
                return Ok("scan of products and row programs");
            }
            Kind::Mix { x, taps } => {
                let step = MixStep {
                    outer: x.view.dims[0],
                    n: x.view.dims[1],
                    width: x.view.dims[2],
                    taps: taps.clone(),
                    x: self.at(x),
                    output,
                };
                self.steps.push(Step::Mix(Box::new(step)));
                return Ok("mixture");
            }
            Kind::Lines(op, x) => {
                let (dims, strides) = (&x.view.dims, &x.view.strides);
                let last = dims.len() - 1;
                let out = View::dense(&graph.nodes[node].dims);
                let outer = [&strides[..last], &out.strides[..last]];
                let step = Step::Lines(Box::new(LineStep {
                    op: *op,
                    walk: Walk::new(&dims[..last], outer),
                    n: dims[last],
                    stride: strides[last],
                    k: out.dims[last],
                    x: self.at(x),
                    types: [x.node, node].map(|node| graph.nodes[node].dtype),
                    output,
                }));
                self.steps.push(step);
                return Ok("line by line");
            }
            Kind::Pick { x, indices } => {
                let step = Step::Pick { x: self.table(x), indices: self.at(indices), output };
                self.steps.push(step);
            }
            Kind::AddRows { base, indices, updates } => {
                if let Some(base) = base {
                    self.carry(base, node)?;
                }
                let table = Table { at: output, ..self.table(&self.whole(node)) };
                let step = Step::AddRows {
                    table,
                    zero_first: base.is_none(),
                    accumulates,
                    indices: self.at(indices),
                    count: indices.view.count(),
                    updates: self.at(updates),
                };
                self.steps.push(step);
            }
            Kind::AddPicked { base, indices, updates } => {
                self.carry(base, node)?;
                let table = Table { at: output, ..self.table(&self.whole(node)) };
                let step =
                    Step::AddPicked { table, indices: self.at(indices), updates: self.at(updates) };
                self.steps.push(step);
            }
            Kind::Fallback { call, .. } => {
                let call = &graph.calls[*call];
                let args = call
                    .args
                    .iter()
                    .map(|(id, val)| {
                        (*id, self.at(val), graph.nodes[val.node].dtype, val.view.clone())
                    })
                    .collect();
                let mut results = vec![None; call.types.len()];
                for &node in nodes {
                    if let Kind::Fallback { result, .. } = &graph.nodes[node].kind {
                        results[*result] = Some(self.location(node));
                    }
                }
                let fallback = Fallback {
                    operation: call.operation.clone(),
                    program: call.program.clone(),
                    types: call.types.clone(),
                    args,
                    results,
                };
                self.steps.push(Step::Fallback(Box::new(fallback)));
                return Ok("interpreter");
            }
            _ => unreachable!("maps and reductions belong to units of rows"),
        }
        Ok("gather or scatter")
    }

    /// Copies the base of an update to where the update is made, unless it is there.
    fn carry(&mut self, base: &Val, node: NodeId) -> Result<(), Error> {
        let at = self.places.of[base.node].as_ref().map(|p| p.location);
        if at == Some(self.location(node)) {
            return Ok(());
        }
        let view = View::dense(&self.graph.nodes[node].dims);
        self.copy(base, node, &view)
    }

    /// Copies a value into part of a node.
    fn copy(&mut self, from: &Val, to: NodeId, view: &View) -> Result<(), Error> {
        let dtype = self.graph.nodes[to].dtype;
        let width = element_bytes(dtype);
        let target = Val { node: to, view: view.clone() };
        let (from_at, to_at) = (self.at(from), self.at(&target));
        let begin = |view: &View| View { offset: 0, ..view.clone() };
        let transfer = Transfer::new(width, &begin(&from.view), &begin(view));
        // What lies together is moved as bytes, and what row programs cannot copy.
        let same = self.graph.nodes[from.node].dtype == dtype;
        let in_rows = place::is_copied_in_rows(dtype, view.dims.len());
        if same && (transfer.run_bytes() >= MOVED_BYTES || !in_rows) {
            self.steps.push(Step::Move { from: from_at, to: to_at, transfer });
            return Ok(());
        }
        let replace = emit_rows::copy(self.graph, self.places, from, to, view);
        self.steps.push(Step::Rows(Box::new(RowStep { replace, add: None })));
        Ok(())
    }

    /// Adds the step that moves a part; the part is of `whole`, at one of the two ends.
    fn part(
        &mut self,
        node: NodeId,
        part: &Part,
        whole: &View,
        [from, to]: [View; 2],
        ends: [Location; 2],
        end: usize,
    ) {
        let begin = |view: View| View { offset: 0, ..view };
        let width = element_bytes(self.graph.nodes[node].dtype);
        let step = PartStep {
            axes: part.axes.clone(),
            sizes: part.sizes.clone(),
            whole: begin(whole.clone()),
            begin: part.begin.as_ref().map(|val| self.at(val)),
            last: part.last.as_ref().map(|val| self.at(val)),
            width,
            transfer: Transfer::new(width, &begin(from), &begin(to)),
            ends,
            end,
            name: self.graph.nodes[node].name.clone(),
        };
        self.steps.push(Step::Part(Box::new(step)));
    }

    fn ints(&mut self, node: NodeId, op: IntOp, args: &[Val]) {
        let (dtype, dims) = (self.graph.nodes[node].dtype, &self.graph.nodes[node].dims);
        let out = View::dense(dims);
        let none = vec![0; dims.len()];
        let strides = |index: usize| args.get(index).map_or(&none, |arg| &arg.view.strides);
        let walk = Walk::new(dims, [strides(0), strides(1), strides(2), &out.strides]);
        let arg = |arg: &Val| (self.at(arg), self.graph.nodes[arg.node].dtype);
        let args = args.iter().map(arg).collect();
        let step = IntStep { op, walk, args, to: self.location(node), dtype };
        self.steps.push(Step::Ints(Box::new(step)));
    }

    fn whole(&self, node: NodeId) -> Val {
        Val { node, view: View::dense(&self.graph.nodes[node].dims) }
    }

    fn tables(&self, val: &Val) -> Tables {
        let dims = &val.view.dims;
        Tables { at: self.at(val), batch: dims[0], outer: dims[1], rows: dims[2], width: dims[3] }
    }

    fn table(&self, val: &Val) -> Table {
        Table { at: self.at(val), rows: val.view.dims[0], width: val.view.dims[1] }
    }

    pub(super) fn location(&self, node: NodeId) -> Location {
        self.places.of[node].as_ref().expect("the node is stored").location
    }

    /// Where a value's first element is.
    pub(super) fn at(&self, val: &Val) -> Location {
        let mut location = self.location(val.node);
        let width = element_bytes(self.graph.nodes[val.node].dtype);
        location.byte_offset += val.view.offset as usize * width;
        location
    }

    pub(super) fn format(&self, node: NodeId) -> Format {
        format(self.graph.nodes[node].dtype).expect("products only read native element types")
    }
}
