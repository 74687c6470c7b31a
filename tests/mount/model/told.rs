//! Scripts that were found once, and that chance takes long to find again.

use super::*;

/// Their names, and what they do.
pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    let file = |name: &str, length| {
        vec![
            Op::Open(0, name.into(), How(OFlags::RDWR | OFlags::CREATE)),
            Op::Write(0, 0, length, 1),
            Op::Close(0),
        ]
    };
    let unlinked = |length| {
        let mut script = vec![Op::Mkdir("a".into())];
        script.extend(file("a/b", length));
        script.push(Op::Open(1, "a/b".into(), How(OFlags::RDWR)));
        script.push(Op::Unlink("a/b".into()));
        script
    };
    let then = |mut script: Vec<Op>, more: &[Op]| {
        script.extend_from_slice(more);
        Script(script)
    };
    let read = Op::Read(1, 0, 6000);
    vec![
        (
            "a_time_set_on_an_open_file_is_no_change_of_others",
            Script(vec![
                Op::Open(0, "a".into(), How(OFlags::RDWR | OFlags::CREATE)),
                Op::Write(0, 0, 5000, 1),
                Op::Sync(0),
                Op::SetHandleTime(0, 1_000_000_000),
                Op::Write(0, 5000, 10, 2),
                Op::Sync(0),
                Op::SetTime("a".into(), 1_100_000_000),
                Op::Write(0, 10, 10, 3),
                Op::Close(0),
            ]),
        ),
        (
            "the_folder_of_an_unlinked_open_file_is_removed",
            then(
                unlinked(5000),
                &[
                    Op::Rmdir("a".into()),
                    read.clone(),
                    Op::Mkdir("a".into()),
                    read.clone(),
                ],
            ),
        ),
        (
            "the_folder_of_an_unlinked_open_file_is_renamed",
            then(
                unlinked(5000),
                &[
                    Op::Rename("a".into(), "b".into()),
                    read.clone(),
                    Op::Mkdir("a".into()),
                    Op::Write(1, 4999, 10, 3),
                    read.clone(),
                    Op::Close(1),
                    Op::Rmdir("b".into()),
                ],
            ),
        ),
        (
            "a_folder_of_an_unlinked_open_file_is_replaced",
            then(
                unlinked(5000),
                &[
                    Op::Mkdir("b".into()),
                    Op::Rename("b".into(), "a".into()),
                    read.clone(),
                ],
            ),
        ),
        (
            "an_unlinked_empty_file_grows",
            then(
                unlinked(0),
                &[
                    Op::SetLength(1, 1493),
                    read.clone(),
                    Op::Write(1, 0, 7, 2),
                    read,
                ],
            ),
        ),
        (
            "an_empty_file_that_is_cut_gets_a_new_time",
            then(
                file("a", 0),
                &[
                    Op::SetTime("a".into(), 1_000_000_000),
                    Op::Open(0, "a".into(), How(OFlags::WRONLY | OFlags::TRUNC)),
                    Op::Close(0),
                ],
            ),
        ),
        (
            "a_time_is_shown_while_the_file_is_open",
            then(
                vec![Op::Open(
                    3,
                    "c".into(),
                    How(OFlags::RDONLY | OFlags::CREATE),
                )],
                &[Op::SetTime("c".into(), 1_000_000_000), Op::Sync(3)],
            ),
        ),
    ]
}
