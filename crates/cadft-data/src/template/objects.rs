//! Our objects that hold template values. Their behaviour is defined where they are created.

use std::sync::atomic::AtomicUsize;

use minijinja::Value;
use minijinja::value::DynObject;

/// Returns its items one after another, cyclically.
#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Vec<Value>,
    pub(super) place: AtomicUsize,
}

/// A dictionary method that is not called, or is called later.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) of: Value,
    pub(super) name: String,
}

/// The values that one of our objects holds.
pub(super) fn held(object: &DynObject) -> &[Value] {
    if let Some(cycler) = object.downcast_ref::<Cycler>() {
        return &cycler.items;
    }
    let method = object.downcast_ref::<Method>();
    method.map_or(&[], |method| std::slice::from_ref(&method.of))
}
