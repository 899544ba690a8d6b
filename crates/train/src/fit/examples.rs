//! Examples: arrays whose first axis counts them.

use crate::Error;
use crate::rng::Rng;
use mil::{DataType, Tensor};

/// What an input is given, or what is to be predicted.
#[derive(Clone, Debug)]
pub struct Column {
    /// The name, for messages and for the input that it is bound to.
    pub name: String,
    tensor: Tensor,
    /// Elements of an example.
    each: usize,
}

/// What is to be predicted.
#[derive(Clone, Debug)]
pub enum Target {
    /// Numbers, or the probabilities of classes: as many as the prediction has.
    Numbers(Column),
    /// The index of a class for every row of the prediction.
    Classes(Column),
}

/// Examples in memory.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The inputs.
    pub columns: Vec<Column>,
    /// The targets.
    pub target: Target,
    /// How many there are.
    pub count: usize,
}

impl Column {
    /// An array of `each` elements for every one of `count` examples.
    ///
    /// # Errors
    /// If it has another number of elements, or elements of no whole bytes.
    pub fn new(name: &str, tensor: Tensor, count: usize, each: usize) -> Result<Column, Error> {
        let (dtype, dims) = (tensor.dtype(), tensor.dims());
        if dims.first() != Some(&count) {
            return Err(Error::Examples(format!(
                "array `{name}` is {}; its first axis must count the examples, of which there are \
                 {count}",
                tensor.ty()
            )));
        }
        if count.checked_mul(each) != Some(tensor.count()) {
            return Err(Error::Examples(format!(
                "array `{name}` is {}; an example must have {each} elements in it",
                tensor.ty()
            )));
        }
        if dtype == DataType::String || dtype.bits() % 8 != 0 {
            return Err(Error::Examples(format!("array `{name}`: {dtype} cannot be used")));
        }
        Ok(Column { name: name.to_owned(), tensor, each })
    }

    /// The bytes of an example.
    fn bytes(&self, example: usize) -> &[u8] {
        let size = self.each * self.tensor.dtype().bits() / 8;
        &self.tensor.bytes()[example * size..][..size]
    }

    /// Writes an example in another element type, by value.
    pub(super) fn fill(
        &self,
        example: usize,
        dtype: DataType,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let (from, bytes) = (self.tensor.dtype(), self.bytes(example));
        if from == dtype {
            out.copy_from_slice(bytes);
            return Ok(());
        }
        if (from, dtype) == (DataType::Uint8, DataType::Fp32) {
            for (out, &byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(bytes) {
                *out = f32::from(byte).to_le_bytes();
            }
            return Ok(());
        }
        let error = |e: mil::TensorError| Error::Examples(format!("array `{}`: {e}", self.name));
        let tensor = Tensor::from_bytes(from, &[self.each], bytes).map_err(error)?;
        let tensor = match dtype.is_float() {
            true => Tensor::from_f64s(dtype, &[self.each], &tensor.to_f64s()),
            false => Tensor::from_i64s(dtype, &[self.each], &tensor.to_i64s()),
        };
        out.copy_from_slice(tensor.map_err(error)?.bytes());
        Ok(())
    }
}

impl Target {
    /// Class indices, each checked to be one of `classes`.
    ///
    /// # Errors
    /// If one is not.
    pub fn classes(column: Column, classes: usize) -> Result<Target, Error> {
        let wrong = |&class: &i64| usize::try_from(class).is_ok_and(|class| class < classes);
        if let Some(found) = column.tensor.to_i64s().into_iter().find(|class| !wrong(class)) {
            return Err(Error::Examples(format!(
                "array `{}`: {found} is no index of one of {classes} classes",
                column.name
            )));
        }
        Ok(Target::Classes(column))
    }

    /// Probabilities of classes, each row checked to sum to 1.
    ///
    /// # Errors
    /// If one does not.
    pub fn probabilities(column: Column, classes: usize) -> Result<Target, Error> {
        let values = column.tensor.to_f64s();
        for (row, values) in values.chunks(classes).enumerate() {
            let sum: f64 = values.iter().sum();
            // NaN is not near 1 either.
            if !((sum - 1.0).abs() < 1e-2 && values.iter().all(|&p| p >= 0.0)) {
                let name = &column.name;
                return Err(Error::Examples(format!(
                    "array `{name}`: row {row} sums to {sum}; class probabilities sum to 1"
                )));
            }
        }
        Ok(Target::Numbers(column))
    }

