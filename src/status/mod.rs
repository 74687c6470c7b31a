//! `ftpfs status` and `ftpfs flush`: what the mounts of this machine do, asked of themselves.
//!
//! Each mount listens on a socket of its own in the user's runtime folder, which nobody else can enter. A request is a line
//! of JSON, and so is each answer. Knows no kernel.

mod ask;
mod bar;
mod listen;
mod place;
mod report;
mod text;

use std::future::Future;
use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::MultiProgress;
use serde::{Deserialize, Serialize};

pub use listen::{Listening, Told, listen};
pub use report::Report;

use crate::log::Terminal;
use crate::vfs::Vfs;
use ask::Mount;
use bar::Flushing;
use report::{Totals, Unsent};

/// What is asked, of which mounts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Folders that sockets are in.
    pub folders: Vec<PathBuf>,
    /// Of the mount here alone; `None` = of all.
    pub mountpoint: Option<PathBuf>,
    /// What.
    pub question: Question,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What they do, to be printed.
    Status(Form),
    /// That they send all that is not sent yet.
    Flush,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Once, as text.
    Text,
    /// Once, as JSON.
    Json,
    /// Every second, until interrupted.
    Watch {
        /// One line of JSON each time, in place of text.
        json: bool,
    },
}

/// What a mount is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Status,
    Flush,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// To [`Request::Status`].
    Status(Box<Report>),
    /// To [`Request::Flush`], while it goes on: what is left.
    Left(Totals),
    /// To [`Request::Flush`], at its end: what cannot be sent.
    Flushed(Vec<Unsent>),
}

/// Asks as `setup` says, and prints the answers.
///
/// # Errors
/// A sentence for each mount that cannot be asked, and for each change that cannot be sent.
pub fn run(setup: &Setup) -> Result<(), String> {
    match setup.question {
        Question::Status(Form::Text) => {
            let (reports, silent) = setup.reports()?;
            print(&text::of(&reports, stdout().is_terminal()))?;
            unless_empty(&silent)
        }
        Question::Status(Form::Json) => {
            let (reports, silent) = setup.reports()?;
            let json = serde_json::to_string_pretty(&reports).map_err(|e| e.to_string())?;
            print(&(json + "\n"))?;
            unless_empty(&silent)
        }
        Question::Status(Form::Watch { json: true }) => loop {
            let (reports, _) = setup.reports()?;
            let json = serde_json::to_string(&reports).map_err(|e| e.to_string())?;
            print(&(json + "\n"))?;
            thread::sleep(SECOND);
        },
        Question::Status(Form::Watch { json: false }) => watch(setup),
        Question::Flush => flush(&setup.mounts()?),
    }
}

/// Waits until all that is written in the mount of `setup` is sent, if it is one that answers.
///
/// # Errors
/// A sentence for each change that cannot be sent.
pub fn wait_for(setup: &Setup) -> Result<(), String> {
    // One that has ended, or is somebody else's, is taken off without being waited for.
    setup.mounts().map_or(Ok(()), |mounts| flush(&mounts))
}

impl Setup {
    /// The mounts that are asked.
    fn mounts(&self) -> Result<Vec<Mount>, String> {
        match &self.mountpoint {
            None => Ok(ask::all(&self.folders)),
            Some(path) => ask::at(&self.folders, path).map(|mount| vec![mount]),
        }
    }

    /// What they say, by mountpoint; and of each that does not answer, a sentence.
    fn reports(&self) -> Result<(Vec<Report>, Vec<String>), String> {
        let (mut reports, mut silent) = (Vec::new(), Vec::new());
        for mount in self.mounts()? {
            match mount.status() {
                Ok(report) => reports.push(report),
                // It has ended since it was found.
                Err(ask::Error::Gone) => {}
                Err(error) => silent.push(error.to_string()),
            }
        }
        reports.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
        Ok((reports, silent))
    }
}

/// Prints anew every second what has changed.
fn watch(setup: &Setup) -> Result<(), String> {
    let terminal = Term::stdout();
    let attended = stdout().is_terminal();
    let mut before: Option<(Instant, Vec<Report>)> = None;
    let mut shown = 0;
    loop {
        let (mut reports, silent) = setup.reports()?;
        let now = Instant::now();
        if let Some((then, before)) = &before {
            for report in &mut reports {
                report.measure(before, now - *then);
            }
        }
        let mut text = text::of(&reports, attended);
        for sentence in &silent {
            text = text + sentence + "\n";
        }
        if attended {
            let rows = usize::from(terminal.size().0).saturating_sub(1).max(1);
            let lines: Vec<&str> = text.lines().take(rows).collect();
            let drawn = terminal.clear_last_lines(shown);
            drawn.map_err(|e| unprinted(&e))?;
            shown = lines.len();
            print(&(lines.join("\n") + "\n"))?;
        } else {
            print(&(text + "\n"))?;
        }
        before = Some((now, reports));
        thread::sleep(SECOND);
    }
}

/// Waits until each of `mounts` has sent all.
fn flush(mounts: &[Mount]) -> Result<(), String> {
    let mut unsent = Vec::new();
    let bars = MultiProgress::new();
    for mount in mounts {
        let left = {
            let bar = Flushing::among(&bars);
            mount.flush(|left| bar.left(left))
        };
        match left {
            Ok(left) => unsent.extend(left.iter().map(text::sentence)),
            // An ended mount has sent all, or has said what not.
            Err(ask::Error::Gone) => {}
            Err(error) => unsent.push(error.to_string()),
        }
    }
    unless_empty(&unsent)
}

/// Waits for `sending`, and shows on the terminal meanwhile how much `vfs` has yet to send.
pub async fn shown<T>(vfs: &Vfs, terminal: &Terminal, sending: impl Future<Output = T>) -> T {
    tokio::pin!(sending);
    // None for what takes no time.
    let mut bar = None;
    loop {
        tokio::select! {
            sent = &mut sending => return sent,
            () = tokio::time::sleep(STEP) => {
                let bar = bar.get_or_insert_with(|| Flushing::among(terminal.bars()));
                bar.left(Totals::left(vfs));
            }
        }
    }
}

/// What `vfs` has yet to send, in a few words; `None` if that is nothing.
pub fn left(vfs: &Vfs) -> Option<String> {
    let left = Totals::of(&vfs.unsent());
    (left.changes > 0).then(|| left.to_string())
}

/// What becomes of what `vfs` has yet to send if it ends now: a line for each change.
pub fn kept(vfs: &Vfs) -> String {
    text::kept(&vfs.unsent(), vfs.journal_folder())
}

/// How often who waits is told how far it is.
const STEP: Duration = Duration::from_millis(200);

fn unless_empty(sentences: &[String]) -> Result<(), String> {
    match sentences {
        [] => Ok(()),
        sentences => Err(sentences.join("\n")),
    }
}

fn print(text: &str) -> Result<(), String> {
    let mut out = stdout();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|e| unprinted(&e))
}

fn unprinted(error: &std::io::Error) -> String {
    format!("cannot print the status: {error}")
}

const SECOND: Duration = Duration::from_secs(1);
