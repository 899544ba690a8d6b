//! `anemone bench int8`.

use super::Common;
use super::report::{self, Report, Row};
use super::sample::{Spread, seconds};
use clap::{Args, ValueEnum};
use cpu::CpuDevice;

use mil::{
    BlobRef, BlobWriter, DataType, Function, FunctionBuilder, Literal, Op, OpError, Opset, Program,
    Tensor, Type, ValueId, Weights,
};
use runtime::{Accumulation, Bindings, CompileOptions, Device, Request};
use std::io::Cursor;
use surface::Surface;
use train::rng::Rng;

/// Time a chain of convolutions in 16 bits and in bytes, and compare their accuracy.
///
/// The chain is 1x1 convolutions of as many channels on a square of pixels, one after the other:
/// once with fp16 weights and activations, once with weights stored in 8 bits, a scale for each
/// output channel, and activations quantized between the layers with a scale for each layer,
/// which the same numbers in fp32 have shown to fit (W8A8). Both are programs with weight files,
/// run in turn; accuracy is measured against the chain in fp32.
#[derive(Debug, Args)]
pub struct Int8 {
    /// Convolutions of a chain; several chains are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [128, 64], value_parser = clap::value_parser!(u16).range(1..=1024))]
    layers: Vec<u16>,
    /// Channels
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=4096))]
    channels: u16,
    /// Pixels along each side
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    size: u16,
    /// Element type of activations between the layers
    #[arg(long, value_enum, value_name = "TYPE", default_value = "int8")]
    activations: Byte,
    /// How often each chain is timed
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    repeat: u16,
    #[command(flatten)]
    common: Common,
}

/// Bytes with and without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Byte {
    Int8,
    Uint8,
}

impl Byte {
    fn dtype(self) -> DataType {
        match self {
            Byte::Int8 => DataType::Int8,
            Byte::Uint8 => DataType::Uint8,
        }
    }

    /// What 0 becomes.
    fn zero(self) -> i64 {
        match self {
            Byte::Int8 => 0,
            Byte::Uint8 => 128,
        }
    }
}

/// A chain in fp32, with what it takes to quantize it.
struct Chain {
    channels: usize,
    size: usize,
    x: Vec<f32>,
    /// Of every layer `[out, in]`, scaled so that its results are about 1 in size.
    weights: Vec<Vec<f32>>,
    /// Of every layer the largest magnitude that goes in.
    largest: Vec<f32>,
    /// What comes out.
    y: Vec<f32>,
}

/// Where the programs' weights are.
const FILE: &str = "@model_path/weights/weight.bin";

