//! Servers that mean harm, or that somebody in between pretends to be: what they say leads nowhere but into an error, takes
//! no more memory than there is a bound for, and gets no password.
//!
//! What is done about data connections that lead elsewhere or come from strangers is with the other faults.

mod endless;
mod names;
mod tls;

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use rustix::io::Errno;

use crate::faults::is;
use crate::model_mount::{DEADLINE, ModelMount, within};
use crate::odd::{Odd, Step};

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("hostile::{name}"), run);
    vec![
        trial("no_name_leads_out_of_its_folder", names::evil_names),
        trial("a_link_is_shown_and_not_followed", names::links),
        trial("a_listing_without_an_end", endless::listing),
        trial("a_reply_without_an_end", endless::reply),
        trial("a_greeting_without_an_end", endless::greeting),
        trial("no_password_without_encryption", tls::refused),
        trial("no_word_before_the_handshake_counts", tls::injected),
        trial("what_was_encrypted_stays_so", tls::stripped),
        trial("no_files_without_encryption", tls::clear_data),
        trial("another_certificate_gets_no_password", tls::changed),
    ]
}
