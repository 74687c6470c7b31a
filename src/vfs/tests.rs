//! What no schedule meets by itself, over a server in this process: tasks are held at the one point where they once went
//! wrong, and a mount ends where it seldom does.

use std::future::{Future, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use libunftp::ServerBuilder;
use tokio::net::TcpListener;
use unftp_sbe_fs::Filesystem;

use super::queue::Work;
use super::*;
use crate::cache::scratch_name;

/// A filesystem over a server of its own, without the tasks that send what is queued.
struct Mounted {
    vfs: Arc<Vfs>,
    port: u16,
    folder: tempfile::TempDir,
}

impl Mounted {
    async fn start(write_back: bool) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("root");
        std::fs::create_dir(&root)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(serve(listener, root));
        let vfs = Self::connect(port, &folder, write_back).await?;
        Ok(Self { vfs, port, folder })
    }

    /// The next mount, after this one was killed.
    async fn again(self, write_back: bool) -> io::Result<Self> {
        let Self { vfs, port, folder } = self;
        drop(vfs);
        let vfs = Self::connect(port, &folder, write_back).await?;
        Ok(Self { vfs, port, folder })
    }

    async fn connect(
        port: u16,
        folder: &tempfile::TempDir,
        write_back: bool,
    ) -> io::Result<Arc<Vfs>> {
        let server = ServerConfig::of_test(port);
        let pool = PoolConfig {
            max_sessions: 4,
            idle_timeout: LONG,
        };
        let cache = CacheConfig {
            capacity_bytes: 1 << 20,
            attr_ttl: LONG,
        };
        let config = VfsConfig {
            uid: 0,
            gid: 0,
            file_mode: None,
            dir_mode: None,
            umask: None,
            read_only: false,
            url: String::new(),
            staging: folder.path().join("staging"),
            journal: "journal".to_owned(),
            write_back,
        };
        let vfs = Vfs::connect(server, pool, cache, config).await;
        Ok(Arc::new(vfs.map_err(io::Error::other)?))
    }

    /// Where the server has the file `name`.
    fn there(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    /// Makes the file `name`, writes `content` to it and closes it; its inode.
    async fn write(&self, name: &str, content: &[u8]) -> Result<u64> {
        let access = Access {
            write: true,
            ..Access::default()
        };
        let made = self.vfs.create(ROOT, name.as_bytes(), 0o644, access).await;
        let (attr, opened) = made?;
        self.vfs.write(opened.fh, 0, content).await?;
        self.vfs.flush(opened.fh, NOBODY).await?;
        self.vfs.release(opened.fh).await;
        Ok(attr.ino)
    }

    /// Writes four bytes of the file `ino` at `offset` as [`changed`] has them, and closes it.
    async fn change_head(&self, ino: u64, offset: u64) -> Result<()> {
        let access = Access {
            write: true,
            ..Access::default()
        };
        let opened = self.vfs.open(ino, access).await?;
        self.vfs.write(opened.fh, offset, HEAD).await?;
        let flushed = self.vfs.flush(opened.fh, NOBODY).await;
        self.vfs.release(opened.fh).await;
        flushed
    }
}

/// `content` with another beginning at `offset`.
fn changed(content: &[u8], offset: usize) -> Vec<u8> {
    let mut changed = content.to_vec();
    changed[offset..offset + HEAD.len()].copy_from_slice(HEAD);
    changed
}

async fn serve(listener: TcpListener, root: PathBuf) {
    while let Ok((stream, _)) = listener.accept().await {
        let root = root.clone();
        let storage =
            move || Filesystem::new(&root).expect("the test's folder outlives its server");
        let server = ServerBuilder::new(Box::new(storage))
            .passive_ports(49152..=65535)
            .build()
            .expect("all of this is what it takes");
        tokio::spawn(server.service(stream));
    }
}

/// Goes on with `task` until it has to wait; whether it does.
async fn waits<T>(mut task: Pin<&mut impl Future<Output = T>>) -> bool {
    poll_fn(|context| Poll::Ready(task.as_mut().poll(context).is_pending())).await
}

/// Whether `is_so` within a moment, for which this thread does nothing else.
fn soon(is_so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < MOMENT {
        if is_so() {
            return true;
        }
        std::thread::sleep(MOMENT / 100);
    }
    false
}

/// Between the file's removal and the end of its name, whoever is about to send it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_removed_as_it_begins_to_be_sent_stays_away() {
    let mounted = Mounted::start(true).await.expect("a server");
    let vfs = mounted.vfs.clone();
    let ino = mounted.write("file", b"content").await.expect("written");
    let (_, path, work) = vfs.queue.next(|| 1).await;
    let staged = vfs.staged(ino).expect("it is not sent yet");
    let order = staged.order.clone().lock_owned().await;
    let remover = vfs.clone();
    let mut removing = Box::pin(async move { remover.remove_file(ROOT, b"file").await });
    while !vfs
        .with_node(ino, |node| node.leaving)
        .expect("it is there")
    {
        assert!(waits(removing.as_mut()).await);
        tokio::task::yield_now().await;
    }
    // In this order they wait for their turn; the first on a thread of its own, which waits for more than tasks may.
    let runtime = tokio::runtime::Handle::current();
    let removing = tokio::task::spawn_blocking(move || runtime.block_on(removing));
    let sender = vfs.clone();
    let sending = tokio::spawn(async move { sender.perform(&path, &work).await });
    let came_back = {
        // The removal comes as far as this.
        let _held = vfs.overlay();
        drop(order);
        soon(|| mounted.there("file").exists())
    };
    removing.await.expect("no panic").expect("removed");
    sending.await.expect("no panic").expect("not sent");
    assert!(!came_back && !mounted.there("file").exists());
}

