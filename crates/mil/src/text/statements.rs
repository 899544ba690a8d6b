//! Programs, functions, statements and nested blocks.

use super::lexer::Kind;
use super::parser::{Failed, Parsed, Parser};
use crate::{
    Arg, Block, Function, Literal, Op, Operand, Operation, Opset, Program, Span, Type, Value,
    ValueId,
};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The names of the function being read.
#[derive(Default)]
struct Scope<'a> {
    values: Vec<Value>,
    /// Values that can be referred to here.
    visible: HashMap<&'a str, ValueId>,
    /// Names that a statement in error may have defined; references to them are not reported.
    doubtful: HashSet<&'a str>,
    /// References to names that were not visible.
    unresolved: Vec<(&'a str, Span)>,
    /// Every name that any statement defines, for the message about those.
    defined: HashSet<&'a str>,
}

/// A name and type that a statement or a header defines.
type Definition<'a> = (&'a str, Type, Span);

impl<'a> Parser<'a> {
    pub(super) fn program(&mut self) -> Parsed<Program> {
        self.expect_word("program")?;
        self.expect(b'(')?;
        let version = self.version()?;
        self.expect(b')')?;
        let attributes = self.attributes()?;
        self.expect(b'{')?;
        let mut functions: Vec<Function> = vec![];
        let mut names = HashSet::new();
        while !self.at(b'}') {
            if self.current.kind == Kind::End {
                return self.unexpected("`func` or `}`");
            }
            match self.function(&mut names) {
                Ok(function) => functions.push(function),
                Err(Failed) => self.skip_to_function(),
            }
        }
        self.expect(b'}')?;
        self.eat(b';');
        if self.current.kind != Kind::End {
            return self.unexpected("the end of the text");
        }
        Ok(Program { version, attributes, functions })
    }

    fn version(&mut self) -> Parsed<String> {
        let text = self.slice(self.current.span);
        let mut parts = text.split('.');
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let valid = parts.next() == Some("1") && parts.next().is_none_or(digits);
        if !valid || parts.next().is_some() {
            return self.unexpected("a version such as `1.0` or `1.3`");
        }
        self.advance();
        Ok(text.to_owned())
    }

    /// `[key = value, …]`, if there is one.
    fn attributes(&mut self) -> Parsed<BTreeMap<String, Literal>> {
        let mut attributes = BTreeMap::new();
        if self.eat(b'[') {
            self.list(b']', |p| {
                let (key, span) = p.name("an attribute's name")?;
                p.expect(b'=')?;
                let value = p.value()?;
                if attributes.insert(key.to_owned(), value).is_some() {
                    p.report(span, format!("attribute `{key}` is given twice"));
                }
                Ok(())
            })?;
        }
        Ok(attributes)
    }

    fn function(&mut self, names: &mut HashSet<&'a str>) -> Parsed<Function> {
        self.expect_word("func")?;
        let (name, span) = self.name("a function's name")?;
        if !names.insert(name) {
            self.report(span, format!("function `{name}` is defined twice"));
        }
        self.expect(b'<')?;
        let (tag, span) = self.name("an operator set such as `ios18`")?;
        let opset = Opset::from_name(tag).unwrap_or_else(|| {
            let known = Opset::ALL.map(Opset::tag).join(", ");
            self.report(span, format!("unknown operator set `{tag}`; known are {known}"));
            Opset::Ios26
        });
        self.expect(b'>')?;
        let parameters = self.parameters()?;
        let attributes = self.attributes()?;
        let mut scope = Scope::default();
        let inputs = self.define(&mut scope, &parameters);
        let body = self.block(&mut scope, inputs);
        // References are reported even where the block breaks off.
        for (name, span) in std::mem::take(&mut scope.unresolved) {
            let message = match scope.defined.contains(name) {
                true => {
                    format!("`{name}` is used before its definition or outside the block it is in")
                }
                false => format!("unknown value `{name}`"),
            };
            if !scope.doubtful.contains(name) {
                self.report(span, message);
            }
        }
        let mut body = body?;
        self.eat(b';');
        let inputs = std::mem::take(&mut body.inputs);
        Ok(Function {
            name: name.to_owned(),
            opset,
            inputs,
            body,
            attributes,
            values: scope.values,
        })
    }

