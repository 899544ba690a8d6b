//! The `tokenizer.bin` of llama2.c: the length of the longest token, then of each token its score
//! (f32), length (i32) and bytes.

use super::parsed::Parsed;
use super::pieces::{Kind, Pieces, SPACE};
use crate::{Error, Input};

/// Reads a `tokenizer.bin` of a model with this many tokens as the text of a `tokenizer.json`.
///
/// # Errors
/// If it is malformed, or has another number of tokens.
pub fn from_llama2c(input: &Input, count: usize) -> Result<String, Error> {
    let refuse = |reason: String| Error::format(input.path(), reason);
    let mut cursor = input.cursor();
    let longest = cursor.u32()?;
    let mut pieces =
        Pieces { space_before: true, unknown: Some(0), before: Some(1), ..Pieces::default() };
    if count < 3 || cursor.left() / 8 < count as u64 {
        return Err(refuse(format!("{} bytes are too few for {count} tokens", input.size())));
    }
    for id in 0..count {
        let score = f32::from_le_bytes(cursor.array()?);
        let length = cursor.u32()?;
        if length > longest {
            let reason = format!("token {id} has {length} bytes, but the longest has {longest}");
            return Err(refuse(reason));
        }
        let bytes = cursor.bytes(length.into())?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| refuse(format!("token {id} is not UTF-8")))?;
        // Beginning and end stand between line breaks, for those who print every token.
        let (token, kind) = match id {
            0 => ("<unk>".to_owned(), Kind::Unknown),
            1 => ("<s>".to_owned(), Kind::Control),
            2 => ("</s>".to_owned(), Kind::Control),
            _ if is_byte(&text) => (text, Kind::Byte),
            _ => (text.replace(' ', SPACE), Kind::Normal),
        };
        pieces.tokens.push(token);
        pieces.scores.push(score);
        pieces.kinds.push(kind);
    }
    if cursor.left() > 0 {
        let reason = format!("{} bytes follow its {count} tokens", cursor.left());
        return Err(refuse(reason));
    }
    Ok(pieces.json().map_err(refuse)?.to_string())
}

/// Whether a token stands for one byte, as `<0x0A>` does.
pub(super) fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// A `tokenizer.bin` for a model with this many tokens.
pub(crate) fn to_llama2c(text: &str, count: usize) -> Result<Vec<u8>, String> {
    let pieces = Parsed::of(text)?.pieces()?;
    if pieces.tokens.len() != count {
        let found = pieces.tokens.len();
        return Err(format!("it has {found} tokens, but the model's embedding has {count} rows"));
    }
    if pieces.before != Some(1) || !pieces.space_before {
        return Err("texts do not begin with token 1 and a space, as llama2.c has it".to_owned());
    }
    let text = |id: usize| match id {
        1 => "\n<s>\n".to_owned(),
        2 => "\n</s>\n".to_owned(),
        _ => pieces.tokens[id].replace(SPACE, " "),
    };
    let longest = (0..count).map(|id| text(id).len()).max().unwrap_or(0);
    let mut out = (longest as u32).to_le_bytes().to_vec();
    for (id, score) in pieces.scores.iter().enumerate() {
        let text = text(id);
        out.extend(score.to_le_bytes());
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    Ok(out)
}
