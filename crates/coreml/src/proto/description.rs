//! `Model.proto` and `FeatureTypes.proto`.

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