    /// `(type name, …)`.
    fn parameters(&mut self) -> Parsed<Vec<Definition<'a>>> {
        self.expect(b'(')?;
        let mut parameters = vec![];
        self.list(b')', |p| {
            let ty = p.ty()?;
            let (name, span) = p.name("a value's name")?;
            parameters.push((name, ty, span));
            Ok(())
        })?;
        Ok(parameters)
    }

    fn define(&mut self, scope: &mut Scope<'a>, definitions: &[Definition<'a>]) -> Vec<ValueId> {
        let mut ids = vec![];
        for (name, ty, span) in definitions {
            let id = ValueId(scope.values.len() as u32);
            scope.values.push(Value { name: (*name).to_owned(), ty: ty.clone() });
            scope.defined.insert(name);
            match scope.visible.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(id);
                }
                Entry::Occupied(_) => {
                    self.report(*span, format!("value `{name}` is defined twice"));
                }
            }
            ids.push(id);
        }
        ids
    }

    /// `{ statements } attributes -> (names)`; what it defines is not visible after it.
    fn block(&mut self, scope: &mut Scope<'a>, inputs: Vec<ValueId>) -> Parsed<Block> {
        let first = inputs.first().map_or(scope.values.len(), |id| id.index());
        let result = self.block_body(scope, inputs);
        for id in first..scope.values.len() {
            let name = scope.values[id].name.as_str();
            // A name that was there before the block stays what it was.
            if scope.visible.get(name) == Some(&ValueId(id as u32)) {
                scope.visible.remove(name);
            }
        }
        result
    }

    fn block_body(&mut self, scope: &mut Scope<'a>, inputs: Vec<ValueId>) -> Parsed<Block> {
        self.expect(b'{')?;
        let mut operations = vec![];
        while !self.at(b'}') {
            if self.current.kind == Kind::End {
                return self.unexpected("a statement or `}`");
            }
            let start = self.current.span.start;
            match self.statement(scope) {
                Ok(operation) => operations.push(operation),
                Err(Failed) => {
                    self.skip_statement();
                    let names = self.names_between(start, self.last_end);
                    scope.doubtful.extend(names);
                    if self.at_function() {
                        return Err(Failed);
                    }
                }
            }
        }
        self.expect(b'}')?;
        let attributes = self.attributes()?;
        self.expect_arrow()?;
        self.expect(b'(')?;
        let mut outputs = vec![];
        self.list(b')', |p| {
            let (name, span) = p.name("a value's name")?;
            outputs.extend(scope.resolve(name, span));
            Ok(())
        })?;
        Ok(Block { inputs, operations, outputs, attributes })
    }

    /// `type name, … = op(…)[…] block … ;`.
    fn statement(&mut self, scope: &mut Scope<'a>) -> Parsed<Operation> {
        let start = self.current.span.start;
        let results = self.results()?;
        let operation = self.call(scope);
        // The results are defined after the arguments are read: they cannot be among them. They
        // are defined even if the arguments make no sense, so that their uses are not reported.
        let outputs = self.define(scope, &results);
        let mut operation = operation?;
        operation.outputs = outputs;
        self.expect(b';')?;
        operation.span = Span { start, end: self.last_end };
        Ok(operation)
    }

    fn results(&mut self) -> Parsed<Vec<Definition<'a>>> {
        if self.current.kind == Kind::Name && self.next_is(b'(') {
            return Ok(vec![]);
        }
        let results = match self.at(b'(') {
            true => self.parameters()?,
            false => {
                let mut results = vec![];
                self.list(b'=', |p| {
                    let ty = p.ty()?;
                    let (name, span) = p.name("a value's name")?;
                    results.push((name, ty, span));
                    Ok(())
                })?;
                return Ok(results);
            }
        };
        self.expect(b'=')?;
        Ok(results)
    }

    /// `op(key = arg, …)[attributes] block …`.
    fn call(&mut self, scope: &mut Scope<'a>) -> Parsed<Operation> {
        let (name, span) = self.name("an op's name")?;
        let op = Op::from_name(name).unwrap_or_else(|| {
            self.report(span, format!("unknown op `{name}`"));
            Op::Const
        });
        self.expect(b'(')?;
        let mut inputs = BTreeMap::new();
        self.list(b')', |p| {
            let (key, span) = p.name("a parameter's name")?;
            p.expect(b'=')?;
            let arg = p.arg(scope)?;
            if inputs.insert(key.to_owned(), arg).is_some() {
                p.report(span, format!("parameter `{key}` is given twice"));
            }
            Ok(())
        })?;
        let attributes = self.attributes()?;
        let mut blocks = vec![];
        while self.at_word("block") && self.next_is(b'(') {
            blocks.push(self.nested(|p| {
                p.advance();
                let parameters = p.parameters()?;
                let inputs = p.define(scope, &parameters);
                p.block(scope, inputs)
            })?);
        }
        Ok(Operation { op, inputs, attributes, outputs: vec![], blocks, span: Span::default() })
    }

    fn arg(&mut self, scope: &mut Scope<'a>) -> Parsed<Arg> {
        if !self.eat(b'(') {
            return Ok(Arg::One(self.operand(scope)?));
        }
        let mut operands = vec![];
        self.list(b')', |p| {
            operands.push(p.operand(scope)?);
            Ok(())
        })?;
        Ok(Arg::Many(operands))
    }

    fn operand(&mut self, scope: &mut Scope<'a>) -> Parsed<Operand> {
        if self.at_type() {
            return Ok(Operand::Literal(self.value()?));
        }
        let (name, span) = self.name("a value's name or a constant such as `int32(1)`")?;
        // Without an id the program is refused in the end; any will do till then.
        Ok(Operand::Value(scope.resolve(name, span).unwrap_or(ValueId(0))))
    }

    fn at_function(&self) -> bool {
        self.at_word("func") && self.next.kind == Kind::Name
    }

    /// Goes past the next `;`, but not past what looks like the block's end.
    fn skip_statement(&mut self) {
        while self.current.kind != Kind::End && !self.at_function() {
            if self.at(b'}') && self.next.kind == Kind::Arrow {
                return;
            }
            if self.advance().kind == Kind::Punctuation(b';') {
                return;
            }
        }
    }

    fn skip_to_function(&mut self) {
        while self.current.kind != Kind::End && !self.at_function() {
            let token = self.advance();
            if token.kind == Kind::Punctuation(b'}') && self.current.kind == Kind::End {
                // That was the program's closing brace: nothing more is missing.
                self.put_back(token);
                return;
            }
        }
    }
}

impl<'a> Scope<'a> {
    fn resolve(&mut self, name: &'a str, span: Span) -> Option<ValueId> {
        let id = self.visible.get(name).copied();
        if id.is_none() {
            self.unresolved.push((name, span));
        }
        id
    }
}
