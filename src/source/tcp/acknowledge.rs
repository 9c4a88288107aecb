//! Acknowledgements: which lines of a connection are on disk, and named streams that outlive their
//! connections, so that a client can send again from where the last acknowledgement left it.
//!
//! Invariant: no number is told to a client before every line up to it is on disk. A named stream
//! has one connection at a time; the next one begins when everything of the one before is on disk.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::chunker::Chunker;
use super::super::context::{Kept, Resume};
use super::{Lines, PATIENCE, Replies, Shared, UNANSWERED, Writer};
use crate::base::StreamName;
use crate::net::{Input, Output};

/// How a client names its stream.
const HELLO: &[u8] = b"HELLO ";
/// Longest name of a stream, in bytes.
pub(super) const MAX_NAME: usize = 128;
/// Named streams that a source knows at most.
const MOST_STREAMS: usize = 10_000;
/// What identities of named streams begin with.
const IDENTITY: &[u8] = b"hello:";

/// How far a named stream has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Bytes handed over.
    pub(super) offset: u64,
    /// Lines handed over.
    pub(super) lines: u64,
    /// The entry of the ledger that holds the last of them; 0 for one of an earlier run.
    pub(super) entry: u64,
}

/// A named stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// As in [`crate::base::StreamName`].
    pub(super) number: u64,
    /// As in [`crate::base::StreamName`].
    pub(super) identity: Vec<u8>,
    place: Arc<tokio::sync::Mutex<Place>>,
    /// Asks the connection that has it to leave.
    leave: Mutex<CancellationToken>,
}

impl Stream {
    /// Takes the stream over: the connection that has it is asked to leave, and awaited.
    pub(super) async fn take(&self, leave: &CancellationToken) -> OwnedMutexGuard<Place> {
        let before = {
            let mut current = self.leave.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, leave.clone())
        };
        before.cancel();
        Arc::clone(&self.place).lock_owned().await
    }
}

/// The named streams of a source.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<Vec<u8>, Arc<Stream>>>);

impl Streams {
    /// Those known from before.
    pub(super) fn new(resume: &[Resume]) -> Streams {
        let named = (0..).zip(resume).filter_map(|(number, known)| {
            let name = known.identity.strip_prefix(IDENTITY)?.to_vec();
            let place = Place {
                offset: known.offset,
                lines: known.lines,
                entry: 0,
            };
            Some((
                name,
                Arc::new(stream(number, known.identity.clone(), place)),
            ))
        });
        Streams(Mutex::new(named.collect()))
    }

    /// The stream of this name; a new one gets its number from `next`. `None` if there are too many.
    pub(super) fn find(&self, name: &[u8], next: impl FnOnce() -> u64) -> Option<Arc<Stream>> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = streams.get(name) {
            return Some(Arc::clone(known));
        }
        if streams.len() >= MOST_STREAMS {
            return None;
        }
        let identity = [IDENTITY, name].concat();
        let new = Arc::new(stream(next(), identity, Place::default()));
        streams.insert(name.to_vec(), Arc::clone(&new));
        Some(new)
    }
}

fn stream(number: u64, identity: Vec<u8>, place: Place) -> Stream {
    Stream {
        number,
        identity,
        place: Arc::new(tokio::sync::Mutex::new(place)),
        leave: Mutex::new(CancellationToken::new()),
    }
}

/// How a connection begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// With a line, of which these bytes were read.
    None(Vec<u8>),
    /// With the name of its stream, and these bytes after it.
    Named(Vec<u8>, Vec<u8>),
    /// With a name that is none.
    Wrong,
}

