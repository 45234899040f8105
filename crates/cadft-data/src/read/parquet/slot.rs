//! A reader of one page, which is put into it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::Result as Decoded;

/// The pages that the decoder of the values gets.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<VecDeque<Page>>>);

impl Slot {
    pub(super) fn put(&self, page: Option<Page>) {
        if let Ok(mut pages) = self.0.lock() {
            pages.extend(page);
        }
    }
}

impl Iterator for Slot {
    type Item = Decoded<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Slot {
    fn get_next_page(&mut self) -> Decoded<Option<Page>> {
        Ok(self.0.lock().ok().and_then(|mut pages| pages.pop_front()))
    }

    fn peek_next_page(&mut self) -> Decoded<Option<PageMetadata>> {
        Ok(None)
    }

    fn skip_next_page(&mut self) -> Decoded<()> {
        self.get_next_page().map(drop)
    }
}
