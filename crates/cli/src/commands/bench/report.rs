//! What a benchmark prints: a table for people, one JSON object for machines.

use super::sample::Spread;
use cpu::measure::{Arithmetic, Memory, Traffic};
use cpu::team::Team;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;

/// Everything that one run has measured.
pub struct Report {
    /// The word behind `anemone bench`.
    pub bench: &'static str,
    /// Threads.
    pub threads: usize,
    /// What was measured with: model, element type, shape and so on.
    pub settings: Map<String, Value>,
    /// What the machine does at most.
    pub peaks: Vec<Peak>,
    /// The figures.
    pub rows: Vec<Row>,
    /// Sentences below the table.
    pub notes: Vec<String>,
    /// What has another form than figures.
    pub tables: Vec<Table>,
}

/// Lines that are not figures with a spread.
pub struct Table {
    /// Its key in the JSON object.
    pub name: &'static str,
    /// For machines.
    pub rows: Vec<Value>,
    /// For people.
    pub text: String,
}

/// What the machine does at most, with the threads of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Peak {
    /// `fp32`, `bf16`, `int8`, `read`, `copy` or `triad`.
    pub name: &'static str,
    /// The instruction, or what is done to memory.
    pub what: String,
    /// The best of several short bursts.
    pub value: f64,
    /// `GFLOP/s`, `GOP/s` or `GB/s`.
    pub unit: &'static str,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The value in the middle, the ends, and how many.
    #[serde(flatten)]
    pub spread: Spread,
    /// Its unit.
    pub unit: &'static str,
    /// Share of a peak, where one bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
    /// The name of that peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<&'static str>,
    /// The kernels that did it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<String>,
}

impl Row {
    /// A figure without peak and kernels.
    pub fn new(name: impl Into<String>, unit: &'static str, spread: Spread) -> Row {
        Row { name: name.into(), spread, unit, share_of_peak: None, peak: None, kernels: vec![] }
    }

    /// A figure that is known, not measured again and again: bytes, counts.
    pub fn single(name: impl Into<String>, unit: &'static str, value: f64) -> Row {
        Row::new(name, unit, Spread::of(&[value]))
    }

    /// With its share of a peak.
    pub fn share(self, peak: &'static str, share: f64) -> Row {
        Row { share_of_peak: Some(share), peak: Some(peak), ..self }
    }

    /// With the share of the peak of this name, if it was measured.
    pub fn share_of(self, peaks: &[Peak], name: &str) -> Row {
        match peaks.iter().find(|peak| peak.name == name && peak.value > 0.0) {
            Some(peak) => {
                let share = self.spread.median / peak.value;
                self.share(peak.name, share)
            }
            None => self,
        }
    }

    /// With the kernels that did it.
    pub fn kernels<T: Into<String>>(self, kernels: impl IntoIterator<Item = T>) -> Row {
        Row { kernels: kernels.into_iter().map(Into::into).collect(), ..self }
    }
}

/// Bursts of which the best counts.
const BURSTS: usize = 12;

/// Bytes of each of the three arrays that go through memory.
const ARRAY: usize = 128 << 20;

/// What the machine multiplies at most, of every element type that it has an instruction for.
pub fn arithmetic_peaks(team: &Team) -> Vec<Peak> {
    let peak = |arithmetic: Arithmetic| {
        let what = arithmetic.instruction()?.to_owned();
        let best = (0..BURSTS).filter_map(|_| arithmetic.burst(team)).fold(0.0, f64::max);
        let unit = if arithmetic == Arithmetic::Int8 { "GOP/s" } else { "GFLOP/s" };
        Some(Peak { name: arithmetic.name(), what, value: best / 1e9, unit })
    };
    Arithmetic::ALL.into_iter().filter_map(peak).collect()
}

