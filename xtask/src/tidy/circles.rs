//! Finds cyclic imports between the files of a crate.
//!
//! `foo.rs` and the files below `foo/` count as one module with several pages. A page may use definitions of `foo.rs`,
//! although `foo.rs` uses the page. A cycle among the pages alone, or through a file outside, is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use self::tree::Tree;
use super::{Finding, Repository};

mod names;
mod tree;

/// One file uses a definition of another: the line, and the path as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: PathBuf,
    to: PathBuf,
    line: usize,
    path: String,
}

pub(super) fn check(repository: &Repository) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let roots = repository.with_extension("rs").map(|(path, _)| path);
    for root in roots.filter(|path| is_root(path)) {
        let tree = Tree::read(repository, root)?;
        findings.extend(circles(&tree.arrows()).iter().map(|circle| finding(circle)));
    }
    Ok(findings)
}

/// Whether a file is the root of a module tree. Other roots, such as those in `bin` and `examples`, are single files.
fn is_root(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name == "lib.rs" || name == "main.rs")
}

/// The finding for a cycle, with all of its imports.
fn finding(circle: &[&Arrow]) -> Finding {
    let files: BTreeSet<&Path> = circle.iter().map(|arrow| arrow.from.as_path()).collect();
    let arrows: Vec<String> = (circle.iter())
        .map(|arrow| {
            let Arrow { from, to, line, path } = arrow;
            format!(
                "\n    {}:{line} uses `{path}` of {}",
                from.display(),
                to.display()
            )
        })
        .collect();
    Finding::new(
        &circle[0].from,
        format!(
            "a circle of imports through {} files:{}",
            files.len(),
            arrows.concat()
        ),
    )
}

/// The cycles: for each, the imports between its files.
fn circles(arrows: &[Arrow]) -> Vec<Vec<&Arrow>> {
    let mut ways: BTreeMap<(&Path, &Path), &Arrow> = BTreeMap::new();
    for arrow in arrows {
        ways.entry((&arrow.from, &arrow.to)).or_insert(arrow);
    }
    let ways: Vec<&Arrow> = ways.into_values().collect();
    components(&ways).into_iter().flat_map(without_pages).collect()
}

/// The rest of a cycle after removing imports from pages to their own `foo.rs`.
fn without_pages(circle: Vec<&Arrow>) -> Vec<Vec<&Arrow>> {
    let head = (circle.iter())
        .map(|arrow| arrow.from.as_path())
        .find(|head| (circle.iter()).all(|arrow| arrow.from == *head || is_page_of(&arrow.from, head)));
    let Some(head) = head else {
        return vec![circle];
    };
    let others: Vec<&Arrow> = circle.iter().copied().filter(|arrow| arrow.to != head).collect();
    components(&others).into_iter().flat_map(without_pages).collect()
}

/// Whether `page` is below the folder of `file`, or `file` is the root of its crate.
fn is_page_of(page: &Path, file: &Path) -> bool {
    is_root(file) || page.starts_with(file.with_extension(""))
}

/// The imports within each set of files that reach each other (the strongly connected components).
fn components<'a>(arrows: &[&'a Arrow]) -> Vec<Vec<&'a Arrow>> {
    let mut next: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(&arrow.from).or_default().push(&arrow.to);
    }
    let reached: BTreeMap<&Path, BTreeSet<&Path>> = next
        .keys()
        .map(|file| (*file, reached_from(file, &next)))
        .collect();
    let reaches = |from: &Path, to: &Path| reached.get(from).is_some_and(|files| files.contains(to));
    let mut components: BTreeMap<&Path, Vec<&Arrow>> = BTreeMap::new();
    for &arrow in arrows {
        let (from, to) = (arrow.from.as_path(), arrow.to.as_path());
        if reaches(to, from) {
            // The first file of a set identifies it.
            let first = reached[from].iter().find(|file| reaches(file, from));
            components.entry(first.unwrap_or(&from)).or_default().push(arrow);
        }
    }
    components.into_values().collect()
}

