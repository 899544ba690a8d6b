//! Low-rank adapters ([Hu et al., 2021]): y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ beside weights that stay.
//!
//! Names, initial values and the configuration file are those of the `peft` package.
//!
//! [Hu et al., 2021]: https://arxiv.org/abs/2106.09685

mod peft;

use crate::{Architecture, Config, Error, Init, Parameter, Role, parameters};
use mil::Function;
use passes::adapt::{self, Update};

/// The shape of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// Rows of A and columns of B, R.
    pub rank: usize,
    /// The update is multiplied by `alpha / rank`; see [`Lora::scale`].
    pub alpha: f64,
    /// Whether the update is multiplied by `alpha / √rank` instead ([Kalajdzievski, 2023]).
    ///
    /// [Kalajdzievski, 2023]: https://arxiv.org/abs/2312.03732
    pub rank_stabilized: bool,
    /// The probability with which an element of x is left out of the update while training.
    pub dropout: f64,
    /// The modules that are adapted, by the end of their names: `q_proj`, `self_attn.q_proj`; or
    /// one entry [`ALL_LINEAR`].
    pub targets: Vec<String>,
}

/// The target that stands for every matrix of every layer.
pub const ALL_LINEAR: &str = "all-linear";

/// What names of an adapter's parameters begin with.
const PREFIX: &str = "base_model.model.";

/// Which matrix of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// A, `[R, in]`: first.
    A,
    /// B, `[out, R]`: second; 0 at the start.
    B,
}

impl Matrix {
    /// The input of an adapted layer that it is, for the parameter `port`.
    pub fn input(self, port: &str) -> String {
        let update = Update { parameter: port.to_owned(), rank: 0, scale: 1.0, dropout: false };
        match self {
            Matrix::A => update.a(),
            Matrix::B => update.b(),
        }
    }
}

impl Lora {
    /// What the update is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }

