//! Programs as protobuf.

use crate::proto::{self, binding, dimension, immediate_value, tensor_value, value, value_type};
use crate::read::code;
use bytes::Bytes;
use mil::{
    Arg, Block, DataType, Dim, Function, Literal, Operand, Operation, Program, Shape, Tensor,
    TensorType, Type, ValueId,
};
use prost::Message;
use std::collections::{BTreeMap, HashMap};

/// The message `Program`. `names` gives the values of a function that have other names in the file
/// than in the program. Attributes that only texts have are left out.
pub(crate) fn program(program: &Program, names: &[HashMap<ValueId, String>]) -> Bytes {
    let functions = program.functions.iter().zip(names).map(|(function, names)| {
        let writer = Writer { function, names };
        proto::BytesEntry { key: function.name.clone(), value: encode(&writer.function()) }
    });
    encode(&proto::Program {
        version: 1,
        functions: functions.collect(),
        attributes: attributes(&program.attributes, &[]),
    })
}

/// The attribute of a function that says in texts what the description says in model files.
pub(crate) const FLEXIBLE: &str = "FlexibleShapeInformation";

struct Writer<'a> {
    function: &'a Function,
    names: &'a HashMap<ValueId, String>,
}

impl Writer<'_> {
    fn function(&self) -> proto::Function {
        let Function { opset, inputs, body, attributes: own, .. } = self.function;
        let opset = opset.core_ml_name().to_owned();
        let body = proto::BytesEntry { key: opset.clone(), value: encode(&self.block(body)) };
        proto::Function {
            inputs: self.definitions(inputs),
            opset,
            block_specializations: vec![body],
            attributes: attributes(own, &[FLEXIBLE]),
        }
    }

    fn block(&self, block: &Block) -> proto::Block {
        let operation = |operation| encode(&self.operation(operation));
        proto::Block {
            inputs: self.definitions(&block.inputs),
            outputs: block.outputs.iter().map(|&id| self.name(id)).collect(),
            operations: block.operations.iter().map(operation).collect(),
            attributes: attributes(&block.attributes, &[]),
        }
    }

    fn operation(&self, operation: &Operation) -> proto::Operation {
        let inputs = operation.inputs.iter().map(|(key, arg)| proto::ArgumentEntry {
            key: key.clone(),
            value: Some(self.arg(arg)),
        });
        proto::Operation {
            op: operation.op.name().to_owned(),
            inputs: inputs.collect(),
            outputs: self.definitions(&operation.outputs),
            blocks: operation.blocks.iter().map(|block| encode(&self.block(block))).collect(),
            attributes: attributes(&operation.attributes, &[]),
        }
    }

    fn arg(&self, arg: &Arg) -> proto::Argument {
        let binding = |operand: &Operand| {
            let kind = match operand {
                Operand::Value(id) => binding::Kind::Name(self.name(*id)),
                Operand::Literal(literal) => binding::Kind::Value(Box::new(constant(literal))),
            };
            proto::Binding { kind: Some(kind) }
        };
        proto::Argument { arguments: arg.operands().iter().map(binding).collect() }
    }

    fn definitions(&self, ids: &[ValueId]) -> Vec<proto::NamedValueType> {
        let definition = |&id| proto::NamedValueType {
            name: self.name(id),
            ty: Some(value_type(self.function.ty(id))),
        };
        ids.iter().map(definition).collect()
    }

    fn name(&self, id: ValueId) -> String {
        self.names.get(&id).unwrap_or(&self.function.value(id).name).clone()
    }
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn attributes(all: &BTreeMap<String, Literal>, left_out: &[&str]) -> Vec<proto::ValueEntry> {
    let kept = all.iter().filter(|(key, _)| !left_out.contains(&key.as_str()));
    kept.map(|(key, literal)| proto::ValueEntry {
        key: key.clone(),
        value: Some(constant(literal)),
    })
    .collect()
}

