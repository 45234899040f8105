//! Collects the definitions, imports and mentions of a file, module by module, without tests.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// A path as written.
#[derive(Debug)]
pub(super) struct Mention {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// The names of one module.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Child modules with their own file.
    pub(super) files: BTreeSet<String>,
    pub(super) defined: BTreeSet<String>,
    /// The target path of each name in a `use`.
    pub(super) uses: BTreeMap<String, Vec<String>>,
    /// The modules of each `use module::*`.
    pub(super) globs: Vec<Vec<String>>,
    pub(super) mentions: Vec<Mention>,
}

impl Names {
    /// The names of a file: of its module, under the empty path, and of the modules inside the file.
    pub(super) fn of(file: &syn::File) -> BTreeMap<Vec<String>, Self> {
        let mut reader = Reader::default();
        reader.found.entry(Vec::new()).or_default();
        reader.visit_file(file);
        reader.found
    }
}

/// Walks a file and keeps track of the current module.
#[derive(Default)]
struct Reader {
    module: Vec<String>,
    found: BTreeMap<Vec<String>, Names>,
}

impl Reader {
    fn names(&mut self) -> &mut Names {
        self.found.entry(self.module.clone()).or_default()
    }

    fn read_use(&mut self, before: &[String], tree: &UseTree, is_import: bool) {
        let with = |name: &syn::Ident| {
            before
                .iter()
                .cloned()
                .chain([name.to_string()])
                .collect::<Vec<_>>()
        };
        match tree {
            UseTree::Path(path) => self.read_use(&with(&path.ident), &path.tree, is_import),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use(before, tree, is_import);
                }
            }
            UseTree::Glob(_) => self.names().globs.push(before.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                let known_as = before.last().cloned().unwrap_or_default();
                self.names().uses.insert(known_as, before.to_vec());
            }
            UseTree::Name(name) => self.import(&name.ident, &name.ident, with(&name.ident), is_import),
            UseTree::Rename(name) => self.import(&name.rename, &name.ident, with(&name.ident), is_import),
        }
    }

    fn import(&mut self, known_as: &syn::Ident, name: &syn::Ident, path: Vec<String>, is_import: bool) {
        let line = name.span().start().line;
        self.names().uses.insert(known_as.to_string(), path.clone());
        if is_import {
            self.names().mentions.push(Mention { path, line });
        }
    }

    /// Collects the paths inside a macro call. The grammar of the macro is unknown.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons, mut is_field) = (0, 0, false);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => path.push(ident.to_string()),
                TokenTree::Ident(ident) => {
                    self.mention(std::mem::take(&mut path), line);
                    line = ident.span().start().line;
                    if !is_field {
                        path.push(ident.to_string());
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == '.' => {
                    self.mention(std::mem::take(&mut path), line);
                    (colons, is_field) = (0, true);
                    continue;
                }
                TokenTree::Group(group) => {
                    self.mention(std::mem::take(&mut path), line);
                    self.read_tokens(group.stream());
                }
                _ => self.mention(std::mem::take(&mut path), line),
            }
            (colons, is_field) = (0, false);
        }
        self.mention(path, line);
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        if !path.is_empty() {
            self.names().mentions.push(Mention { path, line });
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        if let Some(name) = defined_name(item) {
            self.names().defined.insert(name);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let for_tests = matches!(item, ImplItem::Fn(function) if is_for_tests(&function.attrs));
        if !for_tests {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = item.ident.to_string();
        if item.content.is_none() {
            self.names().files.insert(name);
            return;
        }
        self.module.push(name);
        self.names();
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_import = matches!(item.vis, Visibility::Inherited);
        self.read_use(&[], &item.tree, is_import);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        let line = path
            .segments
            .first()
            .map_or(0, |part| part.ident.span().start().line);
        if path.leading_colon.is_none() {
            self.mention(names, line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.read_tokens(call.tokens.clone());
    }

    // `pub(in path)` and attributes are not uses.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// Whether an item is compiled only for tests.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<TokenStream>()
                    .is_ok_and(|condition| words(condition).first().is_some_and(|word| word == "test"))
    })
}

/// The words of a condition; `all(..)` counts as its contents.
fn words(condition: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for token in condition {
        match token {
            TokenTree::Ident(ident) if ident == "all" => {}
            TokenTree::Ident(ident) => found.push(ident.to_string()),
            TokenTree::Group(group) => found.extend(words(group.stream())),
            _ => {}
        }
    }
    found
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item defines in its module.
fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