/// The files that `file` uses, directly or indirectly. A file in a cycle reaches itself.
fn reached_from<'a>(file: &'a Path, next: &BTreeMap<&'a Path, Vec<&'a Path>>) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![file];
    while let Some(file) = waiting.pop() {
        for to in next.get(file).into_iter().flatten() {
            if reached.insert(*to) {
                waiting.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{problems, repository_of};

    const ROOT: (&str, &str) = ("crates/a/src/lib.rs", "mod one;\nmod two;\npub use one::One;\n");

    fn found(texts: &[(&str, &str)]) -> Vec<String> {
        problems(&check(&repository_of(texts)).unwrap())
    }

    /// The findings for files `one.rs` and `two.rs` with these texts.
    fn between(one: &str, two: &str) -> Vec<String> {
        found(&[ROOT, ("crates/a/src/one.rs", one), ("crates/a/src/two.rs", two)])
    }

    #[test]
    fn a_circle_of_two_files_is_found_with_an_arrow_each_way() {
        let two = "pub struct Two;\nfn f() { crate::one::f() }\n";
        let found = between("use crate::two::Two;\npub struct One(Two);\npub fn f() {}\n", two);
        assert_eq!(found.len(), 1, "{found:?}");
        for arrow in [
            "one.rs:1 uses `crate::two::Two` of crates/a/src/two.rs",
            "two.rs:2 uses `crate::one::f` of crates/a/src/one.rs",
        ] {
            assert!(found[0].contains(arrow), "{arrow}: {found:?}");
        }
    }

    #[test]
    fn however_a_name_is_written_it_leads_to_the_file_that_defines_it() {
        let one = "use super::two::Two;\npub struct One(Two);\n";
        for use_of_one in [
            "use crate::One;",
            "use super::One;",
            "use crate::one::{One as Other};",
            "use crate::one; fn g() { one::One }",
            "use crate::one::*; fn g(_: One) {}",
            "fn g() { use crate::one::One; }",
            "fn g() { assert!(x.y(crate::one::f())); }",
            "struct S(Vec<crate::one::One>);",
            "impl crate::one::One { fn g() {} }",
            "mod inner { use super::super::one::One; }",
            "use crate::one::made_by_a_macro;",
        ] {
            let found = between(one, &format!("pub struct Two;\n{use_of_one}\n"));
            assert_eq!(found.len(), 1, "{use_of_one}: {found:?}");
        }
    }

    #[test]
    fn what_uses_no_other_file_makes_no_circle() {
        let one = "use super::two::Two;\npub struct One(Two);\n";
        for no_use in [
            "pub use crate::one::One;",
            "use other::one::One;",
            "use ::one::One;",
            "// crate::one::One",
            "const A: &str = \"crate::one::One\";",
            "#[cfg(test)]\nmod tests { use crate::one::One; }",
            "#[cfg(all(test, feature = \"flex\"))]\nfn f(_: crate::one::One) {}",
            "pub(in crate::one) fn f() {}",
        ] {
            let found = between(one, &format!("pub struct Two;\n{no_use}\n"));
            assert!(found.is_empty(), "{no_use}: {found:?}");
        }
        let feature = "#[cfg(not(test))]\nfn f(_: crate::one::One) {}";
        assert_eq!(between(one, &format!("pub struct Two;\n{feature}\n")).len(), 1);
    }

    #[test]
    fn a_page_may_use_what_it_is_a_page_of() {
        let root = (
            "crates/a/src/lib.rs",
            "mod book;\npub struct Root;\nfn f() { book::f() }\n",
        );
        let book =
            "mod page;\nmod other;\npub struct Book;\npub fn f() { page::f() }\nfn g() { other::f() }\n";
        let book = ("crates/a/src/book.rs", book);
        let page = "use super::Book;\nuse crate::Root;\npub fn f() {}\n";
        let page = ("crates/a/src/book/page.rs", page);
        assert!(
            found(&[
                root,
                book,
                page,
                ("crates/a/src/book/other.rs", "pub fn f() {}\n")
            ])
            .is_empty()
        );
        let pages = found(&[
            root,
            book,
            (
                "crates/a/src/book/page.rs",
                "use super::Book;\nuse super::other;\npub fn f() { other::f() }\n",
            ),
            ("crates/a/src/book/other.rs", "pub fn f() { super::page::f() }\n"),
        ]);
        assert_eq!(pages.len(), 1, "two pages: {pages:?}");
        assert!(pages[0].contains("through 2 files"), "{pages:?}");
    }

    #[test]
    fn a_circle_that_leaves_the_pages_of_a_module_is_found() {
        let found = found(&[
            ROOT,
            (
                "crates/a/src/one.rs",
                "mod page;\npub struct One;\nfn f() { crate::two::f() }\n",
            ),
            ("crates/a/src/one/page.rs", "use super::One;\npub fn g() {}\n"),
            ("crates/a/src/two.rs", "pub fn f() { crate::one::page::g() }\n"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("through 3 files"), "{found:?}");
    }
}
