//! cadft-data.
