//! JSON as Python's `json.dumps` writes it, which is what templates expect of `tojson`.

use serde_json::Value;

/// The value as text: with `indent` spaces for each level, or on one line with a space behind every
/// comma and colon.
pub(super) fn dumps(value: &Value, indent: Option<usize>) -> String {
    let mut out = String::new();
    write(&mut out, value, indent, 0);
    out
}

fn write(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            list(out, ['[', ']'], items.iter(), indent, depth, |out, item| {
                write(out, item, indent, depth + 1);
            });
        }
        Value::Object(items) if !items.is_empty() => {
            list(out, ['{', '}'], items.iter(), indent, depth, |out, (key, item)| {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
                write(out, item, indent, depth + 1);
            });
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn list<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    indent: Option<usize>,
    depth: usize,
    mut item: impl FnMut(&mut String, T),
) {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    out.push(open);
    for (index, x) in items.enumerate() {
        if index > 0 {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        line(out, depth + 1);
        item(out, x);
    }
    line(out, depth);
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::dumps;
    use serde_json::json;

    #[test]
    fn text_is_that_of_python() {
        let value = json!({"a": [1, 2.5, "ü<b>"], "b": {}, "c": [], "d": null});
        let line = r#"{"a": [1, 2.5, "ü<b>"], "b": {}, "c": [], "d": null}"#;
        assert_eq!(dumps(&value, None), line);
        let expected = "{\n  \"a\": [\n    1\n  ]\n}";
        assert_eq!(dumps(&json!({"a": [1]}), Some(2)), expected);
    }
}
