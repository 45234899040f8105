//! `cadft data`.

pub(crate) mod convert;
pub(crate) mod corrupt;
pub(crate) mod inspect;
pub(crate) mod stats;
pub(crate) mod validate;

use crate::args::MaskName;
use cadft_data::Mask;

impl From<MaskName> for Mask {
    fn from(name: MaskName) -> Self {
        match name {
            MaskName::Assistant => Self::Assistant,
            MaskName::LastTurn => Self::LastTurn,
            MaskName::Completion => Self::Completion,
            MaskName::All => Self::All,
        }
    }
}
