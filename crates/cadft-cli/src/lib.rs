//! cadft-cli.
