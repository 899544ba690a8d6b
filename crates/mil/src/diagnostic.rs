//! What is wrong with a program, and where in its text.

use crate::Span;
use std::fmt;

/// One problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Where in the text the program was read from; empty for a program that was built.
    pub span: Span,
    /// What was expected and what was found.
    pub message: String,
}

/// Every problem found, in source order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The problems as `line:column: message`, one a line, against the text they are about.
    pub fn render(&self, text: &str) -> String {
        let mut out = vec![];
        for Diagnostic { span, message } in &self.0 {
            let before = text.get(..span.start as usize).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            out.push(format!("{line}:{column}: {message}"));
        }
        out.join("\n")
    }
}

impl Diagnostics {
    /// The problems as `file:line:column: message`, each with its line of the text and a mark
    /// under the part it is about. Those without a place stand as `file: message`.
    pub fn annotate(&self, text: &str, file: &str) -> String {
        let mut out = String::new();
        for Diagnostic { span, message } in &self.0 {
            let (start, end) = (span.start as usize, span.end as usize);
            let Some(before) = text.get(..start).filter(|_| end > 0) else {
                out.push_str(&format!("{file}: {message}\n"));
                continue;
            };
            let first = before.rfind('\n').map_or(0, |at| at + 1);
            let number = before.matches('\n').count() + 1;
            let column = before[first..].chars().count() + 1;
            let line = text[first..].lines().next().unwrap_or_default();
            // Tabs stay, so that the mark is under the same place whatever their width.
            let indent: String =
                before[first..].chars().map(|c| if c == '\t' { c } else { ' ' }).collect();
            let marked = text.get(start..end).unwrap_or_default().lines().next();
            let width = marked.unwrap_or_default().chars().count().max(1);
            let mark = "^".repeat(width);
            out.push_str(&format!("{file}:{number}:{column}: {message}\n{line}\n{indent}{mark}\n"));
        }
        out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Diagnostic { span, message }) in self.0.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}byte {}: {message}", span.start)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_under_their_line() {
        let text = "one\n\ttwö three\nfour";
        let problem = |start, end, message: &str| Diagnostic {
            span: Span { start, end },
            message: message.into(),
        };
        let all = Diagnostics(vec![
            problem(10, 15, "no number"),
            problem(16, 16, "empty"),
            problem(0, 0, "nowhere"),
            problem(90, 99, "outside"),
            problem(8, 9, "inside a character"),
        ]);
        assert_eq!(
            all.annotate(text, "a.mil"),
            "a.mil:2:6: no number\n\ttwö three\n\t    ^^^^^\n\
             a.mil:3:1: empty\nfour\n^\n\
             a.mil: nowhere\n\
             a.mil: outside\n\
             a.mil: inside a character\n"
        );
    }
}
