//! `adapter_config.json`, as the `peft` package writes it.
//!
//! Whatever would make an adapter compute something else is refused by name.

use super::{ALL_LINEAR, Lora};
use crate::hugging_face::keys::{flag, get, kind, number, size, text};
use crate::{Config, Error};
use serde_json::{Map, Value, json};

/// Keys that must be absent, `null`, `false` or empty.
const OTHER_METHODS: [&str; 22] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "corda_config",
    "ensure_weight_tying",
    "exclude_modules",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "qalora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// Ways to begin that leave the model's own weights as they are.
const BEGINNINGS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

impl Lora {
    /// The adapter that an `adapter_config.json` describes.
    ///
    /// # Errors
    /// If a key is missing or has another type, or asks for what is not offered.
    pub fn from_peft(json: &Value) -> Result<Lora, Error> {
        let Some(keys) = json.as_object() else {
            return Err(Error::config("adapter_config.json", kind(json), "it must be an object"));
        };
        let method = text(keys, "peft_type")?.ok_or(Error::Missing("peft_type"))?;
        if method != "LORA" {
            return Err(Error::config("peft_type", method, "only LORA is offered"));
        }
        refuse_other_methods(keys)?;
        let rank = size(keys, "r")?.unwrap_or(8);
        let lora = Lora {
            rank,
            alpha: number(keys, "lora_alpha")?.unwrap_or(8.0),
            rank_stabilized: flag(keys, "use_rslora")?.unwrap_or(false),
            dropout: number(keys, "lora_dropout")?.unwrap_or(0.0),
            targets: targets(keys)?,
        };
        lora.validate()?;
        Ok(lora)
    }

    /// The `adapter_config.json` for a base model, which is a folder or a name.
    ///
    /// # Errors
    /// If the adapter does not fit the model.
    pub fn to_peft(&self, config: &Config, base: &str) -> Result<Value, Error> {
        let mut targets: Vec<String> = vec![];
        for module in self.modules(config)? {
            // From the layer's number on, so that no other module is meant.
            let name = module.name.split('.').skip_while(|part| part.parse::<usize>().is_err());
            let name = name.skip(1).collect::<Vec<_>>().join(".");
            if !targets.contains(&name) {
                targets.push(name);
            }
        }
        // Whole numbers as such: they are what the package writes.
        let alpha = match self.alpha.fract() == 0.0 && self.alpha < 1e15 {
            true => json!(self.alpha as u64),
            false => json!(self.alpha),
        };
        Ok(json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": super::fan_in_fan_out(config),
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": alpha,
            "lora_dropout": self.dropout,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.rank_stabilized,
        }))
    }
}

fn targets(keys: &Map<String, Value>) -> Result<Vec<String>, Error> {
    const KEY: &str = "target_modules";
    let value = get(keys, KEY).ok_or(Error::Missing(KEY))?;
    let targets = match value {
        Value::String(one) if one == ALL_LINEAR => vec![one.clone()],
        Value::String(pattern) => {
            return Err(Error::config(KEY, pattern, "only a list of names is offered"));
        }
        Value::Array(names) => {
            let names: Option<Vec<String>> =
                names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            names.ok_or_else(|| Error::config(KEY, kind(value), "expected a list of names"))?
        }
        other => return Err(Error::config(KEY, kind(other), "expected a list of names")),
    };
    Ok(targets)
}

fn refuse_other_methods(keys: &Map<String, Value>) -> Result<(), Error> {
    for key in OTHER_METHODS {
        let harmless = match keys.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(items)) => items.is_empty(),
            Some(Value::String(text)) => text.is_empty(),
            Some(_) => false,
        };
        if !harmless {
            return Err(Error::config(key, kind(&keys[key]), "this is not offered"));
        }
    }
    if let Some(bias) = text(keys, "bias")?
        && bias != "none"
    {
        return Err(Error::config("bias", bias, "only none is offered"));
    }
    match keys.get("init_lora_weights") {
        None | Some(Value::Null | Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if BEGINNINGS.contains(&name.as_str()) => Ok(()),
        // Such an adapter belongs to weights that were changed with it.
        Some(other) => {
            Err(Error::config("init_lora_weights", kind(other), "this beginning is not offered"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Config {
        Config::preset("tiny").expect("the preset is there")
    }

    fn lora() -> Lora {
        Lora {
            rank: 4,
            alpha: 12.5,
            rank_stabilized: true,
            dropout: 0.1,
            targets: vec!["self_attn.q_proj".into(), "mlp.up_proj".into()],
        }
    }

    #[test]
    fn a_configuration_survives_the_way_there_and_back() {
        let json = lora().to_peft(&tiny(), "some/model").expect("it fits");
        assert_eq!(json["base_model_name_or_path"], "some/model");
        assert_eq!(Lora::from_peft(&json).expect("it is read"), lora());
        let whole = Lora { targets: vec![ALL_LINEAR.into()], alpha: 8.0, ..lora() };
        let json = whole.to_peft(&tiny(), "x").expect("it fits");
        assert_eq!(json["lora_alpha"], json!(8));
        assert_eq!(json["target_modules"].as_array().map(Vec::len), Some(7));
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let json = lora().to_peft(&tiny(), "x").expect("it fits");
        let cases = [
            ("peft_type", json!("IA3"), "`peft_type` is IA3; only LORA is offered"),
            ("use_dora", json!(true), "`use_dora` is true; this is not offered"),
            ("rank_pattern", json!({"q": 1}), "`rank_pattern` is an object; this is not offered"),
            ("modules_to_save", json!(["a"]), "`modules_to_save` is an array; this is not offered"),
            ("bias", json!("all"), "`bias` is all; only none is offered"),
            (
                "target_modules",
                json!(".*q"),
                "`target_modules` is .*q; only a list of names is offered",
            ),
            (
                "target_modules",
                json!([3]),
                "`target_modules` is an array; expected a list of names",
            ),
            ("target_modules", Value::Null, "`target_modules` is missing"),
            ("r", json!(-1), "`r` is -1; expected a count"),
            ("r", json!(0), "`r` is 0; the rank must be 1 or more"),
            (
                "init_lora_weights",
                json!("pissa"),
                "`init_lora_weights` is \"pissa\"; this beginning is not offered",
            ),
        ];
        for (key, value, expected) in cases {
            let mut json = json.clone();
            json[key] = value;
            assert_eq!(Lora::from_peft(&json).expect_err(key).to_string(), expected);
        }
    }
}
