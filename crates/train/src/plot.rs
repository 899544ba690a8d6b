//! A picture of the loss: SVG, from a log.

use crate::metrics::Log;
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;

/// At most so many points of a line: more cannot be told apart.
const POINTS: usize = 600;

/// Draws the training loss, smoothed and as it is, and the validation loss, over the steps. Losses
/// are in nats per token, or in what the run calls `loss_unit`.
pub fn loss_curve(log: &Log, title: &str) -> String {
    let finite = |values: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        values.into_iter().filter(|(_, loss)| loss.is_finite()).collect()
    };
    let training =
        finite(log.records.iter().map(|record| (record.step as f64, record.loss)).collect());
    let validation = finite(
        log.records
            .iter()
            .filter_map(|record| Some((record.step as f64, record.val_loss?)))
            .collect(),
    );
    let losses = || training.iter().chain(&validation).map(|&(_, loss)| loss);
    let steps = || training.iter().chain(&validation).map(|&(step, _)| step);
    // Without a loss above 0 there is nothing to scale by.
    let highest = losses().fold(0.0, f64::max);
    let highest = if highest > 1e-9 { highest } else { 1.0 };
    let last = steps().fold(1.0, f64::max);
    let (x_ticks, y_ticks) = (ticks(last), ticks(highest));
    let x_scale = (WIDTH - LEFT - RIGHT) / last;
    let top = y_ticks.last().copied().unwrap_or(1.0).max(highest);
    let y_scale = (HEIGHT - TOP - BOTTOM) / top;
    let at = |(step, loss): (f64, f64)| (LEFT + step * x_scale, HEIGHT - BOTTOM - loss * y_scale);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#444\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, (WIDTH / 2.0, 24.0), "text-anchor=\"middle\" font-size=\"16\"", title);
    for &tick in &y_ticks {
        let (x, y) = at((0.0, tick));
        line(&mut svg, "stroke=\"#ddd\"", &[(x, y), (WIDTH - RIGHT, y)]);
        text(&mut svg, (x - 8.0, y + 4.0), "text-anchor=\"end\"", &label(tick));
    }
    for &tick in &x_ticks {
        let (x, y) = at((tick, 0.0));
        line(&mut svg, "stroke=\"#444\"", &[(x, y), (x, y + 5.0)]);
        text(&mut svg, (x, y + 20.0), "text-anchor=\"middle\"", &label(tick));
    }
    line(&mut svg, "stroke=\"#444\"", &[at((0.0, top)), at((0.0, 0.0)), at((last, 0.0))]);
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    text(&mut svg, (middle, HEIGHT - 10.0), "text-anchor=\"middle\"", "optimizer step");
    let center = (TOP + HEIGHT - BOTTOM) / 2.0;
    let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 16 {center})\"");
    let unit = log.run["loss_unit"].as_str().unwrap_or("nats per token");
    text(&mut svg, (16.0, center), &turned, &format!("loss ({unit})"));

    let place = |values: &[(f64, f64)]| thin(values).into_iter().map(at).collect::<Vec<_>>();
    line(&mut svg, "stroke=\"#9ecae1\" stroke-width=\"1\"", &place(&training));
    line(&mut svg, "stroke=\"#1f6fb4\" stroke-width=\"2\"", &place(&smooth(&training)));
    line(&mut svg, "stroke=\"#d9541e\" stroke-width=\"2\"", &place(&validation));
    for (x, y) in place(&validation) {
        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"#d9541e\"/>")
            .expect("strings can be written to");
    }
    let right = WIDTH - RIGHT - 8.0;
    let key = |color: &str| format!("text-anchor=\"end\" fill=\"{color}\"");
    text(&mut svg, (right, TOP + 16.0), &key("#1f6fb4"), "training");
    if !validation.is_empty() {
        text(&mut svg, (right, TOP + 34.0), &key("#d9541e"), "validation");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Round numbers from 0 up to at most `end`: four to nine of them.
fn ticks(end: f64) -> Vec<f64> {
    let power = 10.0_f64.powf((end / 4.0).log10().floor());
    let step = [5.0, 2.0, 1.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| end / step >= 4.0)
        .unwrap_or(power);
    (0..=(end / step * (1.0 + 1e-9)) as u32).map(|index| f64::from(index) * step).collect()
}

fn label(tick: f64) -> String {
    // Ticks are multiples of round steps: a few digits are all they have.
    let text = format!("{tick:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A running mean over about a fiftieth of the values.
fn smooth(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let weight = 1.0 / (values.len() as f64 / 50.0).max(1.0);
    let (mut sum, mut weights) = (0.0, 0.0);
    let mean = |&(step, loss): &(f64, f64)| {
        sum = sum * (1.0 - weight) + loss * weight;
        weights = weights * (1.0 - weight) + weight;
        // Divided by the weights so far, or the first values would be too small.
        (step, sum / weights)
    };
    values.iter().map(mean).collect()
}

/// Every n-th point, and the last.
fn thin(values: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = values.len().div_ceil(POINTS).max(1);
    let mut points: Vec<(f64, f64)> = values.iter().copied().step_by(stride).collect();
    if !values.len().saturating_sub(1).is_multiple_of(stride) {
        points.extend(values.last());
    }
    points
}

fn line(svg: &mut String, style: &str, points: &[(f64, f64)]) {
    if points.len() < 2 {
        return;
    }
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    writeln!(svg, "<polyline fill=\"none\" {style} points=\"{}\"/>", points.join(" "))
        .expect("strings can be written to");
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{content}</text>")
        .expect("strings can be written to");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Record;

    fn log(losses: impl Iterator<Item = f64>) -> Log {
        let record = |(index, loss)| Record {
            step: index as u64 + 1,
            tokens: 0,
            loss,
            lr: 0.0,
            grad_norm: 0.0,
            loss_scale: None,
            ms: 0.0,
            tokens_per_s: 0.0,
            val_loss: (index % 100 == 99).then_some(loss),
            val_accuracy: None,
        };
        Log { records: losses.enumerate().map(record).collect(), ..Log::default() }
    }

    #[test]
    fn draws_all_lines_within_the_frame() {
        let svg = loss_curve(&log((0..5000).map(|n| 6.0 / (1.0 + f64::from(n) / 500.0))), "a < b");
        assert!(svg.contains("a &lt; b") && svg.contains("validation"));
        assert_eq!(svg.matches("<circle").count(), 50);
        let lines = svg.lines().filter(|line| line.starts_with("<polyline"));
        let mut points = 0;
        for line in lines {
            let (_, list) = line.split_once("points=\"").unwrap();
            let list = list.trim_end_matches("\"/>");
            for point in list.split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                assert!((0.0..=WIDTH).contains(&x.parse().unwrap()), "{point}");
                assert!((0.0..=HEIGHT).contains(&y.parse().unwrap()), "{point}");
                points += 1;
            }
        }
        assert!((1000..2000).contains(&points), "{points}");
    }

    #[test]
    fn odd_logs_are_drawn_without_numbers_that_are_not() {
        for losses in [vec![], vec![1.0], vec![f64::NAN, f64::INFINITY], vec![0.0, 0.0]] {
            let svg = loss_curve(&log(losses.into_iter()), "odd");
            assert!(svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf\"") && !svg.contains("inf,"));
        }
    }

    #[test]
    fn ticks_are_round() {
        let labels = |end| ticks(end).into_iter().map(label).collect::<Vec<_>>();
        assert_eq!(labels(6.2), ["0", "1", "2", "3", "4", "5", "6"]);
        assert_eq!(labels(1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(2000.0), ["0", "500", "1000", "1500", "2000"]);
    }

    #[test]
    fn smoothing_keeps_a_constant() {
        let values: Vec<(f64, f64)> = (0..500).map(|step| (f64::from(step), 2.0)).collect();
        assert!(smooth(&values).iter().all(|&(_, loss)| (loss - 2.0).abs() < 1e-12));
    }
}