/// Whoever lets go what is sent finds it let go already, and something else in its place.
#[tokio::test]
async fn what_is_written_anew_is_not_let_go_with_what_was_sent() {
    let mounted = Mounted::start(false).await.expect("a server");
    let vfs = mounted.vfs.clone();
    let ino = mounted.write("file", b"content").await.expect("written");
    let (_, order) = vfs.stage_to_change(ino).await.expect("staged");
    let mut first = pin!(vfs.let_go(ino));
    let mut second = pin!(vfs.let_go(ino));
    assert!(waits(first.as_mut()).await && waits(second.as_mut()).await);
    drop(order);
    first.await;
    let (staged, order) = vfs.stage_to_change(ino).await.expect("staged");
    let held = waits(second.as_mut()).await;
    staged.truncate(3).expect("cut");
    vfs.note(ino, &staged, None).expect("noted");
    drop(order);
    if held {
        second.await;
    }
    vfs.deliver(ino).await.expect("sent");
    assert_eq!(std::fs::read(mounted.there("file")).expect("there"), b"con");
}

/// Sent under its own name, which was not answered, and then under another, within which the mount ends: the part under its
/// own name is no change of others.
#[tokio::test]
async fn a_file_that_was_sent_under_two_names_goes_on() {
    let mounted = Mounted::start(true).await.expect("a server");
    let ino = mounted.write("file", b"content").await.expect("written");
    let scratch = {
        let staged = mounted.vfs.staged(ino).expect("it is not sent yet");
        let path = mounted.vfs.path(ino).expect("it has a name");
        let scratch = scratch_name(&path);
        staged.note_sent_to(&path).expect("noted");
        staged.note_sent_to(&scratch).expect("noted");
        String::from_utf8_lossy(scratch.name()).into_owned()
    };
    std::fs::write(mounted.there("file"), b"con").expect("a part");
    std::fs::write(mounted.there(&scratch), b"co").expect("a part");
    let mounted = mounted.again(true).await.expect("the next mount");
    let (_, path, work) = mounted.vfs.queue.next(|| 1).await;
    let sent = mounted.vfs.perform(&path, &work).await;
    sent.expect("sent");
    let there = std::fs::read_dir(mounted.there("")).expect("there");
    let names: Vec<_> = there.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["file"]);
    let content = std::fs::read(mounted.there("file"));
    assert_eq!(content.expect("there"), b"content");
}