/// Reads a connection until it is clear whether it begins with a name.
pub(super) async fn greeting(input: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Greeting> {
    let mut seen = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let known = seen.len().min(HELLO.len());
        if seen[..known] != HELLO[..known] {
            return Ok(Greeting::None(seen));
        }
        if let Some(end) = memchr::memchr(b'\n', &seen) {
            let line = seen[..end].strip_suffix(b"\r").unwrap_or(&seen[..end]);
            let name = line.get(HELLO.len()..).unwrap_or_default();
            let plain =
                !name.is_empty() && name.len() <= MAX_NAME && name.iter().all(u8::is_ascii_graphic);
            return Ok(if plain {
                Greeting::Named(name.to_vec(), seen[end + 1..].to_vec())
            } else {
                Greeting::Wrong
            });
        }
        if seen.len() > HELLO.len() + MAX_NAME + 2 {
            return Ok(Greeting::Wrong);
        }
        let n = input.read(&mut buffer).await?;
        if n == 0 {
            return Ok(Greeting::None(seen));
        }
        seen.extend_from_slice(&buffer[..n]);
    }
}

/// A connection whose lines are acknowledged.
pub(super) async fn connection(
    shared: Arc<Shared>,
    mut read: Input,
    mut write: Output,
    peer: SocketAddr,
) {
    let greeting = tokio::select! {
        greeting = greeting(&mut read) => greeting,
        () = shared.context.stop.cancelled() => return,
    };
    let mut lines = shared.lines_of(peer);
    let mut place = None;
    let begun = match greeting {
        Err(_) => return,
        Ok(Greeting::None(begun)) => begun,
        Ok(Greeting::Named(name, begun)) => {
            let next = || shared.next_number.fetch_add(1, Ordering::Relaxed);
            if let Some(stream) = shared.streams.find(&name, next) {
                place = shared.take_over(&stream, &name, &mut lines).await;
                let Some(place) = &place else {
                    return;
                };
                let ok = format!("OK {}\n", place.lines);
                if write.write_all(ok.as_bytes()).await.is_err() {
                    return;
                }
                begun
            } else {
                refuse_line(&mut write, "too many streams").await;
                return;
            }
        }
        Ok(Greeting::Wrong) => {
            let limit = MAX_NAME;
            let why = format!("write HELLO and a name of at most {limit} visible ASCII characters");
            refuse_line(&mut write, &why).await;
            return;
        }
    };
    lines.chunker.push(&begun);
    shared.context.count_read(begun.len(), &mut lines.chunker);
    let (sender, kept) = mpsc::channel(2 * UNANSWERED);
    let unanswered = Arc::new(Semaphore::new(UNANSWERED));
    let replies = Replies {
        to: Writer::Entries(sender),
        unanswered: Arc::clone(&unanswered),
    };
    let durable = shared.context.durable.clone();
    let leave = lines.leave.clone();
    let patience = CancellationToken::new();
    let reading = async {
        let shared = shared;
        shared.read(read, &mut lines, Some(replies)).await;
    };
    let writing = async {
        let impatient = async {
            leave.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
            patience.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            last = acknowledge(&mut write, kept, durable, &unanswered, &patience) => last,
            () = impatient => None,
        }
    };
    let ((), last) = tokio::join!(reading, writing);
    if let Some(mut place) = place {
        place.offset = lines.end;
        place.lines = lines.count;
        place.entry = last.unwrap_or(place.entry);
    }
    // The client may be gone already.
    let _ = write.shutdown().await;
}

/// Says why a connection is closed.
async fn refuse_line(write: &mut Output, why: &str) {
    // Whether it worked concerns the client alone.
    let _ = write.write_all(format!("ERR {why}\n").as_bytes()).await;
    let _ = write.shutdown().await;
}

impl Shared {
    /// Lets a connection go on with a named stream, once all of it so far is on disk; `None` if that
    /// does not come to be.
    async fn take_over(
        &self,
        stream: &Stream,
        name: &[u8],
        lines: &mut Lines,
    ) -> Option<OwnedMutexGuard<Place>> {
        let context = &self.context;
        let place = tokio::select! {
            place = stream.take(&lines.leave) => place,
            () = lines.leave.cancelled() => return None,
        };
        let mut durable = context.durable.clone();
        durable
            .wait_for(|newest| *newest >= place.entry)
            .await
            .ok()?;
        lines.stream = Arc::new(StreamName {
            number: stream.number,
            name: String::from_utf8_lossy(name).into_owned(),
            identity: stream.identity.clone(),
        });
        lines.chunker = Chunker::new((context.framer)(), context.max_line, place.offset);
        lines.count = place.lines;
        lines.end = place.offset;
        lines.named = true;
        Some(place)
    }
}

