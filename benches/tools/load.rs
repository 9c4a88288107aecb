//! Lines to a TCP source that answers each, at a rate that does not wait for the answers.
//!
//! An open loop: records have their time by the plan, and the time until the answer counts from
//! there, so that a stall of the server (or of this program) is seen in every record it delays.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that measures reads the clock"
)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Records go out this often, on each connection in turn.
const TICK: Duration = Duration::from_micros(200);
/// Answers until then do not count: buffers and models are new.
const WARM_UP: Duration = Duration::from_millis(500);

/// So many records with their time by the plan.
struct Batch {
    planned: Instant,
    records: usize,
}

/// Counts the answers of a connection, and times them by the batches that went out.
fn receive(mut from: TcpStream, batches: &Receiver<Batch>, warm: Instant) -> (u64, Vec<u32>) {
    let mut buffer = vec![0; 1 << 16];
    let (mut answered, mut micros) = (0, Vec::new());
    let mut batch = Batch {
        planned: warm,
        records: 0,
    };
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return (answered, micros),
            Ok(read) => read,
        };
        let now = Instant::now();
        for _ in memchr::memchr_iter(b'\n', &buffer[..read]) {
            while batch.records == 0 {
                match batches.recv() {
                    Ok(next) => batch = next,
                    // More answers than lines: the count will show it.
                    Err(_) => return (answered + 1, micros),
                }
            }
            batch.records -= 1;
            answered += 1;
            if batch.planned >= warm {
                micros.push(now.duration_since(batch.planned).as_micros() as u32);
            }
        }
    }
}

/// The lines of a file, each with its line end, as ranges that may be sent together.
struct Lines {
    bytes: Vec<u8>,
    /// Where each line starts, and the end.
    starts: Vec<usize>,
    next: usize,
}

impl Lines {
    /// At most `most` lines; after the last the first again.
    fn take(&mut self, most: usize) -> (&[u8], usize) {
        let last = self.starts.len() - 1;
        if self.next == last {
            self.next = 0;
        }
        let end = last.min(self.next + most);
        let (from, count) = (self.next, end - self.next);
        self.next = end;
        (&self.bytes[self.starts[from]..self.starts[end]], count)
    }
}

/// Sends by the plan until the time is over; the number of records sent.
fn send_at_rate(
    lines: &mut Lines,
    to: &mut [(TcpStream, Sender<Batch>)],
    rate: f64,
    start: Instant,
    length: Duration,
) -> anyhow::Result<u64> {
    let mut sent = 0;
    for tick in 1.. {
        let at = TICK * tick;
        if at > length {
            break;
        }
        let planned = start + at;
        thread::sleep(planned.saturating_duration_since(Instant::now()));
        let mut due = (rate * at.as_secs_f64()) as u64 - sent;
        sent += due;
        let index = tick as usize % to.len();
        let (connection, batches) = &mut to[index];
        while due > 0 {
            let (bytes, records) = lines.take(due as usize);
            due -= records as u64;
            batches.send(Batch { planned, records })?;
            connection.write_all(bytes)?;
        }
    }
    Ok(sent)
}

/// Sends as fast as every connection takes it until the time is over; the number of records sent.
fn send_all(
    lines: &mut Lines,
    to: &mut [(TcpStream, Sender<Batch>)],
    start: Instant,
    length: Duration,
) -> anyhow::Result<u64> {
    let mut sent = 0;
    while start.elapsed() < length {
        for (connection, batches) in to.iter_mut() {
            let (bytes, records) = lines.take(256);
            sent += records as u64;
            let planned = Instant::now();
            batches.send(Batch { planned, records })?;
            connection.write_all(bytes)?;
        }
    }
    Ok(sent)
}

/// Sends the lines of a file again and again for some seconds and prints rate and latencies.
pub fn run(
    address: &str,
    file: &str,
    connections: usize,
    rate: f64,
    seconds: f64,
) -> anyhow::Result<String> {
    let bytes = std::fs::read(file)?;
    let starts = memchr::memchr_iter(b'\n', &bytes).map(|end| end + 1);
    let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
    anyhow::ensure!(starts.len() > 1, "{file} has no lines");
    let mut lines = Lines {
        bytes,
        starts,
        next: 0,
    };
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for _ in 0..connections {
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        let (batches, receiver) = channel();
        let from = connection.try_clone()?;
        receivers.push(thread::spawn(move || {
            receive(from, &receiver, start + WARM_UP)
        }));
        senders.push((connection, batches));
    }
    let length = Duration::from_secs_f64(seconds);
    let sent = if rate > 0.0 {
        send_at_rate(&mut lines, &mut senders, rate, start, length)?
    } else {
        send_all(&mut lines, &mut senders, start, length)?
    };
    for (connection, _) in &senders {
        connection.shutdown(Shutdown::Write)?;
    }
    drop(senders);
    let (mut answered, mut micros) = (0, Vec::new());
    for receiver in receivers {
        let (count, times) = receiver.join().expect("a receiver does not panic");
        answered += count;
        micros.extend(times);
    }
    let elapsed = start.elapsed().as_secs_f64();
    anyhow::ensure!(answered == sent, "{answered} answers to {sent} lines");
    anyhow::ensure!(!micros.is_empty(), "nothing was measured after the warm-up");
    micros.sort_unstable();
    let at = |share: f64| f64::from(micros[((micros.len() - 1) as f64 * share) as usize]) / 1e3;
    Ok(format!(
        "{{\"records\":{sent},\"rate\":{:.0},\"p50_ms\":{},\"p99_ms\":{},\"max_ms\":{}}}",
        sent as f64 / elapsed,
        at(0.5),
        at(0.99),
        at(1.0)
    ))
}
