//! What the fuzzer feeds of the journal (`tests/fuzz`), and what has to hold of whatever comes out.

use super::log::{HEADER, checked, frame, read};
use super::record::Left;

/// A log: as it is, and as one of records with the right checksums, each behind a byte with its length.
pub fn journal(bytes: &[u8]) {
    check(bytes);
    check(&[HEADER, bytes].concat());
    let mut log = HEADER.to_vec();
    let mut ends = vec![log.len()];
    let mut rest = bytes;
    while let Some((&length, behind)) = rest.split_first() {
        let (record, behind) = behind.split_at(usize::from(length).min(behind.len()));
        log.extend(checked(record).expect("it is short"));
        ends.push(log.len());
        rest = behind;
    }
    let (left, whole) = check(&log).expect("it has the header");
    assert!(ends.contains(&whole), "no record is taken in half");
    // Cut where records end or within one: what was whole before it is there.
    for cut in ends.iter().flat_map(|end| [*end, end.saturating_sub(1)]) {
        let (_, kept) = check(&log[..cut]).expect("it has the header, or a part of it");
        let last = ends.iter().filter(|end| **end <= cut.min(whole)).max();
        assert_eq!(kept, last.copied().unwrap_or(0));
    }
    // Written anew it says the same.
    let mut anew = HEADER.to_vec();
    for record in left.records() {
        anew.extend(frame(&record).expect("it was read from one"));
    }
    assert_eq!(read(&anew), Some((left, anew.len())));
}

fn check(bytes: &[u8]) -> Option<(Left, usize)> {
    let (left, whole) = read(bytes)?;
    assert!(whole <= bytes.len());
    assert_eq!(read(&bytes[..whole]), Some((left.clone(), whole)));
    left.last_number();
    Some((left, whole))
}
