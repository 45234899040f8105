//! Tests against a Hub on loopback, honest or hostile, with the cache in a temporary directory.

mod cached;
mod hostile_files;
mod hostile_listings;
mod mutations;
mod pushing;
mod pushing_hostile;
mod python;
mod redirections;
mod resolving;
mod resuming;
mod server;
mod store;
mod trial;
