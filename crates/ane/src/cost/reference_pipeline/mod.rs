//! The pipeline that the published training figures were measured with: maderix/ANE.
//!
//! It compiles ten kernels once and gives weights beside the activations; what stands between
//! them runs on one thread of the host. Described here from its documentation and from what its
//! kernels take and give; their bytes are compared with the published ones in the tests. It is
//! here to calibrate the cost model, and for nothing else.
//!
//! D dim, F hidden, Q heads·head_dim, K kv_heads·head_dim, S tokens, P heads·S.

mod attention;
mod benchmarks;
mod products;

use super::{HostWork, KernelCost, Profile, StepPlan, kernel_cost};
use attention::{score_gradients, sdpa_backward, sdpa_forward, static_attention};
pub use benchmarks::{conv_chain, packed_product, single_conv, square_product};
use mil::{Function, OpError};
use products::{ffn_backward, ffn_forward, product, products_sum, static_ffn};

/// The sizes of a model that the pipeline trains, one sequence a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Width of the residual stream, D.
    pub dim: usize,
    /// Width of the feed-forward part, F.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens, S.
    pub seq: usize,
    /// Layers.
    pub layers: usize,
    /// Rows of the classifier: tokens that occur in the data.
    pub active_vocab: usize,
}

impl Sizes {
    /// Stories110M.
    pub const STORIES: Sizes = Sizes {
        dim: 768,
        hidden: 2048,
        heads: 12,
        kv_heads: 12,
        head_dim: 64,
        seq: 256,
        layers: 12,
        active_vocab: 9205,
    };
    /// Qwen3-0.6B.
    pub const QWEN: Sizes = Sizes {
        dim: 1024,
        hidden: 3072,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        seq: 256,
        layers: 28,
        active_vocab: 9205,
    };
    /// The model of AutoANE's seventh experiment.
    pub const AUTO: Sizes = Sizes {
        dim: 1024,
        hidden: 2816,
        heads: 16,
        kv_heads: 4,
        head_dim: 64,
        seq: 256,
        layers: 4,
        active_vocab: 9205,
    };