    /// Writes the targets of an example: for classes, rows of `width` with a 1 each.
    pub(super) fn fill(&self, example: usize, width: usize, out: &mut [f32]) -> Result<(), Error> {
        let column = match self {
            Target::Numbers(column) => column,
            Target::Classes(column) => {
                out.fill(0.0);
                for (row, class) in out.chunks_mut(width).zip(self.rows(column, example)) {
                    row[class] = 1.0;
                }
                return Ok(());
            }
        };
        let mut bytes = vec![0; 4 * out.len()];
        column.fill(example, DataType::Fp32, &mut bytes)?;
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *out = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }

    /// The classes of an example's rows.
    fn rows(&self, column: &Column, example: usize) -> Vec<usize> {
        let (dtype, bytes) = (column.tensor.dtype(), column.bytes(example));
        let tensor = Tensor::from_bytes(dtype, &[column.each], bytes);
        let classes = tensor.expect("an example is a part of its array").to_i64s();
        classes.into_iter().map(|class| class as usize).collect()
    }
}

/// The examples to train on and those set aside: `part` of them, but no less than one where there
/// are two. Both are in order; which are which follows from the seed.
pub fn split(count: usize, part: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut all = shuffled(count, &Rng::new(seed).fork("validation"));
    let mut aside = (count as f64 * part).round() as usize;
    if part > 0.0 && count > 1 {
        aside = aside.clamp(1, count - 1);
    }
    let mut held = all.split_off(count - aside.min(count));
    all.sort_unstable();
    held.sort_unstable();
    (all, held)
}

/// The numbers below `count` in an order that is drawn.
pub(super) fn shuffled(count: usize, random: &Rng) -> Vec<usize> {
    let mut random = *random;
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(dtype: DataType, values: &[i64], each: usize) -> Column {
        let count = values.len() / each;
        let values: Vec<f64> = values.iter().map(|&v| v as f64).collect();
        let tensor = match dtype.is_float() {
            true => Tensor::from_f64s(dtype, &[count, each], &values),
            false => {
                let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
                Tensor::from_i64s(dtype, &[count, each], &values)
            }
        };
        Column::new("a", tensor.unwrap(), count, each).unwrap()
    }

    #[test]
    fn elements_are_cast_by_value() {
        use DataType::*;
        for from in [Uint8, Int16, Int64, Fp16, Fp32, Fp64, Bf16] {
            let column = column(from, &[1, 2, 3, 4, 5, 6], 3);
            for to in [Fp32, Int32] {
                let mut bytes = vec![0; 12];
                column.fill(1, to, &mut bytes).unwrap();
                let found = Tensor::from_bytes(to, &[3], bytes).unwrap();
                assert_eq!(found.to_f64s(), [4.0, 5.0, 6.0], "{from} to {to}");
            }
        }
    }

    #[test]
    fn classes_are_rows_with_a_one() {
        let target = Target::classes(column(DataType::Uint8, &[0, 2, 1, 1], 2), 3).unwrap();
        let mut rows = [9.0; 6];
        target.fill(0, 3, &mut rows).unwrap();
        assert_eq!(rows, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let error = Target::classes(column(DataType::Int32, &[0, 3], 1), 3).unwrap_err();
        assert_eq!(error.to_string(), "array `a`: 3 is no index of one of 3 classes");
        let error = Target::classes(column(DataType::Int32, &[0, -1], 1), 3).unwrap_err();
        assert_eq!(error.to_string(), "array `a`: -1 is no index of one of 3 classes");
    }

    #[test]
    fn probabilities_must_sum_to_one() {
        Target::probabilities(column(DataType::Fp32, &[0, 1, 1, 0], 2), 2).unwrap();
        let error = Target::probabilities(column(DataType::Fp32, &[0, 1, 1, 1], 2), 2);
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "array `a`: row 1 sums to 2; class probabilities sum to 1");
    }

    #[test]
    fn arrays_of_another_size_are_refused() {
        let tensor = Tensor::from_f64s(DataType::Fp32, &[2, 3], &[0.0; 6]).unwrap();
        let error = Column::new("a", tensor.clone(), 3, 2).unwrap_err().to_string();
        assert!(error.contains("its first axis must count the examples, of which there are 3"));
        let error = Column::new("a", tensor, 2, 4).unwrap_err().to_string();
        assert!(error.contains("an example must have 4 elements in it"), "{error}");
    }

    #[test]
    fn every_example_is_on_one_side() {
        for (count, part, held) in
            [(10, 0.2, 2), (10, 0.0, 0), (2, 0.9, 1), (1, 0.5, 1), (0, 0.5, 0)]
        {
            let (train, validation) = split(count, part, 7);
            let mut all = [train, validation.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            assert_eq!(validation.len(), held, "{count} {part}");
        }
        assert_ne!(split(100, 0.5, 1), split(100, 0.5, 2));
    }
}
