//! What ftpfs computes, apart from what it waits for: listings, the block cache, the inode table.
//!
//! `cargo bench --bench computed`, or a part of it by name.

use std::hint::black_box;
use std::sync::Mutex;
use std::thread;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use ftpfs::cache::blocks::{BLOCK, Blocks, ContentKey};
use ftpfs::ftp::RemotePath;
use ftpfs::ftp::list::{Kind, Parsed, parse_list, parse_mlsd};
use ftpfs::ftp::time::Zone;
use ftpfs::vfs::inodes::{Inodes, ROOT};

/// Lines of a long listing.
const ENTRIES: usize = 100_000;

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

/// Bytes that each thread takes out of the cache at once, as the kernel's longest read.
const READ: u64 = 1 << 20;

/// Parses a whole listing.
type Parser<'a> = &'a dyn Fn(&[u8]) -> Parsed;

fn listing(line: impl Fn(usize) -> String) -> Vec<u8> {
    (0..ENTRIES)
        .flat_map(|number| line(number).into_bytes())
        .collect()
}

fn listings(criterion: &mut Criterion) {
    let zone = Zone::UTC;
    let mlsd = listing(|n| {
        format!(
            "type=file;size={n};modify=20251224180301;UNIX.mode=0644;unique=801g{n:x}; file {n}.jpg\r\n"
        )
    });
    let unix = listing(|n| {
        format!("-rw-r--r--    1 1000     1000   {n:>12} Dec 24 18:03 file {n}.jpg\r\n")
    });
    let dos = listing(|n| format!("12-24-25  06:03PM {n:>20} file {n}.jpg\r\n"));
    let list = |body: &[u8]| parse_list(body, &zone, NOW);
    let dialects: [(&str, &[u8], Parser); 3] = [
        ("MLSD", &mlsd, &parse_mlsd),
        ("LIST of Unix", &unix, &list),
        ("LIST of DOS", &dos, &list),
    ];
    let mut group = criterion.benchmark_group("listing of 100,000 entries");
    group.sample_size(20);
    for (name, body, parse) in dialects {
        assert_eq!(parse(body).entries.len(), ENTRIES, "{name}");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bench| bench.iter(|| parse(black_box(body))));
    }
    group.finish();
}

fn block_cache(criterion: &mut Criterion) {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 64;
    let mut blocks = Blocks::new(256 << 20);
    let bytes = Bytes::from(vec![7; BLOCK as usize]);
    for key in 0..THREADS {
        for block in 0..16 {
            blocks.insert(ContentKey(key), block * BLOCK, &bytes);
        }
    }
    let blocks = Mutex::new(blocks);
    let mut group = criterion.benchmark_group("block cache");
    group.throughput(Throughput::Bytes(THREADS * ROUNDS * READ));
    group.sample_size(20);
    group.bench_function("reads by 8 threads", |bench| {
        bench.iter(|| {
            thread::scope(|scope| {
                for key in 0..THREADS {
                    let blocks = &blocks;
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            let mut found = Vec::new();
                            // Across two blocks.
                            let at = round % 15 * BLOCK + BLOCK / 2;
                            let mut blocks = blocks.lock().expect("no panic");
                            let end = blocks.collect(ContentKey(key), at, at + READ, &mut found);
                            drop(blocks);
                            assert_eq!(end, at + READ);
                            black_box(found);
                        }
                    });
                }
            });
        });
    });
    group.bench_function("inserts by 8 threads, most of them evicting", |bench| {
        bench.iter_batched(
            || Mutex::new(Blocks::new(64 << 20)),
            |blocks| {
                thread::scope(|scope| {
                    for key in 0..THREADS {
                        let (blocks, bytes) = (&blocks, &bytes);
                        scope.spawn(move || {
                            for round in 0..ROUNDS {
                                let mut blocks = blocks.lock().expect("no panic");
                                blocks.insert(ContentKey(key), round * BLOCK, bytes);
                            }
                        });
                    }
                });
                blocks
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn inode_table(criterion: &mut Criterion) {
    const FOLDERS: usize = 1000;
    const FILES: usize = 1000;
    let mut inodes = Inodes::new(RemotePath::root());
    let names: Vec<Vec<u8>> = (0..FILES)
        .map(|n| format!("file {n}").into_bytes())
        .collect();
    let folders: Vec<u64> = (0..FOLDERS)
        .map(|n| inodes.introduce(ROOT, format!("folder {n}").as_bytes(), Kind::Dir))
        .collect();
    for folder in &folders {
        for name in &names {
            inodes.introduce(*folder, name, Kind::File);
        }
    }
    let mut group = criterion.benchmark_group("inode table of a million");
    let mut at = 0usize;
    let mut next = move || {
        // A prime step: each time another folder and another file.
        at = (at + 611_953) % (FOLDERS * FILES);
        (at / FILES, at % FILES)
    };
    group.bench_function("look a name up", |bench| {
        bench.iter(|| {
            let (folder, file) = next();
            black_box(inodes.find(folders[folder], &names[file])).expect("it is there")
        });
    });
    group.bench_function("path of an inode", |bench| {
        bench.iter(|| {
            let (folder, file) = next();
            let ino = inodes
                .find(folders[folder], &names[file])
                .expect("it is there");
            black_box(inodes.path(ino)).expect("it has one")
        });
    });
    group.bench_function("introduce and forget", |bench| {
        bench.iter(|| {
            let (folder, _) = next();
            let ino = inodes.introduce(folders[folder], b"another", Kind::File);
            inodes.forget(ino, 1);
        });
    });
    group.finish();
}

criterion_group!(benches, listings, block_cache, inode_table);
criterion_main!(benches);