    /// Channels of the queries, Q.
    pub fn q(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of the keys, K.
    pub fn k(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Channels of the scores, P.
    pub fn scores(&self) -> usize {
        self.heads * self.seq
    }

    /// Weights of a layer that products read.
    fn layer_weights(&self) -> usize {
        2 * self.dim * (self.q() + self.k()) + 3 * self.dim * self.hidden
    }
}

/// The three kernels of a layer's forward pass.
///
/// # Errors
/// If the sizes do not fit each other.
pub fn forward_kernels(s: &Sizes) -> Result<Vec<Function>, OpError> {
    Ok(vec![sdpa_forward(s)?, product("woFwd", s.q(), s.dim, s.seq)?, ffn_forward(s)?])
}

/// The seven kernels of its backward pass.
///
/// # Errors
/// If the sizes do not fit each other.
pub fn backward_kernels(s: &Sizes) -> Result<Vec<Function>, OpError> {
    Ok(vec![
        product("ffnBwdW2t", s.dim, s.hidden, s.seq)?,
        ffn_backward(s)?,
        product("wotBwd", s.dim, s.q(), s.seq)?,
        sdpa_backward(s)?,
        score_gradients(s)?,
        product("qBwd", s.q(), s.dim, s.seq)?,
        products_sum("kvBwd", s.k(), s.dim, s.seq)?,
    ])
}

/// The two kernels of the older forward pass, whose weights are constants.
///
/// # Errors
/// If the sizes do not fit each other.
pub fn static_forward_kernels(s: &Sizes) -> Result<Vec<Function>, OpError> {
    Ok(vec![static_attention(s)?, static_ffn(s)?])
}

/// Costs of kernels that are evaluated once a layer.
pub(super) fn costs(
    kernels: &[Function],
    profile: &Profile,
) -> Result<Vec<KernelCost>, super::Error> {
    kernels.iter().map(|kernel| kernel_cost(kernel, profile)).collect()
}

/// A step of the pipeline, without the update, which is not in the published times.
///
/// # Errors
/// If the sizes do not fit each other.
pub fn step(s: &Sizes, profile: &Profile) -> Result<StepPlan, super::calibration::Error> {
    let mut plan = StepPlan::default();
    for (kernels, backward) in [(forward_kernels(s)?, false), (backward_kernels(s)?, true)] {
        for cost in costs(&kernels, profile)? {
            plan.add_kernel(cost, s.layers, backward);
        }
    }
    for (work, backward) in host_work(s) {
        plan.add_host(work, 1, backward);
    }
    for work in late_work(s) {
        plan.add_late(work, 1);
    }
    Ok(plan)
}

/// What one thread of the host does in a step, with whether that is after the forward pass. All
/// of it waits for the engine, and the engine for it.
pub fn host_work(s: &Sizes) -> Vec<(HostWork, bool)> {
    let (d, f, q, k) = (s.dim as f64, s.hidden as f64, s.q() as f64, s.k() as f64);
    let (tokens, layers) = (s.seq as f64, s.layers as f64);
    let named = |name: &str| HostWork { name: name.into(), ..HostWork::default() };
    // A conversion reads or writes four bytes on one side and two on the other.
    let convert = |channels: f64| channels * tokens * layers * 6.0;
    let norm = |times: f64| d * tokens * times * NORM_PASSES * 12.0;
    let vocab = s.active_vocab as f64;
    let logits = vocab * tokens;
    let pairs = (q + k) / 2.0 * tokens * layers;
    vec![
        (
            HostWork {
                converted_bytes: convert(d + 2.0 * q + 2.0 * k + q + d + 2.0 * d + d + 3.0 * f),
                ..named("surfaces, forward")
            },
            false,
        ),
        (HostWork { bytes: norm(2.0 * layers + 1.0), ..named("norms, forward") }, false),
        (
            HostWork {
                product_flops: 4.0 * d * logits,
                functions: logits,
                bytes: LOSS_PASSES * 4.0 * logits,
                ..named("classifier and loss")
            },
            false,
        ),
        (
            HostWork {
                converted_bytes: convert(
                    // Both sides of the kernels in their order; keys and values are repeated for
                    // the query heads that share them.
                    (d + f)
                        + (2.0 * f + d)
                        + (d + q)
                        + 4.0 * q
                        + (2.0 * q + 3.0 * q)
                        + (q + d)
                        + (2.0 * k + d),
                ),
                bytes: 2.0 * s.scores() as f64 * tokens * layers * 4.0,
                ..named("surfaces, backward")
            },
            true,
        ),
        (
            HostWork {
                bytes: SILU_PASSES * 12.0 * f * tokens * layers,
                functions: f * tokens * layers,
                ..named("gate, backward")
            },
            true,
        ),
        (HostWork { bytes: norm(2.0 * layers + 1.0), ..named("norms, backward") }, true),
        (
            HostWork {
                functions: SCALAR * pairs,
                bytes: 16.0 * pairs,
                ..named("rotation, backward")
            },
            true,
        ),
        (
            HostWork {
                bytes: 8.0 * tokens * layers * (4.0 * d + 3.0 * f + 2.0 * q + 2.0 * k),
                ..named("copies for weight gradients")
            },
            true,
        ),
    ]
}

/// What a queue of its own does beside the backward pass.
pub fn late_work(s: &Sizes) -> Vec<HostWork> {
    let tokens = s.seq as f64;
    let weights = (s.layer_weights() * s.layers + s.active_vocab * s.dim) as f64;
    vec![HostWork {
        name: "weight gradients".into(),
        product_flops: 2.0 * weights * tokens,
        ..HostWork::default()
    }]
}

/// Passes over memory of a norm, each reading two operands and writing one: square, sum, scale,
/// weight, and the like backward.
const NORM_PASSES: f64 = 3.0;
/// The same of the derivative of the gate, one pass for every vector call.
const SILU_PASSES: f64 = 8.0;
/// Passes over the logits with strides between the elements of a token, each fetching a cache
/// line for a few numbers: maximum, exponential, sum, scale, gradient.
const LOSS_PASSES: f64 = 20.0;
/// The rotation is a scalar loop that computes sine and cosine anew: one turn of it is as long as
/// this many functions of a vector call.
const SCALAR: f64 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;
    use mil::Program;

    /// Bytes of input and output as the pipeline's documentation gives them.
    const PUBLISHED: [(&str, [usize; 2], [usize; 2]); 10] = [
        ("sdpaFwd", [3_932_160, 1_966_080], [8_912_896, 3_670_016]),
        ("woFwd", [1_572_864, 393_216], [5_242_880, 524_288]),
        ("ffnFused", [10_223_616, 3_538_944], [19_922_944, 5_242_880]),
        ("ffnBwdW2t", [3_538_944, 1_048_576], [6_815_744, 1_572_864]),
        ("ffnBwdW13t", [8_388_608, 393_216], [15_728_640, 524_288]),
        ("wotBwd", [1_572_864, 393_216], [4_718_592, 1_048_576]),
        ("sdpaBwd1", [1_572_864, 3_538_944], [4_194_304, 5_242_880]),
        ("sdpaBwd2", [3_932_160, 786_432], [6_291_456, 2_097_152]),
        ("qBwd", [1_572_864, 393_216], [5_242_880, 524_288]),
        ("kvBwd", [3_145_728, 393_216], [5_242_880, 524_288]),
    ];

    #[test]
    fn kernels_are_valid_and_take_and_give_the_published_bytes() {
        let profile = Profile::of(crate::target::Chip::M4);
        for (model, sizes) in [Sizes::STORIES, Sizes::QWEN].iter().enumerate() {
            let mut kernels = forward_kernels(sizes).unwrap();
            kernels.extend(backward_kernels(sizes).unwrap());
            for (kernel, (name, stories, qwen)) in kernels.iter().zip(PUBLISHED) {
                assert_eq!(mil::verify(&Program::new(vec![kernel.clone()])), Ok(()));
                let cost = kernel_cost(kernel, profile).unwrap();
                let expected = if model == 0 { stories } else { qwen }.map(|b| b as f64);
                assert_eq!(kernel.name, name);
                assert_eq!([cost.input_bytes, cost.output_bytes], expected, "{name}");
            }
        }
    }

    #[test]
    fn static_kernels_take_and_give_the_published_bytes() {
        let profile = Profile::of(crate::target::Chip::M4);
        let kernels = static_forward_kernels(&Sizes::STORIES).unwrap();
        let costs = costs(&kernels, profile).unwrap();
        let bytes = costs.iter().map(|c| [c.input_bytes, c.output_bytes]).collect::<Vec<_>>();
        assert_eq!(bytes, [[393_216.0, 2_359_296.0], [393_216.0, 3_932_160.0]]);
        // Forward products of all layers: 43,487 million operations, as the pipeline counts them,
        // and scores of 12 heads of 256 × 256 × 64 twice, in each layer.
        let products = |c: &KernelCost| -> f64 {
            let products = c.operations.iter().filter(|o| o.kind == super::super::Kind::Product);
            products.map(|o| o.flops).sum()
        };
        let flops: f64 = costs.iter().map(products).sum::<f64>() * 12.0;
        let scores = 12.0 * 12.0 * 2.0 * 2.0 * 256.0 * 256.0 * 64.0;
        assert!((flops - scores - 43_487e6).abs() < 1e6, "{flops}");
    }
}
