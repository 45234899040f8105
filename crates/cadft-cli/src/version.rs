//! What `--version` says: the version, the commit, Burn, and the backends in the program.

use cadft_train::environment::BURN;
use std::sync::LazyLock;

/// The lines of `--version` after the program's name; `-V` says the first word of them.
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
