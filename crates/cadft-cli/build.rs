//! Builds the crate again when an embedded file appears or goes.

fn main() {
    println!("cargo:rerun-if-changed=assets");
}