/// The mount ends when it has noted that a file is to be removed, and not yet that what was written to it is not to be sent.
#[tokio::test]
async fn a_file_whose_removal_was_noted_is_not_sent() {
    let mounted = Mounted::start(true).await.expect("a server");
    let ino = mounted.write("file", b"content").await.expect("written");
    let (_, path, work) = mounted.vfs.queue.next(|| 1).await;
    mounted.vfs.perform(&path, &work).await.expect("sent");
    let there = mounted.vfs.remote.version_of(&path).await.expect("there");
    {
        let (staged, _order) = mounted.vfs.stage_to_change(ino).await.expect("staged");
        staged.append(b", and more").expect("written");
        mounted.vfs.note(ino, &staged, None).expect("noted");
    }
    mounted.vfs.deliver(ino).await.expect("acknowledged");
    let removal = Intent::Remove(path, Kind::File, Some(there));
    let number = mounted.vfs.queue.number();
    let journal = mounted.vfs.staging.journal();
    journal
        .note(Record::Queued(number, removal))
        .expect("noted");
    let mounted = mounted.again(true).await.expect("the next mount");
    let queued = mounted.vfs.queue.all();
    let works: Vec<&Work> = queued.iter().map(|(_, work, _)| work).collect();
    assert!(matches!(works[..], [Work::Remove(..)]), "{works:?}");
    let held = std::fs::read_dir(mounted.vfs.journal_folder()).expect("a journal");
    let names: Vec<_> = held.flatten().map(|entry| entry.file_name()).collect();
    assert!(
        names.iter().all(|name| name == "log" || name == "lock"),
        "{names:?}"
    );
    let (_, path, work) = mounted.vfs.queue.next(|| 1).await;
    mounted.vfs.perform(&path, &work).await.expect("removed");
    assert!(!mounted.there("file").exists());
}

/// A file is removed whose time is still to be set: should the mount end, the next one removes it for all that.
#[tokio::test]
async fn a_removal_behind_a_set_time_knows_the_file_by_that() {
    let mounted = Mounted::start(true).await.expect("a server");
    let vfs = &mounted.vfs;
    let ino = mounted.write("file", b"content").await.expect("written");
    let (number, path, work) = vfs.queue.next(|| 1).await;
    vfs.perform(&path, &work).await.expect("sent");
    vfs.queue.end(number);
    let time = Intent::SetMtime(path.clone(), 1000);
    let work = Work::SetMtime(ino, 1000);
    vfs.queue_change(&path, time, work).await.expect("noted");
    vfs.remove_file(ROOT, b"file").await.expect("removed");
    let left = vfs.staging.journal().left();
    let removal = left.changes.values().find_map(|change| match change {
        Intent::Remove(_, _, was) => *was,
        _ => None,
    });
    let time = removal.and_then(|was| was.modified);
    assert_eq!(time.map(|time| time.seconds), Some(1000));
}

/// A file that was empty is written, sent meanwhile, and emptied again before that has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_emptied_while_it_is_sent_is_empty() {
    let mounted = Mounted::start(false).await.expect("a server");
    let vfs = &mounted.vfs;
    let ino = mounted.write("file", b"").await.expect("written");
    let access = Access {
        write: true,
        ..Access::default()
    };
    let opened = vfs.open(ino, access).await.expect("opened");
    let written = vfs.write(opened.fh, 0, &[1; 3 << 20]).await;
    written.expect("written");
    let arrives = || std::fs::metadata(mounted.there("file")).is_ok_and(|now| now.len() > 0);
    let begun = Instant::now();
    while !arrives() {
        assert!(begun.elapsed() < LONG, "it is not sent meanwhile");
        tokio::time::sleep(MOMENT / 100).await;
    }
    vfs.truncate(ino, 0, Some(opened.fh)).await.expect("cut");
    vfs.flush(opened.fh, NOBODY).await.expect("sent");
    assert_eq!(std::fs::read(mounted.there("file")).expect("there"), b"");
}

/// Bytes were added to a file, whose upload failed, and cut off again before the next.
#[tokio::test]
async fn a_file_that_is_cut_to_what_it_was_keeps_it() {
    let mounted = Mounted::start(false).await.expect("a server");
    let vfs = &mounted.vfs;
    let ino = mounted.write("file", b"content").await.expect("written");
    {
        let (staged, _order) = vfs.stage_to_change(ino).await.expect("staged");
        staged.append(b", and more").expect("written");
        vfs.note(ino, &staged, None).expect("noted");
        let path = vfs.path(ino).expect("it has a name");
        staged.note_sent_to(&path).expect("noted");
        staged.truncate(7).expect("cut");
        vfs.note(ino, &staged, None).expect("noted");
    }
    vfs.deliver(ino).await.expect("sent");
    let content = std::fs::read(mounted.there("file"));
    assert_eq!(content.expect("there"), b"content");
}

