//! Names of values.
//!
//! In a model file any string is a name, and each block has names of its own; in a program names
//! are identifiers, and unique in their function. A name that is no identifier, or that is taken,
//! is replaced by one made of it: characters that cannot stand become `_`, and a number is added
//! if that is needed. The same file always gives the same names.

use mil::{Type, Value, ValueId, is_identifier};
use std::collections::{HashMap, HashSet};

/// The values of a function being read.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Every value, indexed by id.
    pub values: Vec<Value>,
    /// Names in the program that are in use.
    used: HashSet<String>,
    /// Names of the function's own inputs and outputs, which nothing else may take.
    reserved: HashSet<String>,
    /// For a name in the file, the values that blocks being read define, innermost last.
    visible: HashMap<String, Vec<ValueId>>,
    /// What the blocks being read define, in order.
    defined: Vec<String>,
    /// How many blocks are being read.
    depth: usize,
    /// Where the search for a free number begins for a stem.
    next: HashMap<String, usize>,
}

impl Names {
    /// Names for a function with these inputs and outputs.
    pub fn new<'a>(interface: impl IntoIterator<Item = &'a str>) -> Names {
        let reserved = interface.into_iter().filter(|name| is_identifier(name));
        Names { reserved: reserved.map(str::to_owned).collect(), ..Names::default() }
    }

    /// Defines a value. A value of this name that was visible is not any more.
    pub fn define(&mut self, name: &str, ty: Type) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        let unique = self.unique(name);
        self.values.push(Value { name: unique, ty });
        self.visible.entry(name.to_owned()).or_default().push(id);
        self.defined.push(name.to_owned());
        id
    }

    /// The value that a name means here.
    pub fn resolve(&self, name: &str) -> Option<ValueId> {
        self.visible.get(name)?.last().copied()
    }

    /// Begins a nested block; what is given is for [`Names::leave`].
    pub fn enter(&mut self) -> usize {
        self.depth += 1;
        self.defined.len()
    }

    /// Ends a nested block: what it has defined is not visible any more.
    pub fn leave(&mut self, mark: usize) {
        self.depth -= 1;
        for name in self.defined.drain(mark..) {
            if let Some(ids) = self.visible.get_mut(&name) {
                ids.pop();
            }
        }
    }

    fn unique(&mut self, name: &str) -> String {
        let kept = is_identifier(name)
            && !self.used.contains(name)
            && (self.depth == 0 || !self.reserved.contains(name));
        let name = if kept { name.to_owned() } else { self.free(&identifier(name)) };
        self.used.insert(name.clone());
        name
    }

    /// A name that begins like this one and that nobody has or will want.
    fn free(&mut self, stem: &str) -> String {
        let taken = |name: &str| self.used.contains(name) || self.reserved.contains(name);
        if !taken(stem) {
            return stem.to_owned();
        }
        let mut number = self.next.get(stem).copied().unwrap_or(1);
        while taken(&format!("{stem}_{number}")) {
            number += 1;
        }
        self.next.insert(stem.to_owned(), number + 1);
        format!("{stem}_{number}")
    }
}

/// The name with `_` for all that cannot stand in an identifier.
fn identifier(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '@';
    let mut out: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if !out.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        out.insert(0, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil::DataType;

    fn define(names: &mut Names, name: &str) -> String {
        let id = names.define(name, Type::scalar(DataType::Fp32));
        names.values[id.index()].name.clone()
    }

    #[test]
    fn names_become_identifiers_and_stay_apart() {
        let mut names = Names::new(["x", "input.1", "y"]);
        assert_eq!(define(&mut names, "x"), "x");
        assert_eq!(define(&mut names, "input.1"), "input_1");
        assert_eq!(define(&mut names, "input_1"), "input_1_1");
        assert_eq!(define(&mut names, "input/1"), "input_1_2");
        assert_eq!(define(&mut names, "1"), "_1");
        assert_eq!(define(&mut names, ""), "_");
        assert_eq!(define(&mut names, "größe"), "gr__e");
        // `y` is kept for the output, whatever is called like it before.
        let mark = names.enter();
        assert_eq!(define(&mut names, "y"), "y_1");
        assert_eq!(names.resolve("y"), Some(ValueId(7)));
        assert_eq!(define(&mut names, "x"), "x_1");
        assert_eq!(names.resolve("x"), Some(ValueId(8)));
        names.leave(mark);
        assert_eq!(names.resolve("x"), Some(ValueId(0)));
        assert_eq!(names.resolve("y"), None);
        assert_eq!(define(&mut names, "y"), "y");
        assert_eq!(names.resolve("y"), Some(ValueId(9)));
        assert!(names.values.iter().all(|value| is_identifier(&value.name)));
    }
}
