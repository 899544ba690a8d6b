//! What users of a model see: named features with types, for each function.

use mil::{DataType, Function};
use std::collections::BTreeMap;
use std::fmt;

/// The interface of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// One for each function of the program, in the program's order.
    pub functions: Vec<FunctionInterface>,
    /// The function that is meant where none is named, if the model says so.
    pub default_function: Option<String>,
    /// About the model as a whole.
    pub metadata: Metadata,
}

/// The interface of one function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionInterface {
    /// The function.
    pub name: String,
    /// What it is given.
    pub inputs: Vec<Feature>,
    /// What it gives.
    pub outputs: Vec<Feature>,
    /// What persists from one evaluation to the next.
    pub states: Vec<Feature>,
    /// The output that is a classifier's label.
    pub predicted_feature: Option<String>,
    /// The output that is the dictionary of a classifier's probabilities.
    pub predicted_probabilities: Option<String>,
}

/// A named input, output or state.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Name, as users say it.
    pub name: String,
    /// The value of the function that it is. It differs from the name where that is not an
    /// identifier.
    pub value: String,
    /// What it is for, in words.
    pub description: String,
    /// Its type.
    pub ty: FeatureType,
    /// Whether an input may be left out.
    pub optional: bool,
}

/// The type of a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureType {
    /// A 64-bit integer.
    Int64,
    /// A 64-bit float.
    Double,
    /// A string.
    String,
    /// An image, which the program sees as fp32 of shape `[1, channels, height, width]` with
    /// values from 0 to 255.
    Image(ImageType),
    /// An array.
    Array(ArrayType),
    /// A dictionary with numbers as values.
    Dictionary(KeyType),
    /// A sequence of integers or strings. No ML Program has one.
    Sequence(KeyType),
    /// A state that holds an array.
    State(ArrayType),
}

/// What the keys of a dictionary are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyType {
    Int64,
    String,
}

/// An array's type.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayType {
    /// Element type: fp16, fp32, fp64, int32 or int8.
    pub dtype: DataType,
    /// The shape, the default one where several are allowed. Empty where the model does not say
    /// it, as for outputs of flexible shapes.
    pub shape: Vec<usize>,
    /// What other shapes are allowed.
    pub flexibility: Flexibility,
    /// The value of every element where an optional input is left out.
    pub default: Option<DefaultValue>,
}

/// The shapes that an array may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Flexibility {
    /// Only [`ArrayType::shape`].
    Fixed,
    /// One of these.
    Enumerated(Vec<Vec<usize>>),
    /// Each size in the range of its axis.
    Range(Vec<SizeRange>),
}

/// The sizes that an axis may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// The smallest.
    pub min: usize,
    /// The largest; none if there is no limit.
    pub max: Option<usize>,
}

/// The value of what is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum DefaultValue {
    Int(i32),
    Float(f32),
    Double(f64),
}

/// An image's type.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageType {
    /// Width in pixels, the default one where several are allowed.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// What a pixel is.
    pub color: ColorSpace,
    /// What other sizes are allowed.
    pub flexibility: ImageFlexibility,
}

/// What a pixel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ColorSpace {
    Grayscale,
    Rgb,
    Bgr,
    /// One channel in fp16.
    GrayscaleFp16,
}

/// The sizes that an image may have.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageFlexibility {
    /// Only that of the type.
    Fixed,
    /// One of these, as width and height.
    Enumerated(Vec<(usize, usize)>),
    /// Width and height each in a range.
    Range {
        /// Widths.
        width: SizeRange,
        /// Heights.
        height: SizeRange,
    },
}

/// About a model as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What it is, in words.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Who made it.
    pub author: String,
    /// Under what terms.
    pub license: String,
    /// Whatever else its makers say.
    pub user_defined: BTreeMap<String, String>,
}

impl Interface {
    /// The interface of a function.
    pub fn function(&self, name: &str) -> Option<&FunctionInterface> {
        self.functions.iter().find(|function| function.name == name)
    }
}

impl FunctionInterface {
    /// The input of this name.
    pub fn input(&self, name: &str) -> Option<&Feature> {
        self.inputs.iter().find(|feature| feature.name == name)
    }

