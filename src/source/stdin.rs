//! Standard input: a pipe is read as it comes, a file as a file.
//!
//! Invariant: at the end of input a last line without newline counts; whole lines that were read
//! are delivered, a stop or not, and nothing is read ahead of that; what a pipe held when the
//! process was killed is gone, so its stream has no identity.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest, ReadBuf};

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

    /// Reads to the end or until stopped. A device that cannot be waited for is read in the
    /// runtime's own thread, which goes on after a stop: the runtime must be shut down without
    /// waiting for it.
    pub(super) async fn run(self) -> Result<(), SourceError> {
        self.read().await.map_err(SourceError::Stdin)
    }

    async fn read(self) -> io::Result<()> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        if file.metadata()?.is_file() {
            return read_file(&self.context, file).await;
        }
        #[expect(
            deprecated,
            reason = "what its unsafe successor asks for, a file that owns its descriptor keeps"
        )]
        let waited = AsyncFd::with_interest(file, Interest::READABLE);
        match waited {
            Ok(file) => read_pipe(&self.context, Waited(file)).await,
            Err(_) => read_pipe(&self.context, tokio::io::stdin()).await,
        }
    }
}

/// A pipe, socket or terminal that is read only when it has something, so that nothing is held
/// that a stop would lose. It is not made non-blocking: that would hold for every process that
/// shares it.
struct Waited(AsyncFd<File>);

impl tokio::io::AsyncRead for Waited {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let mut file = self.0.get_ref();
            let mut asked = [PollFd::new(file, PollFlags::IN)];
            if poll(&mut asked, Some(&Timespec::default()))? == 0 {
                ready.clear_ready();
                continue;
            }
            match file.read(buffer.initialize_unfilled()) {
                Ok(n) => buffer.advance(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            return Poll::Ready(Ok(()));
        }
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
        chunker.push(&buffer[..n]);
        context.count_read(n, &mut chunker);
        if n == 0 {
            chunker.finish();
        }
        if n == 0 || chunker.has_lines() {
            let now = context.clock.now();
            let chunk = chunker.take(context.index, now, Arc::clone(&stream), n == 0);
            if context.deliver_unrepeatable(chunk, None).await.is_err() || n == 0 {
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
        chunker.push(&buffer[..n]);
        context.count_read(n, &mut chunker);
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
