//! The text of `--version`: the version, the commit, the Burn version, and the compiled backends.

use cadft_train::environment::BURN;
use std::sync::LazyLock;

/// The lines of `--version` after the program's name. `-V` prints the first word.
pub(crate) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{}\ncommit    {}\nburn      {BURN}\nbackends  {}",
            env!("CARGO_PKG_VERSION"),
            env!("CADFT_COMMIT"),
            cadft_train::device::compiled().join(", ")
        )
    });
    &TEXT
}