impl Int8 {
    /// Measures and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let team = self.common.team()?;
        let mut report = Report::new("int8", team.threads());
        report.setting("channels", self.channels);
        report.setting("size", self.size);
        report.setting("activations", self.activations.dtype().name());
        report.peaks = report::arithmetic_peaks(&team);
        drop(team);
        let device = CpuDevice::new(self.common.threads())?;
        report.setting("device", device.describe());
        for &layers in &self.layers {
            let size = (usize::from(self.channels), usize::from(self.size));
            let chain = Chain::new(&device, usize::from(layers), size)?;
            self.measure(&device, &chain, &mut report)?;
        }
        report.print(self.common.json)
    }

    fn measure(
        &self,
        device: &CpuDevice,
        chain: &Chain,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (mut half, half_y) = chain.bind(device, chain.half()?)?;
        let (mut bytes, bytes_y) = chain.bind(device, chain.bytes(self.activations)?)?;
        let (mut a, mut b) = (vec![], vec![]);
        // The first round warms caches, threads and the clock.
        for round in 0..=self.repeat {
            let mut failed = None;
            let mut time = |request: &mut Box<dyn Request>| {
                seconds(1, || {
                    failed = failed.take().or(request.evaluate(Accumulation::Replace).err())
                })
            };
            let times = (time(&mut half), time(&mut bytes));
            if let Some(error) = failed {
                return Err(error.into());
            }
            if round > 0 {
                a.push(times.0);
                b.push(times.1);
            }
        }
        let pixels = chain.size * chain.size;
        let layers = chain.weights.len();
        let operations = 2.0 * (layers * pixels * chain.channels * chain.channels) as f64;
        let kernel = cpu::gemm::int8::kernel_name(cpu::isa::Isa::detect()?);
        let names = [("fp16", &a, "fp32", None), ("w8a8", &b, "int8", Some(kernel))];
        for (name, times, peak, kernel) in names {
            let spread = Spread::of(times);
            let title = format!("{layers} convolutions {name}");
            report.rows.push(Row::new(title.clone(), "ms", spread.map(|s| s * 1e3)));
            let rate = Row::new(title, "GOP/s", spread.map(|s| operations / s / 1e9));
            report.rows.push(rate.share_of(&report.peaks, peak).kernels(kernel));
        }
        let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a / b).collect();
        let name = format!("{layers} convolutions speed-up");
        report.rows.push(Row::new(name, "x", Spread::of(&ratios)));
        for (name, surface) in [("fp16", half_y), ("w8a8", bytes_y)] {
            let reading = surface.read()?;
            let tensor = Tensor::from_bytes(DataType::Fp16, &[chain.y.len()], reading.to_vec())?;
            let (signal_to_noise, most) = accuracy(&tensor.to_f64s(), &chain.y);
            let title = format!("{layers} convolutions {name}");
            report.rows.push(Row::single(
                format!("{title} signal to noise"),
                "dB",
                signal_to_noise,
            ));
            let row = Row::single(format!("{title} largest error"), "", most);
            report.rows.push(row);
        }
        Ok(())
    }
}

/// Signal to noise in dB, and the largest error, which results of about 1 in size are to be held
/// against.
fn accuracy(found: &[f64], expected: &[f32]) -> (f64, f64) {
    let (mut signal, mut noise, mut most) = (0.0, 0.0, 0f64);
    for (found, &expected) in found.iter().zip(expected) {
        let error = (found - f64::from(expected)).abs();
        signal += f64::from(expected).powi(2);
        noise += error * error;
        most = most.max(error);
    }
    (10.0 * (signal / noise.max(1e-300)).log10(), most)
}

impl Chain {
    /// Makes a chain of random weights, layer by layer.
    fn new(
        device: &CpuDevice,
        layers: usize,
        (channels, size): (usize, usize),
    ) -> anyhow::Result<Chain> {
        let mut random = Rng::new(7);
        let mut x = vec![0.0; channels * size * size];
        random.fill_normal(&mut x, 1.0);
        let mut chain = Chain { channels, size, weights: vec![], largest: vec![], y: x.clone(), x };
        let dims = chain.dims();
        let mut b = FunctionBuilder::new("layer", Opset::Ios18);
        let input = b.input("x", Type::tensor(DataType::Fp32, &dims));
        let weight = b.input("w", Type::tensor(DataType::Fp32, &[channels, channels, 1, 1]));
        let y = conv(&mut b, input, weight)?;
        b.rename(y, "y");
        let program = Program::new(vec![b.finish(&[y])]);
        let executable = device.compile(&program, "layer", &CompileOptions::default())?;
        let from = Surface::from_slice(&chain.y)?;
        let to = Surface::new(chain.y.len() * 4)?;
        let w = Surface::new(channels * channels * 4)?;
        let bindings = Bindings::new().input("x", &from).input("w", &w).output("y", &to);
        let mut request = executable.bind(bindings)?;
        for _ in 0..layers {
            let mut weights = vec![0.0; channels * channels];
            random.fill_normal(&mut weights, 1.0 / (channels as f32).sqrt());
            chain.largest.push(chain.y.iter().fold(0.0, |m, y| m.max(y.abs())));
            from.write()?.as_mut_slice::<f32>().copy_from_slice(&chain.y);
            w.write()?.as_mut_slice::<f32>().copy_from_slice(&weights);
            request.evaluate(Accumulation::Replace)?;
            chain.y.copy_from_slice(to.read()?.as_slice::<f32>());
            let squares: f64 = chain.y.iter().map(|&y| f64::from(y).powi(2)).sum();
            let deviation = (squares / chain.y.len() as f64).sqrt().max(1e-6) as f32;
            weights.iter_mut().for_each(|w| *w /= deviation);
            chain.y.iter_mut().for_each(|y| *y /= deviation);
            chain.weights.push(weights);
        }
        Ok(chain)
    }

