//! The order of changes.

use super::*;
use crate::cache::Item;

fn path(text: &str) -> RemotePath {
    RemotePath::new(text.as_bytes())
}

fn remove(queue: &Queue, at: &str) -> u64 {
    let number = queue.number();
    queue.add(number, &path(at), Work::Remove(Kind::File, None));
    number
}

/// Those that are ready and not begun; they are by this.
fn ready(queue: &Queue) -> Vec<u64> {
    let mut state = queue.state();
    std::iter::from_fn(|| state.ready.begin(MANY)).collect()
}

#[test]
fn a_change_waits_for_those_at_above_and_below_its_path_alone() {
    let queue = Queue::default();
    let file = remove(&queue, "/a/b/f");
    let beside = remove(&queue, "/a/bc");
    let other = remove(&queue, "/a/b/g");
    let folder = remove(&queue, "/a/b");
    let again = remove(&queue, "/a/b/f");
    assert_eq!(ready(&queue), [file, beside, other]);
    queue.end(file);
    assert!(ready(&queue).is_empty());
    queue.end(other);
    assert_eq!(ready(&queue), [folder]);
    queue.end(folder);
    assert_eq!(ready(&queue), [again]);
}

#[test]
fn what_is_shown_follows_the_order() {
    let queue = Queue::default();
    let entry = Entry {
        name: b"d".to_vec(),
        kind: Kind::Dir,
        size: None,
        modified: None,
        mode: Some(0o755),
        target: None,
        line: None,
    };
    let there = || Some(Item::unsettled(entry.clone()));
    assert!(queue.view(&path("/d")).is_clear());
    let removed = remove(&queue, "/d");
    assert!(queue.view(&path("/d")).over(there()).is_none());
    let made = queue.number();
    queue.add(made, &path("/d"), Work::MakeDir(entry.clone()));
    let set = queue.number();
    queue.add(set, &path("/d"), Work::SetMode(2, 0o700));
    let view = queue.view(&path("/d"));
    let mode = |item: Option<Item>| item.and_then(|item| item.entry.mode);
    assert_eq!(mode(view.over(None)), Some(0o700));
    assert!(queue.view(&path("/d/below/it")).is_made());
    assert_eq!(queue.views_in(&path("/")).len(), 1);
    queue.end(removed);
    queue.end(made);
    assert!(!queue.view(&path("/d/below/it")).is_made());
    assert_eq!(mode(queue.view(&path("/d")).over(there())), Some(0o700));
}

#[tokio::test]
async fn who_waits_is_told_why_a_change_rests() {
    let queue = Queue::default();
    let number = remove(&queue, "/d/f");
    assert!(queue.settled(&path("/e")).await.is_ok());
    assert_eq!(queue.next(|| MANY).await.0, number);
    queue.rest(number, Arc::new(Error::NotFound));
    assert!(queue.settled(&path("/d")).await.is_err());
    assert_eq!(queue.quiet(u64::MAX).await.len(), 1);
    queue.wake(number);
    assert_eq!(queue.next(|| MANY).await.0, number);
    queue.end(number);
    assert!(queue.settled(&path("/d")).await.is_ok());
}

/// More than there are.
const MANY: usize = 8;
