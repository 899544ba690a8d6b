//! A whole model, composed of the functions of the crate: embed, layer after layer, head, and
//! back through them.

use super::{Array, Evaluator, Named, call};
use mil::DataType;
use models::{Config, Layout, Role, Shape, parameters, rope_tables};
use passes::autodiff::{self, Recompute};

/// A model of one shape on one evaluator.
pub struct Model<'a> {
    pub config: Config,
    pub shape: Shape,
    /// How activations lie. Callers of this model give and get them token-major all the same.
    pub layout: Layout,
    /// The type of matrix products.
    pub compute: DataType,
    /// What backward functions compute again.
    pub recompute: Recompute,
    pub evaluate: Evaluator<'a>,
    /// Values by the inventory's names.
    pub parameters: Named,
}

impl Model<'_> {
    /// The logits of `tokens` `[T]`: `[T, V]`.
    pub fn logits(&self, tokens: &Array) -> Array {
        let embed =
            models::embed(&self.config, self.shape, self.layout, self.compute).expect("embed");
        let layer =
            models::layer(&self.config, self.shape, self.layout, self.compute).expect("layer");
        let logits = models::logits(&self.config, self.shape, self.compute).expect("logits");
        let mut x = self.call(&embed, self.outer(&[("tokens", tokens)])).remove("x").expect("x");
        for index in 0..self.config.layers {
            x = self.call(&layer, self.of_layer(index, &[("x", &x)])).remove("y").expect("y");
        }
        let x = self.token_major(&x);
        self.call(&logits, self.outer(&[("x", &x)])).remove("logits").expect("logits")
    }

    /// The loss, and the gradient of every parameter, by name.
    pub fn loss_and_gradients(
        &self,
        tokens: &Array,
        targets: &Array,
        weights: &Array,
    ) -> (f64, Named) {
        let embed =
            models::embed(&self.config, self.shape, self.layout, self.compute).expect("embed");
        let layer =
            models::layer(&self.config, self.shape, self.layout, self.compute).expect("layer");
        let head = models::head(&self.config, self.shape, self.layout, self.compute).expect("head");
        let embed_gradient = self.differentiate(&embed, &parameters_of(&embed));
        let layer_gradient = self.differentiate(&layer, &layer_inputs(&self.config));
        let head = autodiff::value_and_gradient(
            &head,
            &strings(&[&["x"], &*parameters_of(&head)].concat()),
        )
        .expect("the head can be differentiated");

        let mut x = self.call(&embed, self.outer(&[("tokens", tokens)])).remove("x").expect("x");
        let mut pools = vec![];
        for index in 0..self.config.layers {
            let mut pool = self.of_layer(index, &[("x", &x)]);
            let outputs = self.call(&layer_gradient.forward, pool.clone());
            x = outputs["y"].clone();
            pool.extend(outputs);
            pools.push(pool);
        }

        let mut gradients = Gradients { model: self, sums: Named::new() };
        let pool = self.outer(&[("x", &x), ("targets", targets), ("weights", weights)]);
        let outputs = self.call(&head, pool);
        gradients.add(None, &outputs);
        let mut dx = outputs["d_x"].clone();
        for (index, mut pool) in pools.into_iter().enumerate().rev() {
            pool.insert("d_y".into(), dx);
            let outputs = self.call(&layer_gradient.backward, pool);
            gradients.add(Some(index), &outputs);
            dx = outputs["d_x"].clone();
        }
        let pool = self.outer(&[("tokens", tokens), ("d_x", &dx)]);
        gradients.add(None, &self.call(&embed_gradient.backward, pool));
        (outputs["loss"].data[0], gradients.sums)
    }

    /// One layer forward and back: y, and the gradients of x (as `x`) and of every parameter.
    pub fn layer_gradient(&self, index: usize, x: &Array, dy: &Array) -> (Array, Named) {
        let layer =
            models::layer(&self.config, self.shape, self.layout, self.compute).expect("layer");
        let gradient = self.differentiate(&layer, &layer_inputs(&self.config));
        let mut pool = self.of_layer(index, &[("x", &self.in_layout(x))]);
        let outputs = self.call(&gradient.forward, pool.clone());
        let y = self.token_major(&outputs["y"]);
        pool.extend(outputs);
        pool.insert("d_y".into(), self.in_layout(dy));
        let outputs = self.call(&gradient.backward, pool);
        let mut gradients = Gradients { model: self, sums: Named::new() };
        gradients.add(Some(index), &outputs);
        gradients.sums.insert("x".into(), self.token_major(&outputs["d_x"]));
        (y, gradients.sums)
    }

    /// `[B, S, D]` as the layout has it.
    fn in_layout(&self, x: &Array) -> Array {
        let dims = self.layout.activations(&self.config, self.shape);
        match self.layout {
            Layout::TokenMajor => x.clone(),
            Layout::ChannelFirst => Array::new(&dims, transposed(&x.data, self.config.dim)),
        }
    }

    /// What the layout has as `[B, S, D]`.
    fn token_major(&self, x: &Array) -> Array {
        let dims = Layout::TokenMajor.activations(&self.config, self.shape);
        match self.layout {
            Layout::TokenMajor => x.clone(),
            Layout::ChannelFirst => Array::new(&dims, transposed(&x.data, self.shape.tokens())),
        }
    }

    fn differentiate(&self, function: &mil::Function, wrt: &[&str]) -> autodiff::Gradient {
        let options = autodiff::Options {
            wrt: strings(wrt),
            recompute: self.recompute,
            keep: match function.name.as_str() {
                "layer" => models::taps(&self.config, self.layout),
                _ => vec![],
            },
            repeat: match function.name.as_str() {
                "layer" => models::repeated(self.layout),
                _ => vec![],
            },
        };
        let gradient = autodiff::differentiate(function, &options);
        gradient.unwrap_or_else(|error| panic!("`{}`: {error}", function.name))
    }

    fn call(&self, function: &mil::Function, pool: Named) -> Named {
        call(self.evaluate, function, &pool)
    }

    /// Inputs of `embed`, `head` and `logits`: the parameters outside the layers, and these.
    fn outer(&self, more: &[(&str, &Array)]) -> Named {
        let mut pool = named(more);
        let positions = (0..self.shape.tokens()).map(|t| (t % self.shape.seq) as f64);
        let positions = Array::new(&[self.shape.tokens()], positions.collect());
        pool.insert("positions".into(), positions);
        for parameter in parameters(&self.config).expect("the configuration is valid") {
            let value = &self.parameters[&parameter.name];
            for port in ports(parameter.role, None, self.config.tied) {
                pool.insert(port.into(), value.clone());
            }
        }
        pool
    }

    /// Inputs of layer `index`: its parameters, the rotations, and these.
    pub fn of_layer(&self, index: usize, more: &[(&str, &Array)]) -> Named {
        let tables = rope_tables(&self.config, 0, self.shape.seq);
        let dims = [self.shape.seq, self.config.head_dim / 2];
        let mut pool = named(more);
        pool.insert("rope_cos".into(), Array::from_f32s(&dims, &tables.cos));
        pool.insert("rope_sin".into(), Array::from_f32s(&dims, &tables.sin));
        for parameter in parameters(&self.config).expect("the configuration is valid") {
            for port in ports(parameter.role, Some(index), self.config.tied) {
                pool.insert(port.into(), self.parameters[&parameter.name].clone());
            }
        }
        pool
    }
}

