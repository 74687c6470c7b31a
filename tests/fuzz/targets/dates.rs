#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ftpfs::ftp::list::fuzzed::date(bytes));