fn value_type(ty: &Type) -> proto::ValueType {
    let boxed = |ty: &Type| Some(Box::new(value_type(ty)));
    let kind = match ty {
        Type::Tensor(tensor) => value_type::Kind::Tensor(tensor_type(tensor)),
        Type::List { element, len } => value_type::Kind::List(Box::new(proto::ListType {
            ty: boxed(element),
            length: Some(dim(len.map_or(Dim::Unknown, Dim::Fixed), false)),
        })),
        Type::Tuple(items) => value_type::Kind::Tuple(proto::TupleType {
            types: items.iter().map(value_type).collect(),
        }),
        Type::Dict(key, value) => value_type::Kind::Dictionary(Box::new(proto::DictionaryType {
            key: boxed(key),
            value: boxed(value),
        })),
        Type::State(inner) => {
            value_type::Kind::State(Box::new(proto::StateType { wrapped: boxed(inner) }))
        }
    };
    proto::ValueType { kind: Some(kind) }
}

fn tensor_type(ty: &TensorType) -> proto::TensorType {
    let dimensions: Vec<proto::Dimension> = match &ty.shape {
        Shape::Ranked(dims) => dims.iter().map(|&d| dim(d, false)).collect(),
        Shape::Unranked => vec![dim(Dim::Unknown, true)],
    };
    proto::TensorType { data_type: code(ty.dtype), rank: dimensions.len() as i64, dimensions }
}

fn dim(dim: Dim, variadic: bool) -> proto::Dimension {
    let kind = match dim {
        Dim::Fixed(size) => {
            dimension::Kind::Constant(proto::ConstantDimension { size: size as u64 })
        }
        Dim::Unknown => dimension::Kind::Unknown(proto::UnknownDimension { variadic }),
    };
    proto::Dimension { kind: Some(kind) }
}

fn constant(literal: &Literal) -> proto::Value {
    let list =
        |items: &[Literal]| proto::ValueList { values: items.iter().map(constant).collect() };
    let kind = match literal {
        Literal::Blob(blob) => {
            let blob = proto::BlobFileValue { file_name: blob.path.clone(), offset: blob.offset };
            let ty = Some(value_type(&literal.ty()));
            return proto::Value { ty, kind: Some(value::Kind::Blob(blob)) };
        }
        Literal::Tensor(t) => immediate_value::Kind::Tensor(tensor(t)),
        Literal::Tuple(items) => immediate_value::Kind::Tuple(list(items)),
        Literal::List { items, .. } => immediate_value::Kind::List(list(items)),
        Literal::Dict { entries, .. } => {
            let pair = |(key, value): &(Literal, Literal)| proto::KeyValuePair {
                key: Some(constant(key)),
                value: Some(constant(value)),
            };
            let values = entries.iter().map(pair).collect();
            immediate_value::Kind::Dictionary(proto::DictionaryValue { values })
        }
    };
    let immediate = proto::ImmediateValue { kind: Some(kind) };
    let ty = Some(value_type(&literal.ty()));
    proto::Value { ty, kind: Some(value::Kind::Immediate(immediate)) }
}

/// The elements in the field where readers look for those of this type.
fn tensor(tensor: &Tensor) -> proto::TensorValue {
    use tensor_value::Kind;
    let bytes = tensor.bytes();
    let kind = match tensor.dtype() {
        DataType::String => Kind::Strings(proto::Strings { values: tensor.strings().to_vec() }),
        DataType::Bool => {
            Kind::Bools(proto::Bools { values: bytes.iter().map(|&b| b != 0).collect() })
        }
        // By way of the bits, so that a NaN stays the one it is.
        DataType::Fp32 => {
            let values = bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word));
            Kind::Floats(proto::Floats { values: values.collect() })
        }
        DataType::Fp64 => {
            let values = bytes.as_chunks().0.iter().map(|&word| f64::from_le_bytes(word));
            Kind::Doubles(proto::Doubles { values: values.collect() })
        }
        DataType::Int64 | DataType::Uint64 => {
            Kind::LongInts(proto::LongInts { values: tensor.to_i64s() })
        }
        DataType::Int32 | DataType::Int16 | DataType::Uint16 => {
            let values = tensor.to_i64s().into_iter().map(|value| value as i32);
            Kind::Ints(proto::Ints { values: values.collect() })
        }
        _ => Kind::Bytes(proto::RawBytes { values: Bytes::copy_from_slice(bytes) }),
    };
    proto::TensorValue { kind: Some(kind) }
}