/// Gradients by parameter; what several inputs send back to one parameter is summed.
struct Gradients<'a> {
    model: &'a Model<'a>,
    sums: Named,
}

impl Gradients<'_> {
    /// Adds the outputs of a backward function, of layer `index` or of none.
    fn add(&mut self, index: Option<usize>, outputs: &Named) {
        for parameter in parameters(&self.model.config).expect("the configuration is valid") {
            for port in ports(parameter.role, index, self.model.config.tied) {
                let Some(part) = outputs.get(&format!("d_{port}")) else { continue };
                let sum = match self.sums.get(&parameter.name) {
                    Some(sum) => sum.plus(part),
                    None => part.clone(),
                };
                self.sums.insert(parameter.name.clone(), sum);
            }
        }
    }
}

/// The inputs that a parameter is, of the functions of layer `index` or of those outside.
fn ports(role: Role, index: Option<usize>, tied: bool) -> Vec<&'static str> {
    match (role, index) {
        (Role::Layer { index: own, port }, Some(index)) if own == index => vec![port],
        (_, None) => role.outer_ports(tied).to_vec(),
        _ => vec![],
    }
}

/// The inputs of a function outside the layers that are parameters.
fn parameters_of(function: &mil::Function) -> Vec<&str> {
    let names = function.inputs.iter().map(|&id| function.value(id).name.as_str());
    let given = ["tokens", "positions", "x", "targets", "weights"];
    names.filter(|name| !given.contains(name)).collect()
}

/// What a layer's backward function is wanted for: x and every parameter.
fn layer_inputs(config: &Config) -> Vec<&'static str> {
    let all = parameters(config).expect("the configuration is valid");
    let ports = all.iter().flat_map(|p| ports(p.role, Some(0), config.tied));
    ["x"].into_iter().chain(ports).collect()
}

/// A matrix of so many columns with rows and columns exchanged.
fn transposed(data: &[f64], columns: usize) -> Vec<f64> {
    let rows = data.len() / columns;
    (0..data.len()).map(|i| data[i % rows * columns + i / rows]).collect()
}

fn named(arrays: &[(&str, &Array)]) -> Named {
    arrays.iter().map(|&(name, array)| (name.to_owned(), array.clone())).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
