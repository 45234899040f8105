//! `conversations`: ShareGPT's turns with `from` and `value`.

use super::{Fields, messages};
use crate::row::Content;

pub(super) fn content(fields: &mut Fields) -> Option<Content> {
    let values = fields.list("conversations", " of messages")?;
    let turns = messages::list(values, "conversations", fields.problems_mut())?;
    messages::content_of(turns, fields)
}
