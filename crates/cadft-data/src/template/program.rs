//! A compiled template: parsed by the engine, and run with the checks of `guards`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::machinery::{CodeGenerator, Instructions, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, Value};

use super::{NAME, guards, limits};

/// The instructions of a template, and the source from which they borrow.
pub(super) struct Program {
    // The fields are dropped in this order: borrowers first.
    root: Instructions<'static>,
    blocks: BTreeMap<&'static str, Instructions<'static>>,
    _source: Arc<str>,
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Program").finish_non_exhaustive()
    }
}

impl Program {
    /// Compiles a template.
    pub(super) fn new(source: &str, syntax: SyntaxConfig) -> Result<Self, Error> {
        limits::check(source, &syntax)?;
        let source: Arc<str> = source.into();
        // SAFETY: the text is on the heap, and is neither moved nor changed while `_source` exists. That is as long as
        // the instructions exist: they are private, dropped first, and borrowed for no longer than `self`.
        let text: &'static str = unsafe { &*std::ptr::from_ref::<str>(&source) };
        let tree = parse(text, NAME, syntax)?;
        let mut generator = CodeGenerator::new(NAME, text);
        generator.compile_stmt(&tree);
        let (root, blocks) = generator.finish();
        Ok(Self {
            root: guards::guarded(&root),
            blocks: blocks
                .iter()
                .map(|(name, instructions)| (*name, guards::guarded(instructions)))
                .collect(),
            _source: source,
        })
    }

    /// Renders the template.
    pub(super) fn render(&self, environment: &Environment<'_>, context: Value) -> Result<String, Error> {
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        eval(
            environment,
            &self.root,
            context,
            &self.blocks,
            &mut output,
            AutoEscape::None,
        )?;
        Ok(text)
    }
}
