//! cadft-model.
