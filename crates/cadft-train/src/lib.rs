//! cadft-train.
