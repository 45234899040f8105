//! Parsing names on the Hub.

use super::{DATASETS, RepoKind, SCHEME, Spec};
use crate::error::HubError;
use crate::name;

impl Spec {
    /// Parses a name; `None` for a path that is not a name on the Hub.
    ///
    /// # Errors
    /// [`HubError::Spec`] for a malformed name.
    pub fn parse(text: &str) -> Result<Option<Self>, HubError> {
        let Some(name) = text.strip_prefix(SCHEME) else {
            return Ok(None);
        };
        let fail = |message: &str| HubError::Spec {
            spec: text.to_owned(),
            message: message.to_owned(),
        };
        let (kind, name) = match name.strip_prefix(DATASETS) {
            Some(name) => (RepoKind::Dataset, name),
            None => (RepoKind::Model, name),
        };
        let (owner, rest) = name.split_once('/').ok_or_else(|| fail("there is no `/`"))?;
        let (name, file) = match rest.split_once('/') {
            Some((name, file)) => (name, Some(file)),
            None => (rest, None),
        };
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let is_plain = |part: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let is_legal = !part.is_empty() && !part.contains("..") && part.chars().all(legal);
            is_legal && !part.starts_with('.') && !part.ends_with('.')
        };
        if !is_plain(owner) || !is_plain(name) {
            return Err(fail(
                "owner and name consist of letters, digits, `-`, `_` and `.`",
            ));
        }
        let revision = revision.replace("%2F", "/");
        if name::problem(&revision).is_some() {
            return Err(fail("the revision after `@` is not a branch, tag or commit"));
        }
        match file {
            Some(_) if kind == RepoKind::Model => {
                return Err(fail("a model is a whole repository, without a file"));
            }
            Some(file) => {
                if let Some(problem) = name::problem(file) {
                    return Err(fail(&format!("the name of the file {problem}")));
                }
            }
            None => {}
        }
        Ok(Some(Self {
            kind,
            id: format!("{owner}/{name}"),
            revision,
            file: file.map(str::to_owned),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        for name in [
            "hf://owner/name",
            "hf://owner/name-1.5_b@v2",
            "hf://datasets/owner/name",
            "hf://datasets/owner/name@refs%2Fpr/data/train.jsonl",
        ] {
            let spec = Spec::parse(name).unwrap().unwrap();
            assert_eq!(spec.to_string(), name.replace("%2F", "/"));
        }
        let spec = Spec::parse("hf://datasets/a/b@c/d/e.json").unwrap().unwrap();
        assert_eq!((spec.kind, spec.revision.as_str()), (RepoKind::Dataset, "c"));
        assert_eq!(spec.file.as_deref(), Some("d/e.json"));
        assert_eq!(spec.folder(), "datasets--a--b");
        assert_eq!(Spec::parse("models/x").unwrap(), None);
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            "hf://name",
            "hf://a/b/file",
            "hf://a/../b",
            "hf://a/b@",
            "hf://a/b@../c",
            "hf://datasets/a/b/../c",
            "hf://a b/c",
            "hf://.a/b",
            "hf://a/b.",
            "hf://a/b@v\\1",
            "hf://datasets/a/b//c",
            "hf://datasets/a/b/c\\d",
        ] {
            let error = cadft_files::with_hints(&Spec::parse(name).unwrap_err());
            assert!(error.contains(name) && error.contains("hint:"), "{error}");
        }
        let error = Spec::parse("hf://a/b@x\u{1b}[2J").unwrap_err().to_string();
        assert!(error.contains(r"x\u{1b}[2J"), "{error}");
    }
}
