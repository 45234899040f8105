//! `text`: the whole text is trained.

use super::Fields;
use crate::row::Content;

pub(super) fn content(fields: &mut Fields) -> Option<Content> {
    let text = fields.text("text")?;
    if text.is_empty() {
        fields.problem("`text`: empty".to_owned());
        return None;
    }
    Some(Content::Text(text))
}
