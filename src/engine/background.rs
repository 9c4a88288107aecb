//! A file written by a thread of its own, so that learning does not wait for the system's copy.
//!
//! Invariant: bytes arrive in the order given; at most [`BUFFERS`] buffers exist; an error is told to
//! whoever writes or flushes next, and nothing is written after it.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Buffers that are being written or wait for it; one more is being filled.
const BUFFERS: usize = 2;

/// The end that is given bytes.
pub(super) struct BackgroundFile {
    full: Option<SyncSender<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    /// Buffers at hand.
    spare: Vec<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl BackgroundFile {
    /// Starts the thread.
    pub(super) fn new(file: File) -> io::Result<BackgroundFile> {
        let (full, filled) = sync_channel(BUFFERS);
        let (emptied, empty) = channel();
        let thread = std::thread::Builder::new()
            .name("predictions".into())
            .spawn(move || write(file, &filled, &emptied))?;
        Ok(BackgroundFile {
            full: Some(full),
            empty,
            spare: vec![Vec::new(); BUFFERS],
            thread: Some(thread),
        })
    }

    /// Has the bytes written and leaves an empty buffer in their place. Waits while [`BUFFERS`] of
    /// them are not written yet.
    pub(super) fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let next = match self.spare.pop() {
            Some(buffer) => buffer,
            None => match self.empty.recv() {
                Ok(buffer) => buffer,
                Err(_) => return self.ended(),
            },
        };
        let given = std::mem::replace(bytes, next);
        match &self.full {
            Some(full) if full.send(given).is_ok() => Ok(()),
            _ => self.ended(),
        }
    }

    /// Waits until everything given is with the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.spare.len() < BUFFERS {
            match self.empty.recv() {
                Ok(buffer) => self.spare.push(buffer),
                Err(_) => return self.ended(),
            }
        }
        Ok(())
    }

    /// Why the thread has ended before its time.
    fn ended(&mut self) -> io::Result<()> {
        self.full = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(io::Error::other("the thread that writes has ended")),
        }
    }
}

impl Drop for BackgroundFile {
    fn drop(&mut self) {
        self.full = None;
        if let Some(thread) = self.thread.take() {
            // Whoever wants to know whether it was all written has flushed before.
            drop(thread.join());
        }
    }
}

fn write(mut file: File, full: &Receiver<Vec<u8>>, empty: &Sender<Vec<u8>>) -> io::Result<()> {
    for mut buffer in full {
        file.write_all(&buffer)?;
        buffer.clear();
        // Nobody takes it back at the end.
        drop(empty.send(buffer));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_there_in_order_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = BackgroundFile::new(File::create(&path).unwrap()).unwrap();
        let (mut bytes, mut want) = (Vec::new(), String::new());
        for round in 0..50 {
            let line = format!("{round}\n").repeat(round);
            want.push_str(&line);
            bytes.extend_from_slice(line.as_bytes());
            file.write(&mut bytes).unwrap();
            assert!(bytes.is_empty());
            if round % 20 == 7 {
                file.flush().unwrap();
                assert_eq!(std::fs::read_to_string(&path).unwrap(), want);
            }
        }
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), want);
    }

    #[test]
    fn a_full_disk_is_told_once_it_is_known_and_holds_nobody_up() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut file = BackgroundFile::new(full.unwrap()).unwrap();
        file.write(&mut b"lost\n".to_vec()).unwrap();
        let error = file.flush().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(file.write(&mut b"more\n".to_vec()).is_err());
    }
}
