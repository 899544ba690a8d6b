//! Tokens.

use crate::Span;

/// What a token is; its text is the source under its span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[A-Za-z_][A-Za-z0-9_@]*`.
    Name,
    /// Starts with a digit, a point or a sign; also `-inf` and `-nan`.
    Number,
    /// Quoted, escapes not yet resolved.
    String,
    /// One character of punctuation.
    Punctuation(u8),
    /// `->`.
    Arrow,
    /// A string without its closing quote.
    OpenString,
    /// A character that starts no token.
    Unknown,
    /// The end of the text.
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
}

/// Cuts a text into tokens on demand, so that memory does not grow with the text.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at a byte position that begins a token. The text is shorter than 4 GiB.
    pub fn new(text: &'a str, at: usize) -> Lexer<'a> {
        Lexer { text, at }
    }

    /// The next token; [`Kind::End`] again and again at the end.
    pub fn token(&mut self) -> Token {
        self.skip_space();
        let start = self.at;
        let kind = self.scan();
        Token { kind, span: Span { start: start as u32, end: self.at as u32 } }
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        loop {
            while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
                self.at += 1;
            }
            if !bytes[self.at..].starts_with(b"//") {
                return;
            }
            let rest = &bytes[self.at..];
            self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        }
    }

    fn scan(&mut self) -> Kind {
        let rest = &self.text.as_bytes()[self.at..];
        let Some(&first) = rest.first() else { return Kind::End };
        let second = rest.get(1).copied().unwrap_or(b' ');
        match first {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
                let in_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'@');
                self.at += rest.iter().position(|b| !in_name(b)).unwrap_or(rest.len());
                Kind::Name
            }
            b'0'..=b'9' => self.number(),
            b'-' if second == b'>' => {
                self.at += 2;
                Kind::Arrow
            }
            b'-' | b'+' | b'.' if second.is_ascii_alphanumeric() || second == b'.' => self.number(),
            b'"' => self.string(),
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',' | b';' | b'=' | b'?' => {
                self.at += 1;
                Kind::Punctuation(first)
            }
            _ => {
                let character = self.text[self.at..].chars().next();
                self.at += character.map_or(1, char::len_utf8);
                Kind::Unknown
            }
        }
    }

    fn number(&mut self) -> Kind {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = if matches!(rest[0], b'-' | b'+') { &rest[1..] } else { rest };
        let hexadecimal = digits.starts_with(b"0x") || digits.starts_with(b"0X");
        let mut length = rest.len() - digits.len();
        while let Some(&b) = rest.get(length) {
            let sign_of_exponent = matches!(b, b'+' | b'-')
                && length > 0
                && match rest[length - 1] {
                    b'p' | b'P' => hexadecimal,
                    b'e' | b'E' => !hexadecimal,
                    _ => false,
                };
            if !(b.is_ascii_alphanumeric() || b == b'.' || sign_of_exponent) {
                break;
            }
            length += 1;
        }
        self.at += length;
        Kind::Number
    }

    fn string(&mut self) -> Kind {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        while let Some(&b) = bytes.get(at) {
            match b {
                b'"' => {
                    self.at = at + 1;
                    return Kind::String;
                }
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = bytes.len();
        Kind::OpenString
    }
}

/// The value of a quoted string: C escapes resolved, bytes written as escapes put together to
/// UTF-8. An error says what is wrong.
pub(super) fn unescape(quoted: &str) -> Result<String, String> {
    let inner = &quoted[1..quoted.len() - 1];
    if !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            out.push(first);
            continue;
        }
        let Some((&escape, tail)) = rest.split_first() else {
            return Err("a backslash ends the string".into());
        };
        rest = tail;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'v' => out.push(11),
            b'f' => out.push(12),
            b'\\' | b'"' | b'\'' | b'?' => out.push(escape),
            b'0'..=b'7' => {
                let more = digits(rest, 8, 2);
                let value = rest[..more]
                    .iter()
                    .fold(u32::from(escape - b'0'), |v, &b| v * 8 + u32::from(b - b'0'));
                rest = &rest[more..];
                let byte = u8::try_from(value).map_err(|_| "an octal escape exceeds \\377")?;
                out.push(byte);
            }
            b'x' => out.push(hexadecimal(&mut rest, 1, 2)? as u8),
            b'u' | b'U' => {
                let length = if escape == b'u' { 4 } else { 8 };
                let code = hexadecimal(&mut rest, length, length)?;
                let character = char::from_u32(code);
                let character =
                    character.ok_or_else(|| format!("no character has code {code:#x}"))?;
                out.extend(character.encode_utf8(&mut [0; 4]).bytes());
            }
            _ => {
                let text = String::from_utf8_lossy(std::slice::from_ref(&escape)).into_owned();
                return Err(format!("unknown escape `\\{text}`"));
            }
        }
    }
    String::from_utf8(out).map_err(|_| "the escaped bytes are not UTF-8".into())
}

/// Takes between `least` and `most` hexadecimal digits.
fn hexadecimal(rest: &mut &[u8], least: usize, most: usize) -> Result<u32, String> {
    let length = digits(rest, 16, most);
    if length < least {
        return Err(format!("an escape needs {least} hexadecimal digits"));
    }
    let (digits, tail) = rest.split_at(length);
    *rest = tail;
    Ok(digits.iter().fold(0, |v, &b| v * 16 + char::from(b).to_digit(16).unwrap_or(0)))
}

/// How many digits of this radix the text starts with, at most `most`.
fn digits(rest: &[u8], radix: u32, most: usize) -> usize {
    rest.iter().take(most).take_while(|&&b| char::from(b).is_digit(radix)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        let mut lexer = Lexer::new(text, 0);
        let mut out = vec![];
        loop {
            let token = lexer.token();
            if token.kind == Kind::End {
                return out;
            }
            out.push((token.kind, &text[token.span.start as usize..token.span.end as usize]));
        }
    }

    #[test]
    fn signs_belong_to_numbers_only_at_their_start_and_in_exponents() {
        let number = |text| (Kind::Number, text);
        let comma = (Kind::Punctuation(b','), ",");
        assert_eq!(
            kinds("-0x1.8p-3,1e+5,-inf,.5 // rest\n -> a@1"),
            [
                number("-0x1.8p-3"),
                comma,
                number("1e+5"),
                comma,
                number("-inf"),
                comma,
                number(".5"),
                (Kind::Arrow, "->"),
                (Kind::Name, "a@1"),
            ]
        );
        assert_eq!(kinds("0xe-1"), [number("0xe"), number("-1")]);
    }

    #[test]
    fn escapes_are_those_of_c() {
        assert_eq!(
            unescape(r#""a\n\"\\\303\251\xe9\x20""#),
            Err("the escaped bytes are not UTF-8".into())
        );
        assert_eq!(
            unescape(r#""a\n\"\\\303\251\x20\u00e9""#).as_deref(),
            Ok("a\n\"\\\u{e9} \u{e9}")
        );
        assert!(unescape(r#""\q""#).is_err());
        assert!(unescape(r#""\777""#).is_err());
        assert!(unescape(r#""\u12""#).is_err());
    }
}
