//! What is queued for one path, and what is shown by it.

use super::queue::Work;
use crate::cache::{Item, Version};
use crate::ftp::list::{Modified, Precision};

/// What is queued for one path, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(super) works: Vec<Work>,
    /// Whether the server has nothing there, nor below, that is to be shown.
    pub(super) made: bool,
}

impl View {
    /// What is shown where the server has `item`.
    pub fn over(&self, item: Option<Item>) -> Option<Item> {
        let mut shown = item;
        for work in &self.works {
            match work {
                Work::Send { .. } => {}
                Work::MakeDir(entry) => shown = Some(Item::unsettled(entry.clone())),
                Work::Remove(..) => shown = None,
                Work::SetMode(_, mode) => {
                    if let Some(item) = &mut shown {
                        item.entry.mode = Some(*mode);
                    }
                }
                Work::SetMtime(_, seconds) => {
                    if let Some(item) = &mut shown {
                        item.entry.modified = Some(Modified {
                            seconds: *seconds,
                            precision: Precision::Second,
                        });
                    }
                }
            }
        }
        shown
    }

    /// What becomes of the version `was`, of which the time of modification is a part.
    pub fn version(&self, was: Version) -> Version {
        self.mtime().map_or(was, |seconds| Version {
            modified: Some(Modified {
                seconds,
                precision: Precision::Second,
            }),
            ..was
        })
    }

    /// The time of modification that is to be set last.
    pub fn mtime(&self) -> Option<i64> {
        let mut works = self.works.iter().rev();
        works.find_map(|work| match work {
            Work::SetMtime(_, seconds) => Some(*seconds),
            _ => None,
        })
    }

    /// Whether the server need not be asked.
    pub fn is_made(&self) -> bool {
        self.made
    }

    /// Whether nothing is queued that changes what is shown.
    pub fn is_clear(&self) -> bool {
        self.works.is_empty() && !self.made
    }
}
