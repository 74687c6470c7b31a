//! Bars, by indicatif.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::report::Totals;
use crate::columns::WIDTH;

/// A bar of `done` of `all`, as text.
pub fn drawn(done: u64, all: u64) -> String {
    let page = Page::default();
    let target = ProgressDrawTarget::term_like(Box::new(page.clone()));
    let bar = ProgressBar::with_draw_target(Some(all), target).with_style(style("{bar:18}"));
    bar.set_position(done);
    bar.abandon();
    page.last_line()
}

/// The bar of a mount that sends what is not sent yet; dropped, it is taken away.
pub struct Flushing(ProgressBar);

impl Flushing {
    /// One that shows nothing yet, among `bars`.
    pub fn among(bars: &MultiProgress) -> Self {
        let bar = ProgressBar::new(0).with_style(style("[{bar:30}] {msg}"));
        Self(bars.add(bar))
    }

    /// So much is left.
    pub fn left(&self, left: Totals) {
        // There was at least as much as there is left.
        let all = self.0.length().unwrap_or_default().max(left.bytes);
        self.0.set_length(all);
        self.0.set_position(all - left.bytes);
        self.0.set_message(format!("{left} left"));
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// What a bar is drawn on, to be taken as text.
#[derive(Clone, Debug, Default)]
struct Page(Arc<Mutex<String>>);

impl Page {
    fn last_line(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = text.lines().rev().map(str::trim_end);
        lines
            .find(|line| !line.is_empty())
            .unwrap_or_default()
            .to_owned()
    }
}

impl TermLike for Page {
    fn width(&self) -> u16 {
        WIDTH as u16
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        page.push_str(text);
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\n")
    }

    fn move_cursor_up(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_what_is_done() {
        assert_eq!(drawn(0, 18), "");
        assert_eq!(drawn(9, 18), "=========>");
        assert_eq!(drawn(18, 18), "=".repeat(18));
    }
}
