//! The objects of ours that hold values of the template. What they do is written where they are made.

use std::sync::atomic::AtomicUsize;

use minijinja::Value;
use minijinja::value::DynObject;

/// Gives its values one after another, again and again.
#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Vec<Value>,
    pub(super) place: AtomicUsize,
}

/// A method of a dictionary that is not called, or called later.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) of: Value,
    pub(super) name: String,
}

/// What an object of ours holds.
pub(super) fn held(object: &DynObject) -> &[Value] {
    if let Some(cycler) = object.downcast_ref::<Cycler>() {
        return &cycler.items;
    }
    let method = object.downcast_ref::<Method>();
    method.map_or(&[], |method| std::slice::from_ref(&method.of))
}
