//! `wasi:io/streams`: standard input is empty; standard output and error become log lines. All streams are always ready.

use wasmtime::{Result, component::Resource};

use crate::sandbox::{
    bindings::orchestrator::wasi::io::streams::{Host, HostInputStream, HostOutputStream, StreamError},
    state::OrchestratorState,
};

use super::poll::Pollable;

/// Standard input, which is empty.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Debug, Clone, Copy)]
pub struct EmptyInput;

/// Standard output or standard error, which become log lines.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Debug, Clone, Copy)]
pub enum LogStream {
    /// Its lines have the level "info".
    Stdout,
    /// Its lines have the level "warn".
    Stderr,
}

/// Maximum bytes of one write. The execution limits the log of a turn.
const PERMITTED_BYTES: u64 = 64 << 10;

/// The result of a function on a stream.
type Answer<R> = Result<Result<R, StreamError>>;

impl OrchestratorState {
    fn write_to(&mut self, stream: &Resource<LogStream>, bytes: &[u8]) -> Answer<()> {
        match self.table.get(stream)? {
            LogStream::Stdout => self.write_stdout(bytes)?,
            LogStream::Stderr => self.write_stderr(bytes)?,
        }
        Ok(Ok(()))
    }

    fn at_end<R>(&self, stream: &Resource<EmptyInput>) -> Answer<R> {
        self.table.get(stream)?;
        Ok(Err(StreamError::Closed))
    }
}

impl Host for OrchestratorState {}

impl HostInputStream for OrchestratorState {
    fn read(&mut self, stream: Resource<EmptyInput>, _: u64) -> Answer<Vec<u8>> {
        self.at_end(&stream)
    }

    fn blocking_read(&mut self, stream: Resource<EmptyInput>, _: u64) -> Answer<Vec<u8>> {
        self.at_end(&stream)
    }

    fn skip(&mut self, stream: Resource<EmptyInput>, _: u64) -> Answer<u64> {
        self.at_end(&stream)
    }

    fn blocking_skip(&mut self, stream: Resource<EmptyInput>, _: u64) -> Answer<u64> {
        self.at_end(&stream)
    }

    fn subscribe(&mut self, _: Resource<EmptyInput>) -> Result<Resource<Pollable>> {
        Ok(self.table.push(Pollable::Ready)?)
    }

    fn drop(&mut self, stream: Resource<EmptyInput>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl HostOutputStream for OrchestratorState {
    fn check_write(&mut self, _: Resource<LogStream>) -> Answer<u64> {
        Ok(Ok(PERMITTED_BYTES))
    }

    fn write(&mut self, stream: Resource<LogStream>, contents: Vec<u8>) -> Answer<()> {
        self.write_to(&stream, &contents)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<LogStream>, contents: Vec<u8>) -> Answer<()> {
        self.write_to(&stream, &contents)
    }

    fn flush(&mut self, _: Resource<LogStream>) -> Answer<()> {
        Ok(Ok(()))
    }

    fn blocking_flush(&mut self, _: Resource<LogStream>) -> Answer<()> {
        Ok(Ok(()))
    }

    fn subscribe(&mut self, _: Resource<LogStream>) -> Result<Resource<Pollable>> {
        Ok(self.table.push(Pollable::Ready)?)
    }

    fn write_zeroes(&mut self, stream: Resource<LogStream>, count: u64) -> Answer<()> {
        let count = usize::try_from(count.min(PERMITTED_BYTES)).expect("small");
        self.write_to(&stream, &vec![0; count])
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<LogStream>, count: u64) -> Answer<()> {
        self.write_zeroes(stream, count)
    }

    fn splice(&mut self, _: Resource<LogStream>, source: Resource<EmptyInput>, _: u64) -> Answer<u64> {
        self.at_end(&source)
    }

    fn blocking_splice(&mut self, _: Resource<LogStream>, source: Resource<EmptyInput>, _: u64) -> Answer<u64> {
        self.at_end(&source)
    }

    fn drop(&mut self, stream: Resource<LogStream>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
