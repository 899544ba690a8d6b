//! Types and constants.

use super::lexer::{Kind, unescape};
use super::number;
use super::parser::{Parsed, Parser};
use crate::{
    BlobRef, DataType, Dim, Literal, Shape, Span, Tensor, TensorError, TensorType, Type,
    element_count,
};

/// The elements of a tensor while they are read.
#[derive(Default)]
struct Elements {
    floats: Vec<f64>,
    /// NaNs that are not the usual one: position and bits.
    nans: Vec<(usize, u64)>,
    ints: Vec<i64>,
    strings: Vec<String>,
}

impl Parser<'_> {
    /// Whether a type comes next, where a name could stand as well.
    pub(super) fn at_type(&self) -> bool {
        if self.current.kind != Kind::Name {
            return false;
        }
        let name = self.slice(self.current.span);
        match name {
            "tensor" | "state" | "list" | "tuple" | "dict" => self.next_is(b'<'),
            _ => self.next_is(b'(') && DataType::from_name(name).is_some(),
        }
    }

    pub(super) fn ty(&mut self) -> Parsed<Type> {
        self.nested(|p| {
            if p.current.kind != Kind::Name {
                return p.unexpected("a type");
            }
            let name = p.slice(p.current.span);
            if let Some(dtype) = DataType::from_name(name) {
                p.advance();
                return Ok(Type::scalar(dtype));
            }
            if !matches!(name, "tensor" | "state" | "list" | "tuple" | "dict") {
                return p.unexpected("a type");
            }
            p.advance();
            p.expect(b'<')?;
            let ty = match name {
                "tensor" => Type::Tensor(p.tensor_type()?),
                "state" => Type::State(Box::new(p.ty()?)),
                "list" => {
                    let element = Box::new(p.ty()?);
                    p.expect(b',')?;
                    let len = match p.dim()? {
                        Dim::Fixed(n) => Some(n),
                        Dim::Unknown => None,
                    };
                    Type::List { element, len }
                }
                "tuple" => {
                    let mut items = vec![];
                    p.list(b'>', |p| {
                        items.push(p.ty()?);
                        Ok(())
                    })?;
                    return Ok(Type::Tuple(items));
                }
                _ => {
                    let key = Box::new(p.ty()?);
                    p.expect(b',')?;
                    Type::Dict(key, Box::new(p.ty()?))
                }
            };
            p.expect(b'>')?;
            Ok(ty)
        })
    }

    fn tensor_type(&mut self) -> Parsed<TensorType> {
        let (name, span) = self.name("an element type")?;
        let Some(dtype) = DataType::from_name(name) else {
            return self.fail(span, format!("expected an element type, found `{name}`"));
        };
        self.expect(b',')?;
        if self.eat(b'?') {
            return Ok(TensorType { dtype, shape: Shape::Unranked });
        }
        self.expect(b'[')?;
        let mut dims = vec![];
        self.list(b']', |p| {
            dims.push(p.dim()?);
            Ok(())
        })?;
        Ok(TensorType { dtype, shape: Shape::Ranked(dims) })
    }

    fn dim(&mut self) -> Parsed<Dim> {
        if self.eat(b'?') {
            return Ok(Dim::Unknown);
        }
        let span = self.current.span;
        let size = self.size("a size or `?`")?;
        match usize::try_from(size) {
            Ok(size) => Ok(Dim::Fixed(size)),
            Err(_) => self.fail(span, format!("size {size} is more than memory can address")),
        }
    }

    /// `type(literal)`.
    pub(super) fn value(&mut self) -> Parsed<Literal> {
        self.nested(|p| {
            let ty = p.ty()?;
            p.expect(b'(')?;
            let literal = p.literal(&ty)?;
            p.expect(b')')?;
            Ok(literal)
        })
    }

    fn literal(&mut self, ty: &Type) -> Parsed<Literal> {
        let start = self.current.span.start;
        if self.at_type() {
            let literal = self.value()?;
            let found = literal.ty();
            if !found.compatible(ty) {
                let span = Span { start, end: self.last_end };
                self.report(
                    span,
                    format!("expected a constant of type {ty}, found one of {found}"),
                );
            }
            return Ok(literal);
        }
        self.nested(|p| match ty {
            Type::Tensor(t) if p.at_word("BLOBFILE") => p.blob(t).map(Literal::Blob),
            Type::Tensor(t) => p.tensor(t).map(Literal::Tensor),
            Type::Tuple(types) => {
                p.expect(b'(')?;
                let mut items = vec![];
                p.list(b')', |p| {
                    let Some(ty) = types.get(items.len()) else {
                        let span = p.current.span;
                        return p.fail(span, format!("{ty} has only {} items", types.len()));
                    };
                    items.push(p.literal(ty)?);
                    Ok(())
                })?;
                p.check_length(ty, Some(types.len()), items.len(), start)?;
                Ok(Literal::Tuple(items))
            }
            Type::List { element, len } => {
                p.expect(b'[')?;
                let mut items = vec![];
                p.list(b']', |p| {
                    items.push(p.literal(element)?);
                    Ok(())
                })?;
                p.check_length(ty, *len, items.len(), start)?;
                Ok(Literal::List { ty: ty.clone(), items })
            }
            Type::Dict(key, value) => {
                p.expect(b'{')?;
                let mut entries = vec![];
                p.list(b'}', |p| {
                    p.expect(b'{')?;
                    let key = p.literal(key)?;
                    p.expect(b',')?;
                    entries.push((key, p.literal(value)?));
                    p.expect(b'}')
                })?;
                Ok(Literal::Dict { ty: ty.clone(), entries })
            }
            Type::State(_) => {
                let span = p.current.span;
                p.fail(span, format!("{ty} has no constants"))
            }
        })
    }

    fn check_length(
        &mut self,
        ty: &Type,
        expected: Option<usize>,
        found: usize,
        start: u32,
    ) -> Parsed<()> {
        match expected {
            Some(n) if n != found => {
                let span = Span { start, end: self.last_end };
                self.fail(span, format!("{ty} takes {n} items, found {found}"))
            }
            _ => Ok(()),
        }
    }

    /// `BLOBFILE(path = …, offset = …)`.
    fn blob(&mut self, ty: &TensorType) -> Parsed<BlobRef> {
        let span = self.advance().span;
        let Some(dims) = ty.fixed_dims() else {
            return self
                .fail(span, format!("the shape of {ty} must be known to read it from a file"));
        };
        if element_count(&dims).is_none() {
            return self.fail(span, TensorError::Huge(dims).to_string());
        }
        self.expect(b'(')?;
        let (mut path, mut offset) = (None, None);
        self.list(b')', |p| {
            let (key, key_span) = p.name("`path` or `offset`")?;
            p.expect(b'=')?;
            let start = p.current.span.start;
            let value = p.value()?;
            let tensor = value.as_tensor();
            let number = |t: &Tensor| match t.to_i64s()[..] {
                // An unsigned 64-bit number comes as the signed one of the same bits.
                [n] if t.dtype() == DataType::Uint64 || (t.dtype().is_int() && n >= 0) => {
                    Some(n as u64)
                }
                _ => None,
            };
            let known = match key {
                "path" => {
                    path = tensor.and_then(|t| t.strings().first().cloned());
                    path.is_some()
                }
                "offset" => {
                    offset = tensor.and_then(number);
                    offset.is_some()
                }
                _ => {
                    return p.fail(key_span, format!("expected `path` or `offset`, found `{key}`"));
                }
            };
            if !known {
                let span = Span { start, end: p.last_end };
                let expected = if key == "path" { "a string" } else { "a byte position" };
                return p.fail(span, format!("`{key}` must be {expected}"));
            }
            Ok(())
        })?;
        match (path, offset) {
            (Some(path), Some(offset)) => Ok(BlobRef { dtype: ty.dtype, dims, path, offset }),
            (None, _) => self.fail(span, "BLOBFILE without `path`"),
            (_, None) => self.fail(span, "BLOBFILE without `offset`"),
        }
    }

    fn tensor(&mut self, ty: &TensorType) -> Parsed<Tensor> {
        let start = self.current.span.start;
        let Some(dims) = ty.dims() else {
            let span = self.current.span;
            return self
                .fail(span, format!("a constant's rank must be known, but its type is {ty}"));
        };
        let mut sizes: Vec<Option<usize>> = dims.iter().map(|d| d.fixed()).collect();
        let mut elements = Elements::default();
        if sizes == [Some(1)] && !self.at(b'[') {
            // Hand-written programs leave the brackets out.
            self.element(ty.dtype, &mut elements)?;
        } else {
            self.axis(ty, 0, &mut sizes, &mut elements)?;
        }
        let dims: Vec<usize> = sizes.into_iter().map(|n| n.unwrap_or(0)).collect();
        elements.into_tensor(ty.dtype, &dims).or_else(|error| {
            let span = Span { start, end: self.last_end };
            self.fail(span, error.to_string())
        })
    }

    /// The brackets of one axis and what is in them. A size that the type leaves open is set by
    /// the first brackets and holds for the others.
    fn axis(
        &mut self,
        ty: &TensorType,
        axis: usize,
        sizes: &mut [Option<usize>],
        elements: &mut Elements,
    ) -> Parsed<()> {
        if axis == sizes.len() {
            return self.element(ty.dtype, elements);
        }
        let start = self.current.span.start;
        if !self.at(b'[') {
            return self.unexpected(&format!("`[` of axis {axis} of {ty}"));
        }
        self.advance();
        let mut found = 0;
        let expected = sizes[axis];
        self.list(b']', |p| {
            if expected == Some(found) {
                let span = p.current.span;
                return p.fail(span, format!("axis {axis} of {ty} has only {found} entries"));
            }
            found += 1;
            p.nested(|p| p.axis(ty, axis + 1, sizes, elements))
        })?;
        // A tensor without elements is `[]` whatever its rank.
        let empty = found == 0 && sizes[axis..].contains(&Some(0));
        match expected {
            Some(n) if n != found && !empty => {
                let span = Span { start, end: self.last_end };
                self.fail(span, format!("axis {axis} of {ty} takes {n} entries, found {found}"))
            }
            Some(_) => Ok(()),
            None => {
                sizes[axis] = Some(found);
                Ok(())
            }
        }
    }

    fn element(&mut self, dtype: DataType, elements: &mut Elements) -> Parsed<()> {
        let token = self.current;
        let text = self.slice(token.span);
        match dtype {
            DataType::Bool => match text {
                "true" | "false" => elements.ints.push(i64::from(text == "true")),
                _ => return self.unexpected("`true` or `false`"),
            },
            DataType::String => {
                if token.kind != Kind::String {
                    return self.unexpected("a string");
                }
                match unescape(text) {
                    Ok(string) => elements.strings.push(string),
                    Err(message) => return self.fail(token.span, message),
                }
            }
            _ if dtype.is_int() => {
                let Ok(value) = text.parse::<i128>() else {
                    return self.unexpected(&format!("an integer for {dtype}"));
                };
                if !in_range(dtype, value) {
                    return self.fail(token.span, format!("{value} is out of range for {dtype}"));
                }
                elements.ints.push(value as i64);
            }
            _ => return self.float(dtype, elements),
        }
        self.advance();
        Ok(())
    }

    fn float(&mut self, dtype: DataType, elements: &mut Elements) -> Parsed<()> {
        let token = self.current;
        let text = self.slice(token.span);
        let decimal = text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit())
            && !text.contains(['x', 'X']);
        let value = match decimal && dtype == DataType::Fp32 {
            // By way of a double, a decimal could be rounded twice.
            true => text.parse::<f32>().ok().map(f64::from),
            false => number::parse(text, dtype != DataType::Fp64),
        };
        let Some(value) = value.filter(|_| matches!(token.kind, Kind::Number | Kind::Name)) else {
            return self.unexpected(&format!("a number for {dtype}"));
        };
        self.advance();
        if value.is_nan() {
            let usual = bits_of(&Tensor::float(dtype, f64::NAN));
            if text == "nan" && self.eat(b'(') {
                let span = self.current.span;
                let bits = self.slice(span).strip_prefix("0x");
                let bits = bits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
                let valid =
                    |bits: &u64| tensor_of(dtype, *bits).is_some_and(|t| t.to_f64s()[0].is_nan());
                let Some(bits) = bits.filter(valid) else {
                    return self
                        .unexpected(&format!("the bits of a NaN of {dtype}, as `{usual:#x}`"));
                };
                self.advance();
                self.expect(b')')?;
                elements.nans.push((elements.floats.len(), bits));
            } else if text.starts_with('-') {
                let sign = 1 << (dtype.bits() - 1);
                elements.nans.push((elements.floats.len(), usual | sign));
            }
        } else if dtype == DataType::Fp8E4M3Fn && Tensor::float(dtype, value).to_f64s()[0].is_nan()
        {
            return self.fail(token.span, format!("`{text}` is out of range for {dtype}"));
        }
        elements.floats.push(value);
        Ok(())
    }
}