    /// Names and values of everything whose name is not that of its value.
    pub(crate) fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.inputs.iter().chain(&self.states).chain(&self.outputs);
        all.filter(|f| f.name != f.value).map(|f| (f.name.as_str(), f.value.as_str()))
    }

    /// The names that values of a function have for users.
    pub(crate) fn names(
        &self,
        function: &Function,
    ) -> std::collections::HashMap<mil::ValueId, String> {
        let find = |value: &str| function.input(value).or_else(|| function.output(value));
        let renamed = self.renamed();
        renamed.filter_map(|(name, value)| Some((find(value)?, name.to_owned()))).collect()
    }
}

impl Feature {
    /// The array that the feature is or holds.
    pub fn array(&self) -> Option<&ArrayType> {
        match &self.ty {
            FeatureType::Array(array) | FeatureType::State(array) => Some(array),
            _ => None,
        }
    }

    /// The shape that the program sees where no other is asked for, if the model says it.
    pub fn default_shape(&self) -> Option<Vec<usize>> {
        match &self.ty {
            FeatureType::Array(array) | FeatureType::State(array) => Some(array.shape.clone()),
            FeatureType::Image(image) => Some(image.shape(image.width, image.height)),
            _ => None,
        }
    }

    /// Whether a program's tensor of this shape is one that the interface allows.
    ///
    /// # Errors
    /// What is allowed, and that this is not.
    pub fn check_shape(&self, dims: &[usize]) -> Result<(), String> {
        let allowed = match &self.ty {
            FeatureType::Array(array) | FeatureType::State(array) => array.allows(dims),
            FeatureType::Image(image) => image.allows(dims),
            _ => true,
        };
        match allowed {
            true => Ok(()),
            false => Err(format!("`{}` is {}, shape {dims:?} is none of it", self.name, self.ty)),
        }
    }
}

impl ArrayType {
    /// An array of one shape.
    pub fn fixed(dtype: DataType, shape: &[usize]) -> ArrayType {
        let flexibility = Flexibility::Fixed;
        ArrayType { dtype, shape: shape.to_vec(), flexibility, default: None }
    }

    /// Whether an array may have this shape.
    pub fn allows(&self, dims: &[usize]) -> bool {
        match &self.flexibility {
            // Scalars are shown with one axis. An empty shape says nothing.
            Flexibility::Fixed => {
                self.shape.is_empty()
                    || self.shape == dims
                    || (self.shape == [1] && dims.is_empty())
            }
            Flexibility::Enumerated(shapes) => {
                self.shape == dims || shapes.iter().any(|shape| shape == dims)
            }
            Flexibility::Range(ranges) => {
                ranges.len() == dims.len()
                    && ranges.iter().zip(dims).all(|(range, &size)| range.contains(size))
            }
        }
    }

    /// Whether several shapes are allowed.
    pub fn is_flexible(&self) -> bool {
        match &self.flexibility {
            Flexibility::Fixed => false,
            Flexibility::Enumerated(shapes) => shapes.iter().any(|shape| *shape != self.shape),
            Flexibility::Range(ranges) => ranges.iter().any(|r| r.max != Some(r.min)),
        }
    }
}

impl ImageType {
    /// Channels of a pixel.
    pub fn channels(&self) -> usize {
        match self.color {
            ColorSpace::Grayscale | ColorSpace::GrayscaleFp16 => 1,
            ColorSpace::Rgb | ColorSpace::Bgr => 3,
        }
    }

    /// The shape of an image of this size as the program sees it.
    pub fn shape(&self, width: usize, height: usize) -> Vec<usize> {
        vec![1, self.channels(), height, width]
    }

    /// The shapes other than the default one, as those of an array.
    pub(crate) fn shapes(&self) -> Option<Flexibility> {
        let only = |size| SizeRange { min: size, max: Some(size) };
        match &self.flexibility {
            ImageFlexibility::Fixed => None,
            ImageFlexibility::Enumerated(sizes) => Some(Flexibility::Enumerated(
                sizes.iter().map(|&(width, height)| self.shape(width, height)).collect(),
            )),
            ImageFlexibility::Range { width, height } => {
                let channels = only(self.channels());
                Some(Flexibility::Range(vec![only(1), channels, *height, *width]))
            }
        }
    }

