//! The messages of Core ML's `Model.proto`, `FeatureTypes.proto` and `MIL.proto` that ML Programs
//! need, field for field as far as this crate reads or writes them; others are skipped.
//!
//! Two things differ from what a compiler of `.proto` files would make. Maps are lists of entries,
//! which is what they are on the wire: that keeps their order. And functions, blocks and
//! operations are `bytes`, which is how messages are written too: each is decoded by itself when
//! it is its turn, so that a program is never in memory a second time, and how deep blocks nest is
//! this crate's to check.

use bytes::Bytes;
use prost::{Message, Oneof};

/// What the top level of a model file holds, but for the model itself.
pub(crate) mod field {
    /// `Model.specificationVersion`.
    pub const SPECIFICATION_VERSION: u32 = 1;
    /// `Model.description`.
    pub const DESCRIPTION: u32 = 2;
    /// `Model.isUpdatable`.
    pub const IS_UPDATABLE: u32 = 10;
    /// `Model.mlProgram`.
    pub const ML_PROGRAM: u32 = 502;
}

/// `Model` with its parts as they are on the wire.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(int32, tag = "1")]
    pub specification_version: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub description: Bytes,
    #[prost(bool, tag = "10")]
    pub is_updatable: bool,
    #[prost(bytes = "bytes", tag = "502")]
    pub ml_program: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelDescription {
    #[prost(message, repeated, tag = "1")]
    pub input: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "10")]
    pub output: Vec<FeatureDescription>,
    #[prost(string, tag = "11")]
    pub predicted_feature_name: String,
    #[prost(string, tag = "12")]
    pub predicted_probabilities_name: String,
    #[prost(message, repeated, tag = "13")]
    pub state: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "20")]
    pub functions: Vec<FunctionDescription>,
    #[prost(string, tag = "21")]
    pub default_function_name: String,
    #[prost(message, optional, tag = "100")]
    pub metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FunctionDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub input: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "3")]
    pub output: Vec<FeatureDescription>,
    #[prost(string, tag = "4")]
    pub predicted_feature_name: String,
    #[prost(string, tag = "5")]
    pub predicted_probabilities_name: String,
    #[prost(message, repeated, tag = "6")]
    pub state: Vec<FeatureDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(string, tag = "1")]
    pub short_description: String,
    #[prost(string, tag = "2")]
    pub version_string: String,
    #[prost(string, tag = "3")]
    pub author: String,
    #[prost(string, tag = "4")]
    pub license: String,
    #[prost(message, repeated, tag = "100")]
    pub user_defined: Vec<StringEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StringEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FeatureDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub short_description: String,
    #[prost(message, optional, tag = "3")]
    pub ty: Option<FeatureType>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FeatureType {
    #[prost(oneof = "feature_type::Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub kind: Option<feature_type::Kind>,
    #[prost(bool, tag = "1000")]
    pub is_optional: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

pub(crate) mod feature_type {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Int64(Empty),
        #[prost(message, tag = "2")]
        Double(Empty),
        #[prost(message, tag = "3")]
        String(Empty),
        #[prost(message, tag = "4")]
        Image(ImageFeatureType),
        #[prost(message, tag = "5")]
        MultiArray(ArrayFeatureType),
        #[prost(message, tag = "6")]
        Dictionary(DictionaryFeatureType),
        #[prost(message, tag = "7")]
        Sequence(SequenceFeatureType),
        #[prost(message, tag = "8")]
        State(StateFeatureType),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImageFeatureType {
    #[prost(int64, tag = "1")]
    pub width: i64,
    #[prost(int64, tag = "2")]
    pub height: i64,
    #[prost(int32, tag = "3")]
    pub color_space: i32,
    #[prost(oneof = "image_feature_type::Flexibility", tags = "21, 31")]
    pub flexibility: Option<image_feature_type::Flexibility>,
}

pub(crate) mod image_feature_type {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Flexibility {
        #[prost(message, tag = "21")]
        Enumerated(EnumeratedImageSizes),
        #[prost(message, tag = "31")]
        Range(ImageSizeRange),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EnumeratedImageSizes {
    #[prost(message, repeated, tag = "1")]
    pub sizes: Vec<ImageSize>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImageSize {
    #[prost(uint64, tag = "1")]
    pub width: u64,
    #[prost(uint64, tag = "2")]
    pub height: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImageSizeRange {
    #[prost(message, optional, tag = "1")]
    pub width_range: Option<SizeRange>,
    #[prost(message, optional, tag = "2")]
    pub height_range: Option<SizeRange>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SizeRange {
    #[prost(uint64, tag = "1")]
    pub lower_bound: u64,
    /// Negative: none.
    #[prost(int64, tag = "2")]
    pub upper_bound: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArrayFeatureType {
    #[prost(int64, repeated, tag = "1")]
    pub shape: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(oneof = "array_feature_type::Flexibility", tags = "21, 31")]
    pub flexibility: Option<array_feature_type::Flexibility>,
    #[prost(oneof = "array_feature_type::Default", tags = "41, 51, 61")]
    pub default: Option<array_feature_type::Default>,
}

pub(crate) mod array_feature_type {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Flexibility {
        #[prost(message, tag = "21")]
        Enumerated(EnumeratedShapes),
        #[prost(message, tag = "31")]
        Range(ShapeRange),
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Default {
        #[prost(int32, tag = "41")]
        Int(i32),
        #[prost(float, tag = "51")]
        Float(f32),
        #[prost(double, tag = "61")]
        Double(f64),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EnumeratedShapes {
    #[prost(message, repeated, tag = "1")]
    pub shapes: Vec<ArrayShape>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArrayShape {
    #[prost(int64, repeated, tag = "1")]
    pub shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ShapeRange {
    #[prost(message, repeated, tag = "1")]
    pub size_ranges: Vec<SizeRange>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DictionaryFeatureType {
    #[prost(oneof = "dictionary_feature_type::Key", tags = "1, 2")]
    pub key: Option<dictionary_feature_type::Key>,
}

pub(crate) mod dictionary_feature_type {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Key {
        #[prost(message, tag = "1")]
        Int64(Empty),
        #[prost(message, tag = "2")]
        String(Empty),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SequenceFeatureType {
    #[prost(oneof = "sequence_feature_type::Item", tags = "1, 3")]
    pub item: Option<sequence_feature_type::Item>,
    #[prost(message, optional, tag = "101")]
    pub size_range: Option<SizeRange>,
}

pub(crate) mod sequence_feature_type {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Item {
        #[prost(message, tag = "1")]
        Int64(Empty),
        #[prost(message, tag = "3")]
        String(Empty),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateFeatureType {
    #[prost(message, optional, tag = "1")]
    pub array: Option<ArrayFeatureType>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Program {
    #[prost(int64, tag = "1")]
    pub version: i64,
    #[prost(message, repeated, tag = "2")]
    pub functions: Vec<BytesEntry>,
    #[prost(message, repeated, tag = "4")]
    pub attributes: Vec<ValueEntry>,
}

/// An entry of a map whose values are functions or blocks.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BytesEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Function {
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<NamedValueType>,
    #[prost(string, tag = "2")]
    pub opset: String,
    #[prost(message, repeated, tag = "3")]
    pub block_specializations: Vec<BytesEntry>,
    #[prost(message, repeated, tag = "4")]
    pub attributes: Vec<ValueEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Block {
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<NamedValueType>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    /// Each an [`Operation`].
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub operations: Vec<Bytes>,
    #[prost(message, repeated, tag = "4")]
    pub attributes: Vec<ValueEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Operation {
    #[prost(string, tag = "1")]
    pub op: String,
    #[prost(message, repeated, tag = "2")]
    pub inputs: Vec<ArgumentEntry>,
    #[prost(message, repeated, tag = "3")]
    pub outputs: Vec<NamedValueType>,
    /// Each a [`Block`].
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub blocks: Vec<Bytes>,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<ValueEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArgumentEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Argument>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Argument {
    #[prost(message, repeated, tag = "1")]
    pub arguments: Vec<Binding>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Binding {
    #[prost(oneof = "binding::Kind", tags = "1, 2")]
    pub kind: Option<binding::Kind>,
}

pub(crate) mod binding {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Kind {
        #[prost(string, tag = "1")]
        Name(String),
        #[prost(message, tag = "2")]
        Value(Box<Value>),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamedValueType {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub ty: Option<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueType {
    #[prost(oneof = "value_type::Kind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<value_type::Kind>,
}

pub(crate) mod value_type {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Tensor(TensorType),
        #[prost(message, tag = "2")]
        List(Box<ListType>),
        #[prost(message, tag = "3")]
        Tuple(TupleType),
        #[prost(message, tag = "4")]
        Dictionary(Box<DictionaryType>),
        #[prost(message, tag = "5")]
        State(Box<StateType>),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorType {
    #[prost(int32, tag = "1")]
    pub data_type: i32,
    #[prost(int64, tag = "2")]
    pub rank: i64,
    #[prost(message, repeated, tag = "3")]
    pub dimensions: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dimension {
    #[prost(oneof = "dimension::Kind", tags = "1, 2")]
    pub kind: Option<dimension::Kind>,
}

pub(crate) mod dimension {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Constant(ConstantDimension),
        #[prost(message, tag = "2")]
        Unknown(UnknownDimension),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConstantDimension {
    #[prost(uint64, tag = "1")]
    pub size: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UnknownDimension {
    /// Whether it stands for any number of dimensions.
    #[prost(bool, tag = "1")]
    pub variadic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListType {
    #[prost(message, optional, boxed, tag = "1")]
    pub ty: Option<Box<ValueType>>,
    #[prost(message, optional, tag = "2")]
    pub length: Option<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TupleType {
    #[prost(message, repeated, tag = "1")]
    pub types: Vec<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DictionaryType {
    #[prost(message, optional, boxed, tag = "1")]
    pub key: Option<Box<ValueType>>,
    #[prost(message, optional, boxed, tag = "2")]
    pub value: Option<Box<ValueType>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateType {
    #[prost(message, optional, boxed, tag = "1")]
    pub wrapped: Option<Box<ValueType>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Value {
    #[prost(message, optional, tag = "2")]
    pub ty: Option<ValueType>,
    #[prost(oneof = "value::Kind", tags = "3, 5")]
    pub kind: Option<value::Kind>,
}

pub(crate) mod value {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "3")]
        Immediate(ImmediateValue),
        #[prost(message, tag = "5")]
        Blob(BlobFileValue),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BlobFileValue {
    #[prost(string, tag = "1")]
    pub file_name: String,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImmediateValue {
    #[prost(oneof = "immediate_value::Kind", tags = "1, 2, 3, 4")]
    pub kind: Option<immediate_value::Kind>,
}

pub(crate) mod immediate_value {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Tensor(TensorValue),
        #[prost(message, tag = "2")]
        Tuple(ValueList),
        #[prost(message, tag = "3")]
        List(ValueList),
        #[prost(message, tag = "4")]
        Dictionary(DictionaryValue),
    }
}

/// `TupleValue` and `ListValue`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueList {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DictionaryValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValuePair>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValuePair {
    #[prost(message, optional, tag = "1")]
    pub key: Option<Value>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorValue {
    #[prost(oneof = "tensor_value::Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub kind: Option<tensor_value::Kind>,
}

pub(crate) mod tensor_value {
    use super::*;

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Kind {
        #[prost(message, tag = "1")]
        Floats(Floats),
        #[prost(message, tag = "2")]
        Ints(Ints),
        #[prost(message, tag = "3")]
        Bools(Bools),
        #[prost(message, tag = "4")]
        Strings(Strings),
        #[prost(message, tag = "5")]
        LongInts(LongInts),
        #[prost(message, tag = "6")]
        Doubles(Doubles),
        #[prost(message, tag = "7")]
        Bytes(RawBytes),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Floats {
    #[prost(float, repeated, tag = "1")]
    pub values: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Doubles {
    #[prost(double, repeated, tag = "1")]
    pub values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ints {
    #[prost(int32, repeated, tag = "1")]
    pub values: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LongInts {
    #[prost(int64, repeated, tag = "1")]
    pub values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bools {
    #[prost(bool, repeated, tag = "1")]
    pub values: Vec<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Strings {
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RawBytes {
    #[prost(bytes = "bytes", tag = "1")]
    pub values: Bytes,
}
