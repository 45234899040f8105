//! A minimal Markdown parser for checking links: prose without code, links, and the anchors of headings.

use std::collections::BTreeSet;

/// A link of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) line: usize,
    pub(super) target: String,
}

/// The numbered lines outside fenced blocks, with inline code removed.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        match fence {
            Some(mark) if start.starts_with(mark) => fence = None,
            Some(_) => {}
            None if start.starts_with("```") => fence = Some("```"),
            None if start.starts_with("~~~") => fence = Some("~~~"),
            None => lines.push((index + 1, line.to_owned())),
        }
    }
    lines
}

fn without_inline_code(line: &str) -> String {
    let pieces: Vec<&str> = line.split('`').collect();
    let is_balanced = pieces.len() % 2 == 1;
    let kept = pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| if index % 2 == 1 && is_balanced { "" } else { piece });
    kept.collect::<Vec<_>>().join("`")
}

/// The targets of `[text](target)` and of `[label]: target` definitions.
pub(super) fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, prose) in prose(text) {
        let prose = without_inline_code(&prose);
        for rest in prose.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                let target = target.split_whitespace().next().unwrap_or("");
                links.push(Link {
                    line,
                    target: target.trim_matches(['<', '>']).to_owned(),
                });
            }
        }
        let definition = prose.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        if let Some((_, target)) = definition {
            links.push(Link {
                line,
                target: target.trim().to_owned(),
            });
        }
    }
    links
}

/// The anchors of headings: lowercase, spaces as hyphens, punctuation removed, repeats numbered.
pub(super) fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        let depth = line.len() - title.len();
        if !(1..=6).contains(&depth) || !title.starts_with(' ') {
            continue;
        }
        let slug = slug(title.trim());
        let numbered = (1..).map(|count| format!("{slug}-{count}"));
        let free = std::iter::once(slug.clone())
            .chain(numbered)
            .find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

fn slug(title: &str) -> String {
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_code_are_not_links() {
        let text =
            "see [a](b.md#c) and `[no](d.md)`\n```text\n[no](e.md)\n```\n[f]: g.md\n[h](<i.md> \"title\")\n";
        let found: Vec<_> = links(text)
            .into_iter()
            .map(|link| (link.line, link.target))
            .collect();
        assert_eq!(
            found,
            [
                (1, "b.md#c".to_owned()),
                (5, "g.md".to_owned()),
                (6, "i.md".to_owned())
            ]
        );
    }

    #[test]
    fn anchors_follow_the_headings() {
        let found = anchors("# The `cadft` command!\n## Again\n```\n# not this\n```\n## Again\n#hash\n");
        let wanted = ["again", "again-1", "the-cadft-command"];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    }
}