    fn allows(&self, dims: &[usize]) -> bool {
        let &[1, channels, height, width] = dims else { return false };
        channels == self.channels()
            && match &self.flexibility {
                ImageFlexibility::Fixed => (width, height) == (self.width, self.height),
                ImageFlexibility::Enumerated(sizes) => {
                    (width, height) == (self.width, self.height) || sizes.contains(&(width, height))
                }
                ImageFlexibility::Range { width: w, height: h } => {
                    w.contains(width) && h.contains(height)
                }
            }
    }
}

impl SizeRange {
    /// Whether an axis may have this size.
    pub fn contains(self, size: usize) -> bool {
        size >= self.min && self.max.is_none_or(|max| size <= max)
    }
}

impl DefaultValue {
    /// As a float.
    pub fn to_f64(self) -> f64 {
        match self {
            DefaultValue::Int(value) => value.into(),
            DefaultValue::Float(value) => value.into(),
            DefaultValue::Double(value) => value,
        }
    }
}

impl ColorSpace {
    /// All, with the names that `Model.proto` and compiled models give them, and their numbers.
    pub(crate) const ALL: [(ColorSpace, &str, i32); 4] = [
        (ColorSpace::Grayscale, "Grayscale", 10),
        (ColorSpace::Rgb, "RGB", 20),
        (ColorSpace::Bgr, "BGR", 30),
        (ColorSpace::GrayscaleFp16, "Grayscale16Half", 40),
    ];

    /// The name, such as `RGB`.
    pub fn name(self) -> &'static str {
        let row = ColorSpace::ALL.iter().find(|row| row.0 == self);
        row.expect("every color space has a row").1
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max {
            Some(max) if max == self.min => write!(f, "{max}"),
            Some(max) => write!(f, "{}..{max}", self.min),
            None => write!(f, "{}..", self.min),
        }
    }
}

impl fmt::Display for ArrayType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "array of {}", self.dtype)?;
        match &self.flexibility {
            Flexibility::Fixed if self.shape.is_empty() => {}
            Flexibility::Fixed => write!(f, " {:?}", self.shape)?,
            Flexibility::Enumerated(shapes) => {
                write!(f, " {:?}", self.shape)?;
                // Programs that were made to hang a reader list millions.
                let others = shapes.iter().filter(|shape| **shape != self.shape);
                for shape in others.clone().take(16) {
                    write!(f, " or {shape:?}")?;
                }
                if others.clone().nth(16).is_some() {
                    write!(f, " or one of {} more", others.count() - 16)?;
                }
            }
            Flexibility::Range(ranges) => {
                write!(f, " [")?;
                for (i, range) in ranges.iter().enumerate() {
                    write!(f, "{}{range}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, "]")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for FeatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeatureType::Int64 => f.write_str("int64"),
            FeatureType::Double => f.write_str("double"),
            FeatureType::String => f.write_str("string"),
            FeatureType::Array(array) => array.fmt(f),
            FeatureType::State(array) => write!(f, "state, {array}"),
            FeatureType::Dictionary(KeyType::Int64) => f.write_str("dictionary by int64"),
            FeatureType::Dictionary(KeyType::String) => f.write_str("dictionary by string"),
            FeatureType::Sequence(KeyType::Int64) => f.write_str("sequence of int64"),
            FeatureType::Sequence(KeyType::String) => f.write_str("sequence of strings"),
            FeatureType::Image(image) => {
                let (width, height, color) = (image.width, image.height, image.color.name());
                write!(f, "{color} image of {width} × {height} pixels")?;
                match &image.flexibility {
                    ImageFlexibility::Fixed => Ok(()),
                    ImageFlexibility::Enumerated(sizes) => {
                        write!(f, " or one of {} sizes", sizes.len())
                    }
                    ImageFlexibility::Range { width, height } => {
                        write!(f, ", width {width}, height {height}")
                    }
                }
            }
        }
    }
}