    fn dims(&self) -> [usize; 4] {
        [1, self.channels, self.size, self.size]
    }

    /// The chain in fp16.
    fn half(&self) -> anyhow::Result<(Function, Weights)> {
        let mut writer = BlobWriter::in_memory();
        let mut b = FunctionBuilder::new("chain", Opset::Ios18);
        let mut x = b.input("x", Type::tensor(DataType::Fp16, &self.dims()));
        let dims = [self.channels, self.channels, 1, 1];
        for weights in &self.weights {
            let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
            let tensor = Tensor::from_f64s(DataType::Fp16, &dims, &weights)?;
            let weight = stored(&mut b, &mut writer, &tensor)?;
            x = conv(&mut b, x, weight)?;
        }
        b.rename(x, "y");
        Ok((b.finish(&[x]), Weights::in_memory([(FILE, writer.into_bytes()?)])))
    }

    /// The chain in bytes.
    fn bytes(&self, byte: Byte) -> anyhow::Result<(Function, Weights)> {
        let mut writer = BlobWriter::in_memory();
        let mut b = FunctionBuilder::new("chain", Opset::Ios18);
        let mut x = b.input("x", Type::tensor(DataType::Fp16, &self.dims()));
        let channels = self.channels;
        for (weights, &largest) in self.weights.iter().zip(&self.largest) {
            let scale = b.float(DataType::Fp16, f64::from(largest) / 127.0);
            let zero = Tensor::from_i64s(byte.dtype(), &[], &[byte.zero()])?;
            let zero = b.constant("zero", zero);
            let dtype = b.string(byte.dtype().name());
            let arguments = [
                ("input", x.into()),
                ("scale", scale.into()),
                ("zero_point", zero.into()),
                ("output_dtype", dtype.into()),
            ];
            let q = b.op(Op::Quantize, "q", arguments)?;
            let arguments =
                [("input", q.into()), ("scale", scale.into()), ("zero_point", zero.into())];
            x = b.op(Op::Dequantize, "d", arguments)?;

            let largest = |row: &[f32]| row.iter().fold(0f32, |m, w| m.max(w.abs()));
            let scales: Vec<f64> =
                weights.chunks(channels).map(|row| f64::from(largest(row)) / 127.0).collect();
            let scales = Tensor::from_f64s(DataType::Fp16, &[channels], &scales)?;
            // The scales as they are stored.
            let steps = scales.to_f64s();
            let quantized: Vec<i64> = weights
                .iter()
                .enumerate()
                .map(|(i, &w)| {
                    let step = steps[i / channels].max(1e-9);
                    (f64::from(w) / step).round_ties_even().clamp(-127.0, 127.0) as i64
                })
                .collect();
            let dims = [channels, channels, 1, 1];
            let data = Tensor::from_i64s(DataType::Int8, &dims, &quantized)?;
            let data = stored(&mut b, &mut writer, &data)?;
            let scales = stored(&mut b, &mut writer, &scales)?;
            let zero = b.constant("zero", Tensor::from_i64s(DataType::Int8, &[], &[0])?);
            let axis = b.int(0);
            let arguments = [
                ("quantized_data", data.into()),
                ("zero_point", zero.into()),
                ("scale", scales.into()),
                ("axis", axis.into()),
            ];
            let weight = b.op(Op::ConstexprAffineDequantize, "w", arguments)?;
            x = conv(&mut b, x, weight)?;
        }
        b.rename(x, "y");
        Ok((b.finish(&[x]), Weights::in_memory([(FILE, writer.into_bytes()?)])))
    }

