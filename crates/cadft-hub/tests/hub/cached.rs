//! Caches that others filled, and what is used of them without a network.
