//! Tokenises a data file into a cache directory and reads it back, timing both: `cargo xtask bench data`.
//!
//! ```text
//! tokenize MODEL_DIRECTORY DATA_FILE CACHE_DIRECTORY
//! ```
//!
//! Prints one JSON object. If the samples are already in the cache, `load_secs` is the time to find, check and map
//! them. `read_secs` is the time to visit every sample once in shuffled order.

use std::path::Path;
use std::time::Instant;

use cadft_data::{
    Cache, Mask, Mixing, Order, Preset, Source, TokenizeOptions, Tokenizer, epoch_order, load_samples,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, cache] = arguments.as_slice() else {
        return Err("usage: tokenize MODEL_DIRECTORY DATA_FILE CACHE_DIRECTORY".into());
    };
    let started = Instant::now();
    // A template that marks generated text, which transformers needs to compute a mask.
    let tokenizer = Tokenizer::from_dir(Path::new(model))?.with_preset(Preset::ChatMl)?;
    let setup_secs = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let samples = load_samples(
        &[Source::new(data)],
        &Mixing::default(),
        &tokenizer,
        &TokenizeOptions::new(2048, Mask::Assistant),
        &Cache::Directory(cache.into()),
    )?;
    let load_secs = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let (mut tokens, mut supervised) = (0, 0);
    for index in epoch_order(samples.len(), Order::Shuffled, 42, 0) {
        let sample = samples.get(index);
        tokens += sample.token_ids.len();
        supervised += sample.supervised();
    }
    let read_secs = started.elapsed().as_secs_f64();
    let report = serde_json::json!({
        "samples": samples.len(), "tokens": tokens, "supervised": supervised, "setup_secs": setup_secs,
        "load_secs": load_secs, "read_secs": read_secs, "peak_rss_mib": peak_rss_mib(),
    });
    println!("{report}");
    Ok(())
}

/// The peak resident memory in MiB, if the system reports it.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
