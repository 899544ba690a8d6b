//! The flag `--loss-scale`.

use super::settings::Compute;
use models::Config;
use serde::{Deserialize, Serialize};
use train::loss_scale::{GROWTH_INTERVAL, LARGEST, LossScale, SMALLEST};

/// What the loss is multiplied by, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Nothing was asked for: dynamic for fp16, else none.
    Auto,
    /// Nothing.
    None,
    /// 256 for every layer.
    Static,
    /// That at first, then as it suits.
    Dynamic,
    /// This number.
    Fixed(f64),
}

impl Scale {
    /// What it means for a model.
    pub fn of(self, config: &Config, dtype: Compute) -> LossScale {
        let usual = LossScale::usual(config.layers);
        let dynamic = LossScale::Dynamic { initial: usual, growth_interval: GROWTH_INTERVAL };
        match self {
            Scale::Auto if dtype == Compute::Fp16 => dynamic,
            Scale::Auto | Scale::None => LossScale::None,
            Scale::Static => LossScale::Static(usual),
            Scale::Dynamic => dynamic,
            Scale::Fixed(scale) => LossScale::Static(scale as f32),
        }
    }

    /// Of runs from before there was a choice.
    pub fn none() -> Scale {
        Scale::None
    }

    /// Reads the flag.
    pub fn parse(text: &str) -> Result<Scale, String> {
        match text {
            "none" => Ok(Scale::None),
            "static" => Ok(Scale::Static),
            "dynamic" => Ok(Scale::Dynamic),
            number => match number.parse::<f64>() {
                Ok(v) if (f64::from(SMALLEST)..=f64::from(LARGEST)).contains(&v) => {
                    Ok(Scale::Fixed(v))
                }
                _ => Err(format!(
                    "it must be none, static, dynamic or a number from {SMALLEST} to {LARGEST}"
                )),
            },
        }
    }
}
