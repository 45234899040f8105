//! `cadft reference`: for `cargo xtask reference`, not for users.

use crate::{output, reference};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    output::json_line(&reference::blocks())
}
