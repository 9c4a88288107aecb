//! Standard input: a pipe is read as it comes, a file as a file.
//!
//! Invariant: at the end of input a last line without newline counts; what a pipe held when the
//! process was killed is gone, so its stream has no identity.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;

use super::chunker::{CHUNK_BYTES, Chunker};
use super::file::FileIdentity;
use super::{SourceContext, SourceError};
use crate::base::StreamName;

/// The source.
pub(super) struct StdinSource {
    context: SourceContext,
}

impl StdinSource {
    /// Reads nothing yet.
    pub(super) fn open(context: SourceContext) -> StdinSource {
        StdinSource { context }
    }

    /// Reads to the end or until stopped. The read of a pipe that gives nothing goes on in the
    /// runtime's own thread after a stop: the runtime must be shut down without waiting for it.
    pub(super) async fn run(self) -> Result<(), SourceError> {
        let regular = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map(File::from)
            .ok()
            .filter(|file| file.metadata().is_ok_and(|m| m.is_file()));
        match regular {
            Some(file) => read_file(&self.context, file).await,
            None => read_pipe(&self.context, tokio::io::stdin()).await,
        }
        .map_err(SourceError::Stdin)
    }
}

/// Reads a stream that cannot be read again.
async fn read_pipe(
    context: &SourceContext,
    mut input: impl tokio::io::AsyncRead + Unpin,
) -> io::Result<()> {
    let stream = Arc::new(StreamName {
        number: context.resume.len() as u64,
        name: "stdin".into(),
        identity: Vec::new(),
    });
    let mut chunker = Chunker::new((context.framer)(), context.max_line, 0);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = tokio::select! {
            read = input.read(&mut buffer) => read,
            () = context.stop.cancelled() => return Ok(()),
        };
        let n = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        context.stats.bytes.fetch_add(n as u64, Ordering::Relaxed);
        chunker.push(&buffer[..n]);
        if n == 0 {
            chunker.finish();
        }
        if n == 0 || chunker.has_lines() {
            let now = context.clock.now();
            let chunk = chunker.take(context.index, now, Arc::clone(&stream), n == 0);
            if context.deliver(chunk, None).await.is_err() || n == 0 {
                return Ok(());
            }
        }
    }
}

/// Reads a file that is standard input, from where it stands or from where the snapshot knows it.
async fn read_file(context: &SourceContext, mut file: File) -> io::Result<()> {
    let begin = file.stream_position()?;
    let found = FileIdentity::resume(&file, &context.resume)?;
    let (number, mut position) = found.unwrap_or((context.resume.len(), begin));
    position = position.max(begin);
    let mut chunker = Chunker::new((context.framer)(), context.max_line, position);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let n = match file.read_at(&mut buffer, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        position += n as u64;
        context.stats.bytes.fetch_add(n as u64, Ordering::Relaxed);
        chunker.push(&buffer[..n]);
        if n == 0 {
            chunker.finish();
        }
        if n == 0 || chunker.has_lines() {
            let stream = Arc::new(StreamName {
                number: number as u64,
                name: "stdin".into(),
                identity: FileIdentity::of(&file, chunker.end())?.encode(),
            });
            let chunk = chunker.take(context.index, context.clock.now(), stream, n == 0);
            if context.deliver(chunk, None).await.is_err() || n == 0 {
                return Ok(());
            }
        }
        if context.stop.is_cancelled() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::Harness;
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn a_pipe_is_delivered_as_it_comes_and_its_last_line_counts() {
        let (mut harness, context) = Harness::new(Vec::new());
        let (mut write, read) = tokio::io::duplex(64);
        let reading = async { read_pipe(&context, read).await.unwrap() };
        let checking = async {
            tokio::io::AsyncWriteExt::write_all(&mut write, b"one\ntwo")
                .await
                .unwrap();
            assert_eq!(harness.lines().await, ["one"]);
            drop(write);
            assert_eq!(harness.lines().await, ["two"]);
        };
        tokio::join!(reading, checking);
    }

    #[tokio::test]
    async fn a_file_is_taken_up_where_it_was_left() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\n").unwrap();
        file.rewind().unwrap();
        let (mut harness, context) = Harness::new(Vec::new());
        let (read, lines) = tokio::join!(read_file(&context, file.try_clone().unwrap()), async {
            let lines = harness.lines().await;
            assert!(harness.next().await.unwrap().chunk.last);
            lines
        });
        read.unwrap();
        assert_eq!(lines, ["one", "two"]);
        file.seek(io::SeekFrom::End(0)).unwrap();
        file.write_all(b"three\n").unwrap();
        file.rewind().unwrap();
        let (mut again, context) = Harness::new(harness.resume());
        let (read, lines) = tokio::join!(read_file(&context, file), again.lines());
        read.unwrap();
        assert_eq!(lines, ["three"]);
    }
}
