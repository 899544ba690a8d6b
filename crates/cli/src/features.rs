//! What a run gives, as arrays in files.

use crate::arrays::Tensors;
use anemone::features::STATE;
use anemone::{Dictionary, Prediction, Session};
use mil::{DataType, Tensor};

/// What a run gives, by the names that users say: outputs, a dictionary as `NAME/keys` and
/// `NAME/values`, and states. Text is bytes of UTF-8.
pub fn results(prediction: &Prediction, session: &Session) -> anyhow::Result<Tensors> {
    let mut out = Tensors::new();
    for (name, tensor) in &prediction.outputs {
        out.insert(name.clone(), bytes_of_text(tensor.clone())?);
    }
    for (name, Dictionary { keys, values }) in &prediction.dictionaries {
        out.insert(format!("{name}/keys"), bytes_of_texts(keys)?);
        out.insert(format!("{name}/values"), values.clone());
    }
    for (name, tensor) in session.states()? {
        out.insert(format!("{STATE}{name}"), tensor);
    }
    Ok(out)
}

/// One text as a vector of its bytes; files of arrays know no strings. Others stay as they are.
fn bytes_of_text(tensor: Tensor) -> anyhow::Result<Tensor> {
    match tensor.strings() {
        [text] => {
            let bytes = text.as_bytes().to_vec();
            Ok(Tensor::from_bytes(DataType::Uint8, &[bytes.len()], bytes)?)
        }
        _ => Ok(tensor),
    }
}

/// Texts as rows of bytes, with zeros behind the shorter ones. Others stay as they are.
fn bytes_of_texts(tensor: &Tensor) -> anyhow::Result<Tensor> {
    if tensor.dtype() != DataType::String {
        return Ok(tensor.clone());
    }
    let texts = tensor.strings();
    let longest = texts.iter().map(String::len).max().unwrap_or(0);
    let mut bytes = vec![];
    for text in texts {
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + longest - text.len(), 0);
    }
    Ok(Tensor::from_bytes(DataType::Uint8, &[texts.len(), longest], bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_rows_of_bytes() {
        let texts = Tensor::from_strings(&[3], ["cat", "", "löwe"].map(String::from).to_vec());
        let rows = bytes_of_texts(&texts.unwrap()).unwrap();
        assert_eq!(rows.dims(), [3, 5]);
        assert_eq!(rows.bytes(), b"cat\0\0\0\0\0\0\0l\xc3\xb6we");
        let label = bytes_of_text(Tensor::string("löwe")).unwrap();
        assert_eq!((label.dims(), label.bytes()), (&[5][..], "löwe".as_bytes()));
        let numbers = Tensor::int32s(&[1, 2]);
        assert_eq!(bytes_of_texts(&numbers).unwrap(), numbers);
        assert_eq!(bytes_of_text(numbers.clone()).unwrap(), numbers);
    }
}
