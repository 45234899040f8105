//! A callback that plots: the likelihood of each step as a curve in an SVG file.
//!
//! `cargo run --release --example plot -- curve.svg`

use cadft_train::{Event, Prepared, RunDirectory, config, device, train};
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;

fn main() -> Result<(), Box<dyn Error>> {
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/../cadft-cli/assets/quickstart");
    let runs = tempfile::tempdir()?;
    let asked = std::env::args()
        .skip(1)
        .find(|argument| argument.ends_with(".svg"));
    let file = asked.map_or_else(|| runs.path().join("curve.svg"), PathBuf::from);

    let text = format!(
        "objective = 'nll'\n[model]\npath = '{assets}'\n[data]\ntrain = ['{assets}/train.jsonl']\ncache = 'off'\n\
         [batch]\nglobal = 16\nmicro = 8\n[schedule]\nsteps = 8\n"
    );
    let prepared = Prepared::new(config::parse("example", &text, &[])?, &device::parse("flex")?)?;
    let mut directory = RunDirectory::create(&runs.path().join("run"), &prepared.recipe, "flex")?;
    let stop = AtomicBool::new(false);
    let mut curve = vec![];
    train(
        &prepared,
        prepared.model()?,
        &mut directory,
        &stop,
        &mut |event| {
            if let Event::Step(metrics) = event {
                curve.push(metrics.nll);
                // Write after every step, so that a program that watches the file shows the run live.
                if let Err(error) = std::fs::write(&file, svg(&curve)) {
                    eprintln!("{}: {error}", file.display());
                }
            }
        },
    )?;
    println!("{} points in {}", curve.len(), file.display());
    Ok(())
}

/// A polyline from left to right; the largest value is at the top.
fn svg(values: &[f64]) -> String {
    let (low, high) = (values.iter()).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
        (low.min(value), high.max(value))
    });
    let span = (high - low).max(f64::MIN_POSITIVE);
    let mut points = String::new();
    for (index, value) in values.iter().enumerate() {
        let x = WIDTH * index as f64 / (values.len() - 1).max(1) as f64;
        let y = HEIGHT * (high - value) / span;
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-10 -10 {} {}\">\
         <polyline fill=\"none\" stroke=\"black\" points=\"{}\"/></svg>\n",
        WIDTH + 20.0,
        HEIGHT + 20.0,
        points.trim_end()
    )
}
