//! Building functions: every operation is checked and its result types inferred as it is added.

use crate::{
    Arg, Block, DataType, Env, Function, Literal, Op, OpError, Operation, Opset, Tensor,
    TensorType, Type, Value, ValueId,
};
use std::collections::{BTreeMap, HashMap};

/// Builds one function.
///
/// Constants are shared: asking twice for the same small constant gives the same value.
#[derive(Clone, Debug)]
pub struct FunctionBuilder {
    function: Function,
    /// Literals by value, so that inference sees constants.
    literals: Vec<Option<Literal>>,
    /// What `constexpr` operations gave.
    computed: Vec<ValueId>,
    /// How often each name stem was used.
    names: HashMap<String, usize>,
    /// Constants of at most [`SHARED_BYTES`] bytes, for sharing.
    shared: Vec<(Tensor, ValueId)>,
}

/// Larger constants are not compared for sharing.
const SHARED_BYTES: usize = 64;

impl FunctionBuilder {
    /// An empty function.
    pub fn new(name: &str, opset: Opset) -> FunctionBuilder {
        FunctionBuilder {
            function: Function {
                name: name.to_owned(),
                opset,
                inputs: vec![],
                body: Block::default(),
                attributes: BTreeMap::new(),
                values: vec![],
            },
            literals: vec![],
            computed: vec![],
            names: HashMap::new(),
            shared: vec![],
        }
    }

    /// Adds a parameter. Parameters keep their name; a second one of the same name gets a suffix.
    pub fn input(&mut self, name: &str, ty: impl Into<Type>) -> ValueId {
        let id = self.define(name, ty.into(), None);
        self.function.inputs.push(id);
        id
    }

    /// Adds an operation and gives its results.
    ///
    /// `name` is the stem of the results' names.
    pub fn operation<'n>(
        &mut self,
        op: Op,
        name: &str,
        inputs: impl IntoIterator<Item = (&'n str, Arg)>,
    ) -> Result<Vec<ValueId>, OpError> {
        let inputs = inputs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let mut operation = Operation {
            op,
            inputs,
            attributes: BTreeMap::new(),
            outputs: vec![],
            blocks: vec![],
            span: crate::Span::default(),
        };
        let types = crate::infer(&operation, self)?;
        operation.outputs = types.into_iter().map(|ty| self.define(name, ty, None)).collect();
        if op.is_constexpr() {
            self.computed.extend(&operation.outputs);
        }
        if let Some(&first) = operation.outputs.first() {
            let label = Tensor::string(&self.function.value(first).name);
            operation.attributes.insert("name".into(), label.into());
        }
        let outputs = operation.outputs.clone();
        self.function.body.operations.push(operation);
        Ok(outputs)
    }

    /// Adds an operation with one result.
    pub fn op<'n>(
        &mut self,
        op: Op,
        name: &str,
        inputs: impl IntoIterator<Item = (&'n str, Arg)>,
    ) -> Result<ValueId, OpError> {
        Ok(self.operation(op, name, inputs)?[0])
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, literal: impl Into<Literal>) -> ValueId {
        let literal = literal.into();
        if let Some(t) = literal.as_tensor()
            && t.bytes().len() <= SHARED_BYTES
        {
            if let Some((_, id)) = self.shared.iter().find(|(shared, _)| shared == t) {
                return *id;
            }
            let id = ValueId(self.function.values.len() as u32);
            self.shared.push((t.clone(), id));
        }
        let id = self.define(name, literal.ty(), Some(literal.clone()));
        let label = Tensor::string(&self.function.value(id).name).into();
        let attributes = BTreeMap::from([("name".to_owned(), label), ("val".to_owned(), literal)]);
        self.function.body.operations.push(Operation {
            op: Op::Const,
            inputs: BTreeMap::new(),
            attributes,
            outputs: vec![id],
            blocks: vec![],
            span: crate::Span::default(),
        });
        id
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &Type {
        self.function.ty(id)
    }

    /// The tensor type of a value.
    ///
    /// # Panics
    /// If the value is not a tensor.
    pub fn tensor_ty(&self, id: ValueId) -> &TensorType {
        self.ty(id).as_tensor().expect("the value is a tensor")
    }

    /// The dimensions of a tensor whose shape is fixed.
    ///
    /// # Panics
    /// If the value is not a tensor of fixed shape.
    pub fn dims(&self, id: ValueId) -> Vec<usize> {
        self.tensor_ty(id).fixed_dims().expect("the shape is fixed")
    }

    /// The element type of a tensor.
    ///
    /// # Panics
    /// If the value is not a tensor.
    pub fn dtype(&self, id: ValueId) -> DataType {
        self.tensor_ty(id).dtype
    }

    /// The name of a value.
    pub fn name(&self, id: ValueId) -> &str {
        &self.function.value(id).name
    }

    /// Gives a value a name of its own, such as that of an output. A taken name gets a suffix.
    pub fn rename(&mut self, id: ValueId, name: &str) {
        let name = self.unique(name);
        self.function.values[id.index()].name = name;
    }

    /// The finished function.
    pub fn finish(mut self, outputs: &[ValueId]) -> Function {
        self.function.body.outputs = outputs.to_vec();
        self.function
    }

    fn define(&mut self, name: &str, ty: Type, literal: Option<Literal>) -> ValueId {
        let name = self.unique(name);
        let id = ValueId(self.function.values.len() as u32);
        self.function.values.push(Value { name, ty });
        self.literals.push(literal);
        id
    }

    /// `name` itself the first time, then `name_1`, `name_2`, …
    fn unique(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        while self.names.contains_key(&candidate) {
            let count = self.names.entry(name.to_owned()).or_default();
            *count += 1;
            candidate = format!("{name}_{count}");
        }
        self.names.insert(candidate.clone(), 0);
        candidate
    }
}

impl Env for FunctionBuilder {
    fn ty(&self, id: ValueId) -> &Type {
        self.function.ty(id)
    }

    fn constant(&self, id: ValueId) -> Option<Tensor> {
        self.literals[id.index()].as_ref().and_then(Literal::as_tensor).cloned()
    }

    fn is_constant(&self, id: ValueId) -> bool {
        self.literals[id.index()].is_some() || self.computed.contains(&id)
    }
}
