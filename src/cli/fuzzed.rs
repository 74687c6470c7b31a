//! What the fuzzer feeds of the command line (`tests/fuzz`), and what has to hold of whatever comes out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::fstab::field;
use super::line::Written;
use super::options::{Raw, Unknown, apply_list, words};

/// An `-o` list.
pub fn options(list: &[u8]) {
    let list = OsStr::from_bytes(list);
    let split = words(list);
    assert!(split.iter().all(|word| !word.is_empty()));
    let held: usize = split.iter().map(|word| word.len()).sum();
    assert!(held <= list.len());
    let refused = apply_list(&mut Raw::default(), list, Unknown::Refused);
    if let Ok(()) = refused {
        let passed_over = apply_list(&mut Raw::default(), list, Unknown::Ignored);
        assert_eq!(passed_over, Ok(()));
        // What `probe` prints for fstab is one field, and is understood again.
        let line = field(&[Written::List(list)]).join(",");
        assert!(
            line.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        );
        let again = apply_list(&mut Raw::default(), OsStr::new(&line), Unknown::Refused);
        assert_eq!(again, Ok(()), "{line}");
    }
}
