//! The matrices of the study, and the bases that they begin with.

/// A model that runs begin with, and what is common to them.
pub(super) struct Base {
    /// The recipe that makes it, and the directory of that run.
    pub(super) recipe: &'static str,
    pub(super) out: &'static str,
    /// The recipe of the runs.
    pub(super) runs: &'static str,
    /// Where `train.jsonl` is, and shares of its rows with planted noise, in percent.
    pub(super) data: &'static str,
    pub(super) noise: &'static [usize],
    pub(super) seeds: &'static str,
}

/// A model of 4.3 million parameters that has learned the tasks from random weights.
pub(super) const SMALL: Base = Base {
    recipe: "bench/study-base.toml",
    out: "runs/study-base",
    runs: "bench/study.toml",
    data: "data/study",
    noise: &[20, 40],
    seeds: "5",
};

/// SmolLM2-135M-Instruct after clean rows of the tasks.
pub(super) const SMOLLM2: Base = Base {
    recipe: "bench/study-smollm2-base.toml",
    out: "runs/study-smollm2-base",
    runs: "bench/study-smollm2.toml",
    data: "data/study/smollm2",
    noise: &[40],
    seeds: "3",
};

/// One call of `cadft compare`.
pub(super) struct Matrix {
    pub(super) name: &'static str,
    /// The directory of the runs, in `runs/study`; runs that another matrix has trained are not repeated.
    pub(super) runs: &'static str,
    pub(super) base: &'static Base,
    pub(super) arguments: &'static [&'static str],
}

/// An objective is compared with the first one of its matrix.
pub(super) const MATRICES: [Matrix; 7] = [
    Matrix {
        name: "noise",
        runs: "noise",
        base: &SMALL,
        arguments: &[
            "--objectives=nll,dft,cadft,profit,prift",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--data=clean: data/study/train.jsonl",
            "--data=noise-20: data/study/noise-20.jsonl",
            "--data=noise-40: data/study/noise-40.jsonl",
        ],
    },
    Matrix {
        name: "gate",
        runs: "noise",
        base: &SMALL,
        arguments: &[
            "--objectives=dft,cadft,profit,prift",
            "--data=clean: data/study/train.jsonl",
            "--data=noise-20: data/study/noise-20.jsonl",
            "--data=noise-40: data/study/noise-40.jsonl",
        ],
    },
    Matrix {
        name: "beta",
        runs: "noise",
        base: &SMALL,
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--objective=beta-half: cadft.gate=\"nll\"; cadft.beta=0.5",
            "--objective=beta-2: cadft.gate=\"nll\"; cadft.beta=2",
            "--objective=beta-4: cadft.gate=\"nll\"; cadft.beta=4",
            "--objective=running: cadft.gate=\"nll\"; cadft.statistics=\"running\"",
            "--data=noise-20: data/study/noise-20.jsonl",
        ],
    },
    Matrix {
        name: "batch",
        runs: "plain",
        base: &SMALL,
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--settings=b8: batch.global=8; batch.micro=8",
            "--settings=plain: batch.global=32",
            "--settings=b128: batch.global=128",
            "--data=noise-20: data/study/noise-20.jsonl",
        ],
    },
    Matrix {
        name: "normaliser",
        runs: "plain",
        base: &SMALL,
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--settings=plain: batch.global=32",
            "--settings=sample-mean: loss.normalisation=\"sample-mean\"",
            "--settings=sample-sum: loss.normalisation=\"sample-sum\"",
            "--data=noise-20: data/study/noise-20.jsonl",
        ],
    },
    Matrix {
        name: "rewriting",
        runs: "rewriting",
        base: &SMALL,
        arguments: &[
            "--objectives=nll",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--settings=off: schedule.epochs=3",
            "--settings=own: schedule.epochs=3; rewrite.warmup=0.4; rewrite.fraction=0.06; rewrite.max-new-tokens=64",
            "--settings=checked: schedule.epochs=3; rewrite.warmup=0.4; rewrite.fraction=0.06; rewrite.max-new-tokens=64; \
             rewrite.same-answer=true",
            "--data=noise-40: data/study/noise-40.jsonl",
        ],
    },
    Matrix {
        name: "smollm2",
        runs: "smollm2",
        base: &SMOLLM2,
        arguments: &[
            "--objectives=nll,dft,cadft,profit,prift",
            "--objective=cadft-nll: cadft.gate=\"nll\"",
            "--data=noise-40: data/study/smollm2/noise-40.jsonl",
        ],
    },
];