    /// Checks that the numbers make sense.
    fn validate(&self) -> Result<(), Error> {
        if self.rank == 0 || self.rank > crate::config::LARGEST {
            return Err(Error::config("r", self.rank, "the rank must be 1 or more"));
        }
        crate::config::positive("lora_alpha", self.alpha)?;
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("lora_dropout", self.dropout, "it must be in [0, 1)"));
        }
        Ok(())
    }

    /// Whether a module is adapted; `name` is its whole name, without `.weight`.
    fn has(&self, name: &str) -> bool {
        self.targets.iter().any(|target| {
            target == ALL_LINEAR
                || name
                    .strip_suffix(target.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// The modules of every layer that are adapted.
    fn modules(&self, config: &Config) -> Result<Vec<Module>, Error> {
        self.validate()?;
        let mut modules = vec![];
        let (mut known, mut used) = (vec![], vec![false; self.targets.len()]);
        for parameter in parameters(config)? {
            let Role::Layer { index, port } = parameter.role else { continue };
            let (Some(name), &[rows, columns]) =
                (parameter.name.strip_suffix(".weight"), parameter.dims.as_slice())
            else {
                continue;
            };
            if index == 0 {
                known.push(name.rsplit('.').next().unwrap_or(name).to_owned());
            }
            for (target, used) in self.targets.iter().zip(&mut used) {
                *used |= Lora { targets: vec![target.clone()], ..self.clone() }.has(name);
            }
            if self.has(name) {
                let name = name.to_owned();
                let (input, output) = match fan_in_fan_out(config) {
                    false => (columns, rows),
                    true => (rows, columns),
                };
                modules.push(Module { index, port, name, input, output });
            }
        }
        if let Some(unused) = used.iter().position(|used| !used) {
            known.dedup();
            let expected =
                format!("no module is called so; there are {}, {ALL_LINEAR}", known.join(", "));
            return Err(Error::config("target_modules", &self.targets[unused], expected));
        }
        if modules.is_empty() {
            return Err(Error::config("target_modules", "empty", "name at least one module"));
        }
        Ok(modules)
    }

    /// The parameters of the adapter, in the order of the computation: A and B of every module.
    ///
    /// # Errors
    /// If a number is out of range, or a target is no module of the model.
    pub fn parameters(&self, config: &Config) -> Result<Vec<Parameter>, Error> {
        let modules = self.modules(config)?;
        let matrices = modules.iter().flat_map(|m| [(m, Matrix::A), (m, Matrix::B)]);
        let parameters = matrices.map(|(module, matrix)| {
            let Module { index, port, .. } = *module;
            let (letter, dims, init) = match matrix {
                // As `peft` has it: Kaiming's uniform distribution with a = √5.
                Matrix::A => {
                    let bound = 1.0 / (module.input as f64).sqrt();
                    ('A', vec![self.rank, module.input], Init::Uniform { bound })
                }
                Matrix::B => ('B', vec![module.output, self.rank], Init::Zeros),
            };
            Parameter {
                name: format!("{PREFIX}{}.lora_{letter}.weight", module.name),
                dims,
                role: Role::Adapter { index, port, matrix },
                decay: true,
                init,
            }
        });
        Ok(parameters.collect())
    }

    /// Adds the update to the weight that it belongs to: W += s·B·A, row-major; `weight` is
    /// `[out, in]`, or `[in, out]` in a model of GPT-2, `a` `[R, in]` and `b` `[out, R]`.
    ///
    /// # Panics
    /// If the sizes do not fit each other.
    pub fn merge(&self, config: &Config, weight: &mut [f32], a: &[f32], b: &[f32]) {
        let (width, scale) = (a.len() / self.rank, self.scale() as f32);
        let rows = b.len() / self.rank;
        assert_eq!(weight.len(), rows * width, "the sizes of the product of B and A");
        if fan_in_fan_out(config) {
            for (i, row) in weight.chunks_exact_mut(rows).enumerate() {
                for (w, b) in row.iter_mut().zip(b.chunks_exact(self.rank)) {
                    let a = a.iter().skip(i).step_by(width);
                    *w += scale * b.iter().zip(a).map(|(b, a)| b * a).sum::<f32>();
                }
            }
            return;
        }
        for (row, b) in weight.chunks_exact_mut(width).zip(b.chunks_exact(self.rank)) {
            for (b, a) in b.iter().zip(a.chunks_exact(width)) {
                let factor = scale * b;
                row.iter_mut().zip(a).for_each(|(w, a)| *w += factor * a);
            }
        }
    }

    /// A layer's function with the updates added, whose matrices are further inputs; see
    /// [`passes::adapt`]. With `training` the update is scaled and, if the adapter has dropout,
    /// there is an input for what is kept; without, B is taken to hold the scale.
    ///
    /// # Errors
    /// Those of [`Lora::parameters`], and if the function has no such products.
    pub fn adapt(
        &self,
        function: &Function,
        config: &Config,
        training: bool,
    ) -> Result<Function, Error> {
        let updates = self.updates(config, training)?;
        Ok(adapt::adapt(function, &updates)?)
    }

    /// What is added to a layer's function.
    fn updates(&self, config: &Config, training: bool) -> Result<Vec<Update>, Error> {
        let modules = self.modules(config)?;
        let first = modules.iter().filter(|module| module.index == 0);
        let updates = first.map(|module| Update {
            parameter: module.port.to_owned(),
            rank: self.rank,
            scale: if training { self.scale() } else { 1.0 },
            dropout: training && self.dropout > 0.0,
        });
        Ok(updates.collect())
    }
}

/// Whether weights lie `[in, out]`.
fn fan_in_fan_out(config: &Config) -> bool {
    config.architecture == Architecture::Gpt2
}

/// A matrix that is adapted.
struct Module {
    index: usize,
    port: &'static str,
    name: String,
    /// Elements of a row of what it is multiplied with, and of the result.
    input: usize,
    output: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation;

    fn lora(targets: &[&str]) -> Lora {
        let targets = targets.iter().map(|&t| t.to_owned()).collect();
        Lora { rank: 4, alpha: 8.0, rank_stabilized: false, dropout: 0.0, targets }
    }

    fn tiny() -> Config {
        Config { layers: 2, ..Config::preset("tiny").expect("the preset is there") }
    }

    #[test]
    fn names_and_dimensions_are_those_of_peft() {
        let config = tiny();
        let all = lora(&["q_proj", "mlp.down_proj"]).parameters(&config).expect("two modules");
        let found: Vec<(&str, &[usize])> =
            all.iter().map(|p| (p.name.as_str(), p.dims.as_slice())).take(4).collect();
        let layer = "base_model.model.model.layers.0";
        let names = ["self_attn.q_proj.lora_A", "self_attn.q_proj.lora_B"];
        let more = ["mlp.down_proj.lora_A", "mlp.down_proj.lora_B"];
        let names: Vec<String> =
            names.iter().chain(&more).map(|n| format!("{layer}.{n}.weight")).collect();
        let (d, h) = (config.dim, config.hidden);
        let dims: [&[usize]; 4] = [&[4, d], &[d, 4], &[4, h], &[d, 4]];
        assert_eq!(found, names.iter().map(String::as_str).zip(dims).collect::<Vec<_>>());
        assert_eq!(all.len(), 8);
        let whole = lora(&[ALL_LINEAR]).parameters(&config).expect("all modules");
        assert_eq!(whole.len(), 2 * 2 * 7);

        let activation = Activation::GeluTanh;
        let gpt2 = Config { kv_heads: 6, architecture: Architecture::Gpt2, activation, ..config };
        let all = lora(&["c_attn", "mlp.c_proj"]).parameters(&gpt2).expect("two modules");
        let dims: Vec<&[usize]> = all.iter().map(|p| p.dims.as_slice()).take(4).collect();
        assert_eq!(all[0].name, "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight");
        assert_eq!(dims, [&[4, d], &[3 * d, 4], &[4, h], &[d, 4]]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let config = tiny();
        let refused = |lora: Lora| lora.parameters(&config).expect_err("refused").to_string();
        assert_eq!(
            refused(lora(&["q_proj", "proj"])),
            "`target_modules` is proj; no module is called so; there are q_proj, k_proj, v_proj, \
             o_proj, gate_proj, up_proj, down_proj, all-linear"
        );
        let none = "`target_modules` is empty; name at least one module";
        assert_eq!(refused(lora(&[])), none);
        let zero = Lora { rank: 0, ..lora(&["q_proj"]) };
        assert_eq!(refused(zero), "`r` is 0; the rank must be 1 or more");
        let all = Lora { dropout: 1.0, ..lora(&["q_proj"]) };
        assert_eq!(refused(all), "`lora_dropout` is 1; it must be in [0, 1)");
        let alpha = Lora { alpha: f64::NAN, ..lora(&["q_proj"]) };
        assert_eq!(refused(alpha), "`lora_alpha` is NaN; it must be positive and finite");
        // The scale is single precision in every program.
        let alpha = Lora { alpha: 1e300, ..lora(&["q_proj"]) };
        let expected = "`lora_alpha` is 1e300; single precision must have such a number";
        assert_eq!(refused(alpha), expected);
    }

    #[test]
    fn the_scale_goes_with_the_rank() {
        assert_eq!(lora(&["q_proj"]).scale(), 2.0);
        assert_eq!(Lora { rank_stabilized: true, ..lora(&["q_proj"]) }.scale(), 4.0);
    }
}
