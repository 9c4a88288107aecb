//! What a file is known by: where it lies (device and inode) and what is in it.
//!
//! Invariant: a print is a function of the content up to an offset alone, so it stays true while
//! the file grows, is renamed, copied or compressed. Inodes are reused and logs begin alike, so
//! neither alone is believed: the first 1024 bytes and the last 64 before the offset must agree.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::super::Resume;
use crate::math::hash128;

/// How many first bytes count.
pub(super) const PREFIX: usize = 1024;
/// How many bytes before the offset count.
pub(super) const TAIL: usize = 64;
/// From this many bytes on, content alone is believed.
pub(super) const CONFIDENT: u64 = 256;
/// The first byte of an encoded identity.
const VERSION: u8 = 1;
/// Bytes of an encoded identity before the path.
const FIXED: usize = 74;

/// A hash of the content of a stream up to an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Print {
    /// Of the first bytes, [`PREFIX`] at most.
    pub prefix: u128,
    /// Of the last bytes before the offset, [`TAIL`] at most.
    pub tail: u128,
}

impl Print {
    /// From the first and last bytes of the content.
    pub(super) fn of(head: &[u8], tail: &[u8]) -> Print {
        Print {
            prefix: hash128(&head[..head.len().min(PREFIX)], 0),
            tail: hash128(&tail[tail.len().saturating_sub(TAIL)..], 1),
        }
    }

    /// Of a file up to `end`; an error if it is shorter.
    pub(super) fn of_file(file: &File, end: u64) -> io::Result<Print> {
        let mut head = [0; PREFIX];
        let head = &mut head[..prefix_length(end)];
        file.read_exact_at(head, 0)?;
        let mut tail = [0; TAIL];
        let tail = &mut tail[..end.min(TAIL as u64) as usize];
        file.read_exact_at(tail, end - tail.len() as u64)?;
        Ok(Print::of(head, tail))
    }
}

/// How many first bytes count for content up to `end`.
pub(super) fn prefix_length(end: u64) -> usize {
    end.min(PREFIX as u64) as usize
}

/// What finds a file again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Device and inode.
    pub place: (u64, u64),
    /// When it had been written last, in nanoseconds since the epoch.
    pub modified: i64,
    /// Its content up to the offset.
    pub print: Print,
    /// For an archive a hash of its compressed bytes, else 0.
    pub archive: u128,
    /// The path under which the log is written: rotated files lie beside it.
    pub home: PathBuf,
}

impl Identity {
    /// Of a file that has no path of its own: standard input.
    pub(crate) fn of(file: &File, end: u64) -> io::Result<Identity> {
        let metadata = file.metadata()?;
        Ok(Identity {
            place: super::discover::place(&metadata),
            modified: super::discover::modified(&metadata),
            print: Print::of_file(file, end)?,
            archive: 0,
            home: PathBuf::new(),
        })
    }

    /// The number and offset of the stream that a file continues.
    pub(crate) fn resume(file: &File, known: &[Resume]) -> io::Result<Option<(usize, u64)>> {
        let metadata = file.metadata()?;
        let place = super::discover::place(&metadata);
        let continues = |(number, resume): (usize, &Resume)| {
            let identity = Identity::decode(&resume.identity)?;
            let same = identity.place == place
                && resume.offset <= metadata.len()
                && Print::of_file(file, resume.offset).ok() == Some(identity.print);
            same.then_some((resume.offset, number))
        };
        let furthest = known.iter().enumerate().filter_map(continues).max();
        Ok(furthest.map(|(offset, number)| (number, offset)))
    }

    /// As bytes for the snapshot.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.home.as_os_str().len());
        out.push(VERSION);
        out.push(u8::from(self.archive != 0));
        out.extend_from_slice(&self.place.0.to_le_bytes());
        out.extend_from_slice(&self.place.1.to_le_bytes());
        out.extend_from_slice(&self.modified.to_le_bytes());
        out.extend_from_slice(&self.print.prefix.to_le_bytes());
        out.extend_from_slice(&self.print.tail.to_le_bytes());
        out.extend_from_slice(&self.archive.to_le_bytes());
        out.extend_from_slice(self.home.as_os_str().as_bytes());
        out
    }

    /// From bytes of a snapshot; `None` if they are not an identity.
    pub(super) fn decode(bytes: &[u8]) -> Option<Identity> {
        if *bytes.first()? != VERSION || bytes.len() < FIXED {
            return None;
        }
        let long = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let wide = |at: usize| Some(u128::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Identity {
            place: (long(2)?, long(10)?),
            modified: long(18)? as i64,
            print: Print {
                prefix: wide(26)?,
                tail: wide(42)?,
            },
            archive: wide(58)?,
            home: PathBuf::from(OsStr::from_bytes(&bytes[FIXED..])),
        })
    }
}

/// A hash of a compressed file: its beginning, its end (where gzip keeps the checksum of the
/// whole content) and its size. Never 0.
pub(super) fn archive_key(file: &File, size: u64) -> io::Result<u128> {
    let mut bytes = vec![0; size.min(8192) as usize];
    let half = bytes.len() / 2;
    file.read_exact_at(&mut bytes[..half], 0)?;
    let rest = (bytes.len() - half) as u64;
    file.read_exact_at(&mut bytes[half..], size - rest)?;
    Ok(hash128(&bytes, size).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn survives_the_snapshot_and_refuses_what_is_none() {
        let identity = Identity {
            place: (7, u64::MAX),
            modified: -3,
            print: Print::of(b"head", b"tail"),
            archive: 9,
            home: PathBuf::from("/var/log/app.log"),
        };
        let bytes = identity.encode();
        assert_eq!(Identity::decode(&bytes), Some(identity));
        for cut in 0..FIXED {
            assert_eq!(Identity::decode(&bytes[..cut]), None);
        }
        assert_eq!(Identity::decode(b"demo, or anything else"), None);
    }

    #[test]
    fn a_print_stays_the_same_while_the_file_grows() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b'a'; 3000]).unwrap();
        let before = Print::of_file(&file, 2000).unwrap();
        file.write_all(b"more").unwrap();
        assert_eq!(Print::of_file(&file, 2000).unwrap(), before);
        assert_ne!(Print::of_file(&file, 3004).unwrap(), before);
        assert!(Print::of_file(&file, 3005).is_err());
    }
}