impl Elements {
    fn into_tensor(self, dtype: DataType, dims: &[usize]) -> Result<Tensor, TensorError> {
        if dtype == DataType::String {
            return Tensor::from_strings(dims, self.strings);
        }
        if !dtype.is_float() {
            return Tensor::from_i64s(dtype, dims, &self.ints);
        }
        let tensor = Tensor::from_f64s(dtype, dims, &self.floats)?;
        if self.nans.is_empty() {
            return Ok(tensor);
        }
        let (width, mut bytes) = (dtype.bits() / 8, tensor.bytes().to_vec());
        for (at, bits) in self.nans {
            bytes[at * width..][..width].copy_from_slice(&bits.to_le_bytes()[..width]);
        }
        Tensor::from_bytes(dtype, dims, bytes)
    }
}

fn in_range(dtype: DataType, value: i128) -> bool {
    match dtype.int_range() {
        Some(_) if dtype == DataType::Uint64 => u64::try_from(value).is_ok(),
        Some((low, high)) => (i128::from(low)..=i128::from(high)).contains(&value),
        None => false,
    }
}

/// The bits of a tensor's first element, at most 64.
pub(super) fn bits_of(tensor: &Tensor) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(tensor.bytes()) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

/// A scalar of these bits, if they fit.
fn tensor_of(dtype: DataType, bits: u64) -> Option<Tensor> {
    let word = bits.to_le_bytes();
    let (low, high) = word.split_at(dtype.bits() / 8);
    if high.iter().any(|&b| b != 0) {
        return None;
    }
    Tensor::from_bytes(dtype, &[], low).ok()
}