    /// Compiles and binds a chain; gives what it writes.
    fn bind(
        &self,
        device: &CpuDevice,
        (function, weights): (Function, Weights),
    ) -> anyhow::Result<(Box<dyn Request>, Surface)> {
        let program = Program::new(vec![function]);
        let options = CompileOptions { weights, ..CompileOptions::default() };
        let executable = device.compile(&program, "chain", &options)?;
        let x: Vec<f64> = self.x.iter().map(|&x| f64::from(x)).collect();
        let x = Tensor::from_f64s(DataType::Fp16, &self.dims(), &x)?;
        let (x, y) = (Surface::from_slice(x.bytes())?, Surface::new(self.y.len() * 2)?);
        let request = executable.bind(Bindings::new().input("x", &x).output("y", &y))?;
        Ok((request, y))
    }
}

/// A constant in the weight file.
fn stored(
    b: &mut FunctionBuilder,
    writer: &mut BlobWriter<Cursor<Vec<u8>>>,
    tensor: &Tensor,
) -> anyhow::Result<ValueId> {
    let offset = writer.push(tensor)?;
    let (dtype, dims, path) = (tensor.dtype(), tensor.dims().to_vec(), FILE.to_owned());
    Ok(b.constant("stored", Literal::Blob(BlobRef { dtype, dims, path, offset })))
}

fn conv(b: &mut FunctionBuilder, x: ValueId, weight: ValueId) -> Result<ValueId, OpError> {
    let (ones, zeros) = (b.ints(&[1, 1]), b.ints(&[0, 0, 0, 0]));
    let (valid, groups) = (b.string("valid"), b.int(1));
    let arguments = [
        ("x", x.into()),
        ("weight", weight.into()),
        ("strides", ones.into()),
        ("dilations", ones.into()),
        ("pad", zeros.into()),
        ("pad_type", valid.into()),
        ("groups", groups.into()),
    ];
    b.op(Op::Conv, "conv", arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_computed_as_bytes_and_lose_what_their_steps_say() -> anyhow::Result<()> {
        let device = CpuDevice::new(Some(2))?;
        let chain = Chain::new(&device, 3, (24, 5))?;
        for byte in [Byte::Int8, Byte::Uint8] {
            let (function, weights) = chain.bytes(byte)?;
            let program = Program::new(vec![function]);
            let options = CompileOptions { weights, ..CompileOptions::default() };
            let placement = device.compile(&program, "chain", &options)?.placement();
            let integer = |op: &str| {
                let here = placement.iter().filter(|p| p.op == op);
                here.filter(|p| p.place == "cpu: integer matrix product").count()
            };
            // All three; two do the quantization behind them as well.
            assert_eq!([integer("conv"), integer("quantize")], [3, 2], "{placement:?}");

            let (mut request, y) = chain.bind(&device, chain.bytes(byte)?)?;
            request.evaluate(Accumulation::Replace)?;
            let found = Tensor::from_bytes(DataType::Fp16, &[600], y.read()?.to_vec())?;
            let (bytes, _) = accuracy(&found.to_f64s(), &chain.y);
            // Six roundings to steps of about 1/40 of the deviation are 30 dB and more.
            assert!(bytes > 28.0, "{bytes} dB with {byte:?}");
        }
        let (mut request, y) = chain.bind(&device, chain.half()?)?;
        request.evaluate(Accumulation::Replace)?;
        let found = Tensor::from_bytes(DataType::Fp16, &[600], y.read()?.to_vec())?;
        let (half, _) = accuracy(&found.to_f64s(), &chain.y);
        assert!(half > 55.0, "{half} dB");
        Ok(())
    }
}