/// What goes between memory and the cores at most.
pub fn memory_peaks(team: &Team) -> Vec<Peak> {
    let mut memory = Memory::new(team, ARRAY);
    let peak = |traffic: Traffic| {
        let best = (0..3).map(|_| memory.pass(team, traffic)).fold(0.0, f64::max);
        let what = format!("arrays of {} MiB", ARRAY >> 20);
        Peak { name: traffic.name(), what, value: best / 1e9, unit: "GB/s" }
    };
    Traffic::ALL.map(peak).into()
}

impl Report {
    /// A report without figures.
    pub fn new(bench: &'static str, threads: usize) -> Report {
        Report {
            bench,
            threads,
            settings: Map::new(),
            peaks: vec![],
            rows: vec![],
            notes: vec![],
            tables: vec![],
        }
    }

    /// The value of the peak with this name, if it was measured.
    pub fn peak(&self, name: &str) -> Option<f64> {
        self.peaks.iter().find(|peak| peak.name == name).map(|peak| peak.value)
    }

    /// Says what was measured with.
    pub fn setting(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Writes it to standard output.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        let text = if json { format!("{}\n", self.json()) } else { self.table() };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "bench": self.bench,
            "threads": self.threads,
            "settings": self.settings,
            "peaks": self.peaks,
            "rows": self.rows,
            "notes": self.notes,
        });
        for table in &self.tables {
            json[table.name] = Value::Array(table.rows.clone());
        }
        json
    }

    fn table(&self) -> String {
        let mut text = format!("bench {}, {} thread", self.bench, self.threads);
        if self.threads != 1 {
            text.push('s');
        }
        for (name, value) in &self.settings {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            _ = write!(text, ", {name} {value}");
        }
        text.push('\n');
        for Peak { name, what, value, unit } in &self.peaks {
            _ = writeln!(text, "peak {name:<6} {:>10} {unit:<8} {what}", number(*value));
        }
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(8);
        _ = writeln!(
            text,
            "\n{:<width$} {:>10} {:<9} {:>10} {:>10} {:>4} {:>6}        kernel",
            "", "median", "unit", "min", "max", "of", "share"
        );
        for row in &self.rows {
            let Spread { median, min, max, repetitions } = row.spread;
            let share = row.share_of_peak.map(|share| format!("{:.1} %", 100.0 * share));
            let line = format!(
                "{:<width$} {:>10} {:<9} {:>10} {:>10} {repetitions:>4} {:>7} {:<5}  {}",
                row.name,
                number(median),
                row.unit,
                number(min),
                number(max),
                share.unwrap_or_default(),
                row.peak.unwrap_or_default(),
                row.kernels.join(", "),
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for table in &self.tables {
            text.push_str(&table.text);
        }
        for note in &self.notes {
            _ = writeln!(text, "\n{note}");
        }
        text
    }
}

/// A number with about four digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        x if x >= 100_000.0 => format!("{value:.0}"),
        x if x >= 100.0 => format!("{value:.1}"),
        x if x >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_carries_its_figures_into_both_forms() {
        let mut report = Report::new("gemm", 2);
        report.setting("model", "tiny");
        report.peaks =
            vec![Peak { name: "fp32", what: "fma".into(), value: 400.0, unit: "GFLOP/s" }];
        let row = Row::new("forward", "GFLOP/s", Spread::of(&[100.0, 300.0, 200.0]));
        report.rows.push(row.share_of(&report.peaks, "fp32").kernels(["avx2"]));
        report.rows.push(Row::single("memory", "GB", 1.5).share_of(&report.peaks, "absent"));
        let json = report.json();
        let expected = json!({
            "name": "forward", "value": 200.0, "min": 100.0, "max": 300.0, "repetitions": 3,
            "unit": "GFLOP/s", "share_of_peak": 0.5, "peak": "fp32", "kernels": ["avx2"],
        });
        assert_eq!(json["rows"][0], expected);
        assert_eq!(json["rows"][1].get("share_of_peak"), None);
        let table = report.table();
        assert!(table.contains("200.0 GFLOP/s") && table.contains("50.0 % fp32"), "{table}");
        assert!(table.starts_with("bench gemm, 2 threads, model tiny\n"), "{table}");
    }
}
