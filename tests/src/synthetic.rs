//! Directories of invented runs, for tests of code that reads run directories.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A kind of run that a reader must cope with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Started, without any step.
    Empty,
    /// A single step.
    OneStep,
    /// Values that are not finite from the middle on, and no end.
    Diverged,
    /// 20,000 steps with evaluations, samples and rewrites.
    Long,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Empty, Self::OneStep, Self::Diverged, Self::Long];

    fn steps(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::OneStep => 1,
            Self::Diverged => 60,
            Self::Long => 20_000,
        }
    }
}

/// Text that must be escaped in a page.
pub const HOSTILE: &str = "</script><script>document.title='broken'</script>& <b>\"bold\"";

/// Writes the directory of a run of this kind in `parent`. Returns its path.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn run(parent: &Path, kind: Kind) -> PathBuf {
    let directory = parent.join(format!("{kind:?}").to_lowercase());
    fs::create_dir_all(&directory).expect("a directory");
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).expect("a file");
    write(
        "config.resolved.toml",
        "format-version = 1\n[model]\npath = \"m\"\n[data]\ntrain = [\"t.jsonl\"]\n[optimizer]\nlr = 1e-3\n",
    );
    write(
        "environment.json",
        r#"{"format_version": 1, "cadft": "0.1.0", "command": ["cadft", "train"], "git": null}"#,
    );
    write("metrics.jsonl", &metrics(kind));
    write("samples.jsonl", &samples(kind));
    if kind == Kind::Long {
        write("rewrites.jsonl", &rewrites());
    }
    directory
}

fn metrics(kind: Kind) -> String {
    let total = kind.steps();
    let mut text = format!(
        "{{\"event\":\"started\",\"plan\":{{\"objective\":\"cadft\",\"start\":null,\"steps\":{total}}}}}\n"
    );
    let evaluated = |step: usize, nll: f64| {
        format!(
            "{{\"event\":\"evaluated\",\"step\":{step},\"samples\":9,\"tokens\":99,\"supervised\":50,\"nll\":{nll},\
             \"perplexity\":{},\"token_accuracy\":0.5}}\n",
            nll.exp()
        )
    };
    text += &evaluated(0, 3.0);
    if kind != Kind::Empty {
        let _ = writeln!(
            text,
            "{{\"event\":\"warned\",\"step\":0,\"message\":{},\"hint\":\"do\"}}",
            serde_json::Value::from(HOSTILE)
        );
    }
    for step in 1..=total {
        let bad = kind == Kind::Diverged && step > 30;
        let number = |value: f64| {
            if bad {
                "null".to_owned()
            } else {
                format!("{value:.6}")
            }
        };
        let falling = 3.0 / (1.0 + step as f64 / 50.0) + 0.1 * (step as f64).sin();
        let spike = if step == 12_345 { 900.0 } else { 1.0 };
        let _ = writeln!(
            text,
            "{{\"step\":{step},\"loss\":{},\"nll\":{},\"objective\":\"cadft\",\"mean_gate\":0.4,\"mean_weight\":0.76,\
             \"ess\":27.5,\"mu\":{},\"sigma\":0.3,\"max_z\":2.5,\"grad_norm\":{},\"lr\":0.001,\"tokens\":900,\
             \"supervised\":500,\"tokens_per_sec\":1234.5,\"peak_rss_mib\":512.0}}",
            number(falling / 4.0),
            number(falling),
            number(falling),
            number(spike * falling.abs() * 10.0),
        );
        if kind == Kind::Long && step % 1000 == 0 {
            text += &evaluated(step, falling + 0.2);
        }
    }
    match kind {
        Kind::OneStep | Kind::Long => {
            let evaluation = |nll: f64| format!("{{\"nll\":{nll},\"token_accuracy\":0.5}}");
            let _ = writeln!(
                text,
                "{{\"event\":\"finished\",\"steps\":{total},\"interrupted\":false,\"model\":\"model\",\
                 \"evaluation\":[{},{}],\"answers\":null,\"elapsed_secs\":12.5}}",
                evaluation(3.0),
                evaluation(1.0)
            );
        }
        // An incomplete last line, as in a run that was killed.
        Kind::Diverged => text += "{\"step\":61,\"lo",
        Kind::Empty => {}
    }
    text
}

fn samples(kind: Kind) -> String {
    let total = kind.steps();
    let stride = total.div_ceil(200).max(1);
    let mut text = String::new();
    for step in (1..=total).step_by(stride) {
        let bad = kind == Kind::Diverged && step > 30;
        let values = |of: &dyn Fn(usize) -> f64| {
            let values = (0..32).map(|sample| {
                if bad {
                    "null".to_owned()
                } else {
                    format!("{:.3}", of(sample))
                }
            });
            values.collect::<Vec<_>>().join(",")
        };
        let z = |sample: usize| (sample as f64 - 15.5) / 9.0;
        let ids: Vec<String> = (0..32).map(|sample| format!("\"row-{sample}\"")).collect();
        let _ = writeln!(
            text,
            "{{\"step\":{step},\"ids\":[{}],\"nll\":[{}],\"z\":[{}],\"weight\":[{}]}}",
            ids.join(","),
            values(&|sample| 2.0 + 0.5 * z(sample)),
            values(&z),
            values(&|sample| (-z(sample).max(0.0)).exp()),
        );
    }
    text
}

fn rewrites() -> String {
    let mut text = "{\"kind\":\"header\",\"format_version\":1}\n".to_owned();
    for step in [10_000, 15_000] {
        for sample in 0..200 {
            let _ = writeln!(
                text,
                "{{\"kind\":\"sample\",\"step\":{step},\"sample\":{sample},\"id\":\"row-{sample}\",\"decision\":\"{}\",\
                 \"average\":1.5,\"last_z\":2.0,\"observations\":5,\"old\":{{\"text\":{},\"score\":2.5}},\
                 \"new\":{{\"text\":\"{}\",\"score\":0.5}}}}",
                if sample % 2 == 0 { "replaced" } else { "kept" },
                serde_json::Value::from(HOSTILE),
                "a new answer ".repeat(400),
            );
        }
        let _ = writeln!(
            text,
            "{{\"kind\":\"round\",\"step\":{step},\"chosen\":220,\"drawn\":200,\"replaced\":100}}"
        );
    }
    text
}