/// Acknowledges what becomes durable until everyone who could hand something over is gone. Gives
/// the last entry. A client that does not read is waited for only until `leave`, its entries always.
pub(super) async fn acknowledge(
    output: &mut (impl AsyncWrite + Unpin),
    mut kept: mpsc::Receiver<Kept>,
    mut durable: watch::Receiver<u64>,
    unanswered: &Semaphore,
    leave: &CancellationToken,
) -> Option<u64> {
    let mut last = None;
    let mut gone = false;
    let mut next = kept.recv().await;
    while let Some(first) = next.take() {
        let known = durable.wait_for(|durable| *durable >= first.entry).await;
        let Ok(known) = known.map(|durable| *durable) else {
            // Nothing becomes durable any more: the daemon stops, and the client hears no number.
            return None;
        };
        let (mut newest, mut answered) = (first, 1);
        while let Ok(another) = kept.try_recv() {
            if another.entry > known {
                next = Some(another);
                break;
            }
            newest = another;
            answered += 1;
        }
        last = Some(newest.entry);
        if !gone {
            let line = format!("ACK {}\n", newest.lines);
            let write = async {
                output.write_all(line.as_bytes()).await?;
                output.flush().await
            };
            gone = tokio::select! {
                written = write => written.is_err(),
                () = leave.cancelled() => true,
            };
            if gone {
                // Nobody can be told any more: the reader waits for nothing.
                unanswered.close();
            }
        }
        if !unanswered.is_closed() {
            let room = UNANSWERED.saturating_sub(unanswered.available_permits());
            unanswered.add_permits(answered.min(room));
        }
        if next.is_none() {
            next = kept.recv().await;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_begins_with_a_name_or_with_a_line() {
        for (sent, want) in [
            (
                &b"HELLO web-1\r\n{}"[..],
                Greeting::Named(b"web-1".to_vec(), b"{}".to_vec()),
            ),
            (b"{\"a\":1}\n", Greeting::None(b"{\"a\":1}\n".to_vec())),
            (b"HEL", Greeting::None(b"HEL".to_vec())),
            (b"HELLO \n", Greeting::Wrong),
            (b"HELLO a b\n", Greeting::Wrong),
            (
                &[b"HELLO ".as_slice(), &[b'x'; 200]].concat(),
                Greeting::Wrong,
            ),
        ] {
            let mut input = sent;
            assert_eq!(greeting(&mut input).await.unwrap(), want);
        }
    }

    #[tokio::test]
    async fn nothing_is_acknowledged_before_it_is_on_disk_and_then_as_much_as_is() {
        let (sender, kept) = mpsc::channel(10);
        let (disk, durable) = watch::channel(0);
        let unanswered = Arc::new(Semaphore::new(0));
        let (mut output, mut client) = tokio::io::duplex(1000);
        let leave = CancellationToken::new();
        let permits = Arc::clone(&unanswered);
        let acknowledging = tokio::runtime::Handle::current()
            .spawn(async move { acknowledge(&mut output, kept, durable, &permits, &leave).await });
        for (entry, lines) in [(3, 10), (4, 20), (6, 30)] {
            sender.send(Kept { entry, lines }).await.unwrap();
        }
        disk.send_replace(2);
        tokio::task::yield_now().await;
        assert_eq!(unanswered.available_permits(), 0);
        disk.send_replace(5);
        let mut got = [0; 7];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ACK 20\n");
        disk.send_replace(6);
        drop(sender);
        assert_eq!(acknowledging.await.unwrap(), Some(6));
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "ACK 30\n");
        assert_eq!(unanswered.available_permits(), 3);
    }
}
