//! Programs from protobuf.

mod names;
mod types;
mod values;

pub(crate) use types::code;

use crate::error::{Problem, Problems};
use crate::proto::{self, binding};
use bytes::Bytes;
use mil::{
    Arg, Block, Function, Literal, Op, Operand, Operation, Opset, Program, Span, Type, ValueId,
    is_identifier,
};
use names::Names;
use prost::Message;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Blocks that nest deeper are refused, so that no file exhausts the stack.
const MAX_DEPTH: usize = 64;

/// Reading stops after so many problems.
const MAX_PROBLEMS: usize = 100;

/// A program with the names that its file gives to what users see.
#[derive(Debug)]
pub(crate) struct Read {
    pub program: Program,
    /// For each function of the program.
    pub ports: Vec<Ports>,
}

/// The names of a function's inputs and outputs in the file, in the order of the function.
#[derive(Debug)]
pub(crate) struct Ports {
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
}

/// Reads a message `Program`. Functions come in the order that `order` gives, others behind in the
/// order of the file.
///
/// Programs have no place for what `docString` says, nor for attributes of types; they are left
/// out. A tuple of one operand cannot be told from the operand, which it is read as. Old operator sets get the old spelling, version 1.0.
pub(crate) fn program(bytes: Bytes, order: &[String]) -> Result<Read, Problems> {
    let mut reader = Reader::default();
    let Some(message) = reader.decode::<proto::Program>(bytes, "the program") else {
        return Err(Problems(reader.problems));
    };
    if message.version != 1 {
        reader.problem(format!("the program has version {}, 1 is known", message.version));
    }
    let attributes = reader.attributes(&message.attributes);
    let mut names = HashSet::new();
    let (mut functions, mut ports) = (vec![], vec![]);
    let places: HashMap<&str, usize> =
        order.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let mut entries = message.functions;
    entries.sort_by_key(|entry| places.get(entry.key.as_str()).copied().unwrap_or(order.len()));
    for entry in entries {
        reader.function.clone_from(&entry.key);
        reader.place.clear();
        if !names.insert(entry.key.clone()) {
            reader.problem("it is there twice");
        } else if let Some((function, its_ports)) = reader.function(entry) {
            functions.push(function);
            ports.push(its_ports);
        }
    }
    if !reader.problems.is_empty() {
        return Err(Problems(reader.problems));
    }
    let old = functions.iter().all(|function| function.opset < Opset::Ios18);
    let version = if old { "1.0" } else { "1.3" }.to_owned();
    Ok(Read { program: Program { version, attributes, functions }, ports })
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    /// The function being read.
    function: String,
    /// Where in it.
    place: String,
}

