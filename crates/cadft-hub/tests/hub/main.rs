//! The Hub as a server on loopback, honest or hostile, and the cache as a temporary directory.

mod cached;
mod hostile_files;
mod hostile_listings;
mod mutations;
mod python;
mod redirections;
mod resolving;
mod resuming;
mod server;
mod trial;