/// A long part of a file was sent; then its head was written once more, as muxers do, far from where the part ends.
#[tokio::test]
async fn a_part_that_is_not_true_any_more_is_not_gone_on_with() {
    let mounted = Mounted::start(true).await.expect("a server");
    let ino = mounted.write("file", &OLD).await.expect("written");
    {
        let vfs = &mounted.vfs;
        let staged = vfs.staged(ino).expect("it is not sent yet");
        let path = vfs.path(ino).expect("it has a name");
        staged.note_sent_to(&path).expect("noted");
        std::fs::write(mounted.there("file"), &OLD[..PART]).expect("a part");
        mounted.change_head(ino, 0).await.expect("written");
    }
    let mounted = mounted.again(true).await.expect("the next mount");
    let (_, path, work) = mounted.vfs.queue.next(|| 1).await;
    mounted.vfs.perform(&path, &work).await.expect("sent");
    let content = std::fs::read(mounted.there("file")).expect("there");
    assert!(content == changed(&OLD, 0), "it is {:?}...", &content[..4]);
}

/// A long upload broke off for longer than it is tried again: under the file's own name, or another.
#[tokio::test]
async fn a_long_upload_goes_on_at_the_next_attempt() {
    for own_name in [true, false] {
        for rewritten in [true, false] {
            let case = format!("own name: {own_name}, rewritten: {rewritten}");
            let mounted = Mounted::start(true).await.expect("a server");
            let vfs = &mounted.vfs;
            let mut content: Vec<u8> = (0..3_000_000).map(|at| (at / 1000) as u8).collect();
            let ino = mounted.write("file", &content).await.expect("written");
            let part = {
                let staged = vfs.staged(ino).expect("it is not sent yet");
                let path = vfs.path(ino).expect("it has a name");
                let at = match own_name {
                    true => path,
                    false => scratch_name(&path),
                };
                if let Some(early) = staged.take_early() {
                    early.give_up().await;
                }
                staged.note_sent_to(&at).expect("noted");
                mounted.there(&String::from_utf8_lossy(at.name()))
            };
            std::fs::write(&part, &content[..2_000_000]).expect("a part");
            if rewritten {
                mounted.change_head(ino, 0).await.expect("written");
                content = changed(&content, 0);
            }
            let (_, path, work) = vfs.queue.next(|| 1).await;
            let sent = || vfs.remote.pool().crossed().sent_bytes;
            let before = sent();
            vfs.perform(&path, &work).await.expect("sent");
            let sent = sent() - before;
            let there = std::fs::read(mounted.there("file")).expect("there");
            assert!(there == content, "{case}");
            assert_eq!(sent < 2_000_000, !rewritten, "{case}: {sent} bytes");
            let names = std::fs::read_dir(mounted.there("")).expect("there");
            assert_eq!(names.count(), 1, "{case}");
        }
    }
}

/// The same of what was added to a file, by one mount.
#[tokio::test]
async fn an_addition_that_is_not_true_any_more_is_not_gone_on_with() {
    let mounted = Mounted::start(false).await.expect("a server");
    let vfs = &mounted.vfs;
    let ino = mounted.write("file", b"content").await.expect("written");
    {
        let (staged, _order) = vfs.stage_to_change(ino).await.expect("staged");
        staged.append(&OLD).expect("written");
        vfs.note(ino, &staged, None).expect("noted");
        let path = vfs.path(ino).expect("it has a name");
        staged.note_sent_to(&path).expect("noted");
    }
    let whole = [b"content", &OLD[..]].concat();
    std::fs::write(mounted.there("file"), &whole[..PART]).expect("a part");
    let sent = mounted.change_head(ino, 7).await;
    let content = std::fs::read(mounted.there("file")).expect("there");
    match sent {
        Ok(()) => assert!(content == changed(&whole, 7)),
        // The server has something that neither program nor mount knows whole: said, and nothing is built on it.
        Err(error) => assert!(content == whole[..PART], "{error}"),
    }
}

static OLD: [u8; 900_000] = [b'o'; 900_000];

/// Bytes of it that were sent: many more than are compared.
const PART: usize = 700_000;

const HEAD: &[u8] = b"head";

/// No process has this number.
const NOBODY: u32 = 0;

const LONG: Duration = Duration::from_secs(30);

/// Many times what sending takes.
const MOMENT: Duration = Duration::from_millis(500);