impl Reader {
    fn problem(&mut self, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            let (function, place) = (self.function.clone(), self.place.clone());
            self.problems.push(Problem { function, place, message: message.into() });
        }
    }

    fn is_full(&self) -> bool {
        self.problems.len() == MAX_PROBLEMS
    }

    fn decode<M: Message + Default>(&mut self, bytes: Bytes, what: &str) -> Option<M> {
        match M::decode(bytes) {
            Ok(message) => Some(message),
            Err(error) => {
                self.problem(format!("{what} is not a whole message: {error}"));
                None
            }
        }
    }

    fn function(&mut self, entry: proto::BytesEntry) -> Option<(Function, Ports)> {
        let message = self.decode::<proto::Function>(entry.value, "the function")?;
        let Some(opset) = Opset::from_name(&message.opset) else {
            let known = Opset::ALL.map(Opset::core_ml_name).join(", ");
            let found = &message.opset;
            self.problem(format!("operator set `{found}` is not known; {known} are"));
            return None;
        };
        let mut bodies = message.block_specializations;
        let body = bodies.iter().position(|body| body.key == message.opset);
        let Some(body) = body.map(|at| bodies.swap_remove(at).value) else {
            self.problem(format!("there is no body for its operator set `{}`", message.opset));
            return None;
        };
        let body = self.decode::<proto::Block>(body, "the body")?;
        let interface = message.inputs.iter().map(|input| &input.name).chain(&body.outputs);
        let mut names = Names::new(interface.map(String::as_str));
        let inputs = self.definitions(&mut names, &message.inputs);
        let mut ports = Ports { inputs: vec![], outputs: body.outputs.clone() };
        let mut seen = HashSet::new();
        for input in message.inputs {
            if !seen.insert(input.name.clone()) {
                self.problem(format!("two inputs are called `{}`", input.name));
            }
            ports.inputs.push(input.name);
        }
        if !body.inputs.is_empty() {
            self.problem("the body of a function has inputs of its own");
        }
        let attributes = self.attributes(&message.attributes);
        let body = self.block(&mut names, body, vec![], 0)?;
        let (name, values) = (entry.key, names.values);
        Some((Function { name, opset, inputs, body, attributes, values }, ports))
    }

    fn definitions(
        &mut self,
        names: &mut Names,
        messages: &[proto::NamedValueType],
    ) -> Vec<ValueId> {
        let mut ids = vec![];
        for message in messages {
            // What could not be read is defined all the same, so that its uses are no problems.
            let ty = types::ty(message.ty.as_ref(), 0).unwrap_or_else(|problem| {
                self.problem(format!("`{}`: {problem}", message.name));
                Type::Tuple(vec![])
            });
            ids.push(names.define(&message.name, ty));
        }
        ids
    }

    fn block(
        &mut self,
        names: &mut Names,
        message: proto::Block,
        inputs: Vec<ValueId>,
        depth: usize,
    ) -> Option<Block> {
        let outer = self.place.clone();
        let mut operations = Vec::with_capacity(message.operations.len());
        for (number, operation) in message.operations.into_iter().enumerate() {
            if self.is_full() {
                return None;
            }
            self.place = format!("{outer}{}operation {}", separator(&outer), number + 1);
            operations.extend(self.operation(names, operation, &outer, depth));
        }
        self.place = outer;
        let mut outputs = vec![];
        for name in &message.outputs {
            match names.resolve(name) {
                Some(id) => outputs.push(id),
                None => self.problem(format!("output `{name}` is not defined")),
            }
        }
        let attributes = self.attributes(&message.attributes);
        Some(Block { inputs, operations, outputs, attributes })
    }

    fn operation(
        &mut self,
        names: &mut Names,
        bytes: Bytes,
        outer: &str,
        depth: usize,
    ) -> Option<Operation> {
        let message = self.decode::<proto::Operation>(bytes, "the operation")?;
        if let Some(output) = message.outputs.first() {
            self.place = format!("{outer}{}`{}`", separator(outer), output.name);
        }
        let op = Op::from_name(&message.op).unwrap_or_else(|| {
            self.problem(format!("unknown op `{}`", message.op));
            Op::Const
        });
        let mut inputs = BTreeMap::new();
        for entry in message.inputs {
            let arg = self.arg(names, &entry.key, entry.value.unwrap_or_default());
            self.key("parameter", &entry.key);
            if inputs.insert(entry.key.clone(), arg).is_some() {
                self.problem(format!("parameter `{}` is given twice", entry.key));
            }
        }
        let attributes = self.attributes(&message.attributes);
        let mut blocks = vec![];
        let place = self.place.clone();
        for (number, block) in message.blocks.into_iter().enumerate() {
            if depth == MAX_DEPTH {
                self.problem(format!("blocks nest more than {MAX_DEPTH} deep"));
                return None;
            }
            self.place = format!("{place}, block {}", number + 1);
            let Some(block) = self.decode::<proto::Block>(block, "the block") else { continue };
            let mark = names.enter();
            let inputs = self.definitions(names, &block.inputs);
            blocks.extend(self.block(names, block, inputs, depth + 1));
            names.leave(mark);
        }
        self.place = place;
        // The results are defined last: they cannot be among the arguments.
        let outputs = self.definitions(names, &message.outputs);
        Some(Operation { op, inputs, attributes, outputs, blocks, span: Span::default() })
    }

    fn arg(&mut self, names: &Names, key: &str, message: proto::Argument) -> Arg {
        let mut operands = vec![];
        for binding in message.arguments {
            match binding.kind {
                None => self.problem(format!("`{key}` is bound to nothing")),
                Some(binding::Kind::Name(name)) => match names.resolve(&name) {
                    Some(id) => operands.push(Operand::Value(id)),
                    None => self.problem(format!("`{key}`: `{name}` is not defined before")),
                },
                Some(binding::Kind::Value(value)) => match values::literal(&value, 0) {
                    Ok(literal) => operands.push(Operand::Literal(literal)),
                    Err(problem) => self.problem(format!("`{key}`: {problem}")),
                },
            }
        }
        // A tuple of one is written as its one item.
        match operands.len() {
            1 => Arg::One(operands.remove(0)),
            _ => Arg::Many(operands),
        }
    }

    fn attributes(&mut self, entries: &[proto::ValueEntry]) -> BTreeMap<String, Literal> {
        let mut attributes = BTreeMap::new();
        for entry in entries {
            self.key("attribute", &entry.key);
            let literal = match &entry.value {
                Some(value) => values::literal(value, 0),
                None => Err("it has no value".to_owned()),
            };
            match literal {
                Err(problem) => self.problem(format!("attribute `{}`: {problem}", entry.key)),
                Ok(literal) => {
                    if attributes.insert(entry.key.clone(), literal).is_some() {
                        self.problem(format!("attribute `{}` is given twice", entry.key));
                    }
                }
            }
        }
        attributes
    }

    /// Names of parameters and attributes stand in programs as they are.
    fn key(&mut self, kind: &str, key: &str) {
        if !is_identifier(key) {
            self.problem(format!("{kind} `{key}`: this is no name"));
        }
    }
}

fn separator(outer: &str) -> &'static str {
    if outer.is_empty() { "" } else { ", " }
}
