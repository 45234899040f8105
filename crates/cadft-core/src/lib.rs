//! cadft-core.
