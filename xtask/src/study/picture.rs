//! The picture of a matrix: how far each objective is from the first one, with intervals.

use std::fmt::Write;

use anyhow::Result;

use super::tables::{Compared, Difference, Estimate};

/// A panel: its title and the measure, a share that is shown in points.
const PANELS: [(&str, &str); 3] = [
    ("trained tasks", "answers of eval.jsonl"),
    ("tasks like them", "answers of shifted.jsonl"),
    ("other tasks", "answers of general.jsonl"),
];
/// Pixels: of the names on the left, of a panel, between two panels, of a row, above the rows and below them.
const NAMES: f64 = 200.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 20.0;
const ROW: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 44.0;

/// An SVG of the differences in right answers. `None` if a matrix has no differences with intervals.
pub(super) fn of(compared: &str) -> Result<Option<String>> {
    let compared = Compared::read(compared)?;
    let rows: Vec<&Difference> = compared.differences.iter().collect();
    let has_points = |(_, measure): &(&str, &str)| rows.iter().any(|row| points(row, measure).is_some());
    let panels: Vec<(&str, &str)> = PANELS.into_iter().filter(has_points).collect();
    let all = (rows.iter()).flat_map(|row| panels.iter().map(|(_, measure)| points(row, measure)));
    let ends = all.flatten().flat_map(|[_, low, high]| [low, high]);
    let widest = ends.map(f64::abs).fold(0.0, f64::max);
    if widest == 0.0 {
        return Ok(None);
    }
    let step = step(widest);
    let limit = (widest / step).ceil() * step;
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let width = NAMES + panels.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\">\n"
    );
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + ROW * (index as f64 + 0.5);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            NAMES - 10.0,
            y + 4.0,
            row.cell.parts().join(", ")
        )?;
    }
    for (index, (title, measure)) in panels.iter().enumerate() {
        let left = NAMES + index as f64 * (PANEL + GAP);
        panel(&mut svg, (left, limit, step), title, rows.len())?;
        for (index, row) in rows.iter().enumerate() {
            let y = TOP + ROW * (index as f64 + 0.5);
            if let Some(point) = points(row, measure) {
                interval(&mut svg, (left, limit), point, y)?;
            }
        }
    }
    let from = rows.first().map_or("", |row| row.from.as_str());
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">right answers, difference from {from} in percentage points</text>",
        (width + NAMES) / 2.0,
        height - 6.0
    )?;
    svg += "</svg>\n";
    Ok(Some(svg))
}

/// The frame of a panel: its title, its grid, and the line of no difference.
fn panel(svg: &mut String, (left, limit, step): (f64, f64, f64), title: &str, rows: usize) -> Result<()> {
    let bottom = TOP + ROW * rows as f64;
    let middle = left + PANEL / 2.0;
    writeln!(
        svg,
        "<text x=\"{middle}\" y=\"18\" text-anchor=\"middle\">{title}</text>"
    )?;
    let ticks = (limit / step).round() as i64;
    for tick in -ticks..=ticks {
        let value = tick as f64 * step;
        let x = at(left, limit, value);
        let colour = if tick == 0 { "#777" } else { "#7774" };
        writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\">{value:+}</text>",
            bottom + 16.0
        )?;
    }
    Ok(())
}

/// A mean with its interval, in orange if the interval keeps it off zero.
fn interval(svg: &mut String, (left, limit): (f64, f64), point: [f64; 3], y: f64) -> Result<()> {
    let [_, low, high] = point;
    let colour = if low > 0.0 || high < 0.0 {
        "#d1793f"
    } else {
        "#4a7fc1"
    };
    let [mean, low, high] = point.map(|value| at(left, limit, value));
    writeln!(
        svg,
        "<path d=\"M{low:.1} {y}H{high:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
         <circle cx=\"{mean:.1}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/>"
    )?;
    Ok(())
}

/// The mean and the ends of the interval, in percentage points.
fn points(row: &Difference, measure: &str) -> Option<[f64; 3]> {
    let Estimate {
        mean,
        interval: Some([low, high]),
        ..
    } = *row.measures.get(measure)?
    else {
        return None;
    };
    Some([mean, low, high].map(|value| 100.0 * value))
}

/// The place of a value in a panel that reaches from `-limit` to `limit`.
fn at(left: f64, limit: f64, value: f64) -> f64 {
    left + PANEL * (value + limit) / (2.0 * limit)
}

/// Between two lines of the grid: 1, 2 or 5 times a power of ten, with at most three lines on each side.
fn step(widest: f64) -> f64 {
    let power = 10f64.powf((widest / 3.0).log10().floor());
    let fits = |step: &f64| *step * 3.0 >= widest;
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(fits)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_lies_at_its_place_between_the_ends_of_the_panel() {
        let text = r#"{"before": {}, "objectives": [], "runs": [], "differences": [{"objective": "dft", "data": "clean", "from": "nll",
            "measures": {"answers of data/study/eval.jsonl": {"mean": -0.03, "interval": [-0.05, 0.02], "detectable": 0.04}}}]}"#;
        let svg = of(text).unwrap().unwrap();
        // From -6 to +6 points over 190 pixels, which begin at 200.
        for part in ["dft, clean", "M215.8 54H326.7", "cx=\"247.5\"", "from nll"] {
            assert!(svg.contains(part), "{part} is not in\n{svg}");
        }
        let none = r#"{"before": {}, "objectives": [], "runs": [], "differences": []}"#;
        assert!(of(none).unwrap().is_none());
    }

    #[test]
    fn the_grid_has_round_steps() {
        assert_eq!([5.0, 6.1, 0.2, 14.0].map(step), [2.0, 5.0, 0.1, 5.0]);
    }
}
