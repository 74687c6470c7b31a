//! A network link with a round-trip time, a rate and a loss of our choosing, for `scripts/bench`.
//!
//! `link LEFT RIGHT RTT_MS MBIT_PER_S LOSS_PERCENT` makes two TUN devices and carries packets between them: each waits
//! for the link to be free, takes its time at the rate, and arrives half a round-trip time later. What finds the queue
//! full is dropped, as is what chance takes. It says `ready` once both devices are there, to be moved into network
//! namespaces and given addresses by the caller, and ends when its standard input does.
//!
//! The kernel's own netem does the same where it is built in.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{Read, stdin};
use std::process::exit;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [left, right, rtt, rate, loss] = arguments.as_slice() else {
        return Err("usage: link LEFT RIGHT RTT_MS MBIT_PER_S LOSS_PERCENT".into());
    };
    let quality = Quality {
        delay: Duration::from_secs_f64(rtt.parse::<f64>()? / 2000.0),
        bytes_per_second: rate.parse::<f64>()? * 1e6 / 8.0,
        loss: loss.parse::<f64>()? / 100.0,
    };
    let device = |name: &str| DeviceBuilder::new().name(name).enable(false).build_sync();
    let (left, right) = (Arc::new(device(left)?), Arc::new(device(right)?));
    for (from, to) in [(&left, &right), (&right, &left)] {
        let direction = Arc::new(Direction::new(quality));
        let (receiver, from) = (direction.clone(), from.clone());
        thread::spawn(move || receiver.take_in(&from));
        let to = to.clone();
        thread::spawn(move || direction.give_out(&to));
    }
    println!("ready");
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[derive(Clone, Copy)]
struct Quality {
    /// From one end to the other.
    delay: Duration,
    bytes_per_second: f64,
    /// Share of packets that are lost, 0 to 1.
    loss: f64,
}

/// One way.
struct Direction {
    quality: Quality,
    on_the_way: Mutex<VecDeque<Packet>>,
    sent: Condvar,
}

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

impl Direction {
    fn new(quality: Quality) -> Self {
        Self {
            quality,
            on_the_way: Mutex::default(),
            sent: Condvar::new(),
        }
    }

    fn take_in(&self, from: &SyncDevice) {
        let Quality {
            delay,
            bytes_per_second,
            loss,
        } = self.quality;
        // One product of rate and round-trip time: what routers are told to hold.
        let most_waiting =
            Duration::from_secs_f64(SMALLEST_QUEUE / bytes_per_second).max(delay * 2);
        let mut free = Instant::now();
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let mut buffer = vec![0; LONGEST_PACKET];
        loop {
            let Ok(length) = from.recv(&mut buffer) else {
                // The namespace is gone, and the device with it.
                exit(0);
            };
            let now = Instant::now();
            let start = free.max(now);
            if start - now > most_waiting || chance.next() < loss {
                continue;
            }
            free = start + Duration::from_secs_f64(length as f64 / bytes_per_second);
            let packet = Packet {
                due: free + delay,
                bytes: buffer[..length].to_vec(),
            };
            self.on_the_way
                .lock()
                .expect("no panic while locked")
                .push_back(packet);
            self.sent.notify_one();
        }
    }

    fn give_out(&self, to: &SyncDevice) {
        let mut queue = self.on_the_way.lock().expect("no panic while locked");
        loop {
            let now = Instant::now();
            match queue.front().map(|packet| packet.due) {
                None => queue = self.sent.wait(queue).expect("no panic while locked"),
                Some(due) if due > now => {
                    drop(queue);
                    thread::sleep(due - now);
                    queue = self.on_the_way.lock().expect("no panic while locked");
                }
                Some(_) => {
                    let packet = queue.pop_front().expect("just seen");
                    drop(queue);
                    // A device that is not up yet loses packets, as a cable that is not plugged in.
                    to.send(&packet.bytes).ok();
                    queue = self.on_the_way.lock().expect("no panic while locked");
                }
            }
        }
    }
}

/// The same numbers in each run, from 0 to 1 (xorshift64*).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Bytes that may wait for the link however slow it is.
const SMALLEST_QUEUE: f64 = 262_144.0;

/// Longer than any MTU of a TUN device.
const LONGEST_PACKET: usize = 65_536;
