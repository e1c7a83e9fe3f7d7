//! Compiles components: in a child process with limits on CPU time and address space, or in this process.
//!
//! The compiler is the largest program that reads untrusted bytes. In a child process, a crash or excessive use of
//! resources only ends the child.

use std::{io, path::Path, process::Stdio};

use bytes::Bytes;
use tempfile::TempPath;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    model::FunctionKind,
    priority::{self, Background},
};

use super::{artefacts::Artefacts, engine, images, options::Compiler};

/// Maximum bytes of a child's error output that are used.
const MAX_COMPLAINT_BYTES: usize = 2_000;

/// Threads of a compiling child: enough to be fast, few enough for its address space and the other cores.
const COMPILER_THREADS: &str = "4";

/// Maximum size of a compiled module, in bytes. Ordinary ones are a few times the size of their component. Without the
/// limit, a small hostile component could become a huge artefact in memory and on disk.
const MAX_ARTEFACT_BYTES: u64 = 256 << 20;

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler rejected the component or exceeded its limits. This will happen again.
    #[error("{0}")]
    Refused(String),
    /// The compiler could not be run or could not write its output. The message may name files of the host.
    #[error("the compiler could not be run: {0}")]
    Host(#[from] io::Error),
}

impl CompileError {
    /// The exit code of a compiling child for this error. It tells the parent whether the error output is for the author
    /// of the module or for the host's log. After any other exit code the author does not see it, because the output of a
    /// crashed compiler may contain paths of its source.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => REFUSED_EXIT,
            Self::Host(_) => HOST_EXIT,
        }
    }
}

const REFUSED_EXIT: u8 = 1;
const HOST_EXIT: u8 = 3;

/// A component to compile, and the engine to compile it for.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) kind: FunctionKind,
    pub(super) orchestrator_memory_bytes: u64,
    pub(super) component: Bytes,
}

/// Compiles a component. Returns the file with the artefact.
pub(super) async fn compile(compiler: &Compiler, job: Job, artefacts: &Artefacts) -> Result<TempPath, CompileError> {
    match compiler {
        Compiler::InProcess => in_process(job, artefacts.scratch()?).await,
        Compiler::Child {
            program,
            cpu_seconds,
            address_space_bytes,
        } => {
            let limits = ChildLimits {
                cpu_seconds: *cpu_seconds,
                address_space_bytes: *address_space_bytes,
            };
            in_child(program, limits, job, artefacts).await
        }
    }
}

async fn in_process(job: Job, output: TempPath) -> Result<TempPath, CompileError> {
    let compile = move || {
        std::fs::write(&output, precompile(&job)?)?;
        Ok(output)
    };
    tokio::task::spawn_blocking(compile).await.map_err(io::Error::other)?
}

fn precompile(job: &Job) -> Result<Vec<u8>, CompileError> {
    let dense_image_bytes = images::dense_image_bytes(&job.component);
    let engine = engine::compiling_engine(job.kind, job.orchestrator_memory_bytes, dense_image_bytes)
        .map_err(io::Error::other)?;
    let artefact = engine
        .precompile_component(&job.component)
        .map_err(|error| CompileError::Refused(format!("{error:#}")))?;
    let bytes = artefact.len();
    if bytes as u64 > MAX_ARTEFACT_BYTES {
        return Err(CompileError::Refused(format!(
            "the compiled code has {bytes} bytes, at most {MAX_ARTEFACT_BYTES} are allowed"
        )));
    }
    Ok(artefact)
}

/// Limits that a compiling child sets for itself before it reads its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildLimits {
    /// CPU time, in seconds.
    pub cpu_seconds: u64,
    /// Address space, in bytes.
    pub address_space_bytes: u64,
}

async fn in_child(
    program: &Path,
    limits: ChildLimits,
    job: Job,
    artefacts: &Artefacts,
) -> Result<TempPath, CompileError> {
    let output = artefacts.scratch()?;
    let mut child = Command::new(program)
        .arg("compile")
        .args(["--kind", job.kind.name()])
        .args([
            "--orchestrator-memory-bytes",
            &job.orchestrator_memory_bytes.to_string(),
        ])
        .args(["--cpu-seconds", &limits.cpu_seconds.to_string()])
        .args(["--address-space-bytes", &limits.address_space_bytes.to_string()])
        .arg("--output")
        .arg(&*output)
        .env_clear()
        // Every thread reserves address space for its stack and its heap arena.
        .env("RAYON_NUM_THREADS", COMPILER_THREADS)
        .env("MALLOC_ARENA_MAX", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("piped");
    let component = job.component;
    // Concurrently: a child that reports an error before it has read all input must not block on a full pipe.
    let write = async move {
        // Ignore errors: a child that ends early reports the reason itself.
        let _ = stdin.write_all(&component).await;
        drop(stdin);
    };
    let ((), finished) = tokio::join!(write, child.wait_with_output());
    let finished = finished?;
    if finished.status.success() {
        return Ok(output);
    }
    let mut complaint = String::from_utf8_lossy(&finished.stderr).trim().to_owned();
    complaint.truncate(complaint.floor_char_boundary(MAX_COMPLAINT_BYTES));
    match finished.status.code().map(u8::try_from) {
        Some(Ok(REFUSED_EXIT)) if !complaint.is_empty() => Err(CompileError::Refused(complaint)),
        Some(Ok(HOST_EXIT)) => Err(io::Error::other(complaint).into()),
        _ => {
            tracing::warn!(status = %finished.status, complaint, "the compiler failed");
            Err(CompileError::Refused(format!(
                "the compiler ended with {} (it may use {} s of CPU time and {} bytes of address space)",
                finished.status, limits.cpu_seconds, limits.address_space_bytes
            )))
        }
    }
}

/// Implements the hidden subcommand `compile`: reads a component from standard input, compiles it with limits, and writes
/// the artefact. The limits apply to the whole process, which should end afterwards.
///
/// # Errors
/// When a limit cannot be set, the component does not compile or the file cannot be written.
pub fn run_child(
    kind: FunctionKind,
    orchestrator_memory_bytes: u64,
    limits: ChildLimits,
    output: &Path,
) -> Result<(), CompileError> {
    priority::lower(Background::Compiler);
    give_up_first();
    limit_this_process(limits)
        .map_err(|error| io::Error::new(error.kind(), format!("the limits could not be set: {error}")))?;
    let mut component = Vec::new();
    io::Read::read_to_end(&mut io::stdin().lock(), &mut component)?;
    let job = Job {
        kind,
        orchestrator_memory_bytes,
        component: component.into(),
    };
    let artefact = precompile(&job)?;
    std::fs::write(output, artefact)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", output.display())))?;
    Ok(())
}

/// If memory runs out, the system ends this process before the host.
fn give_up_first() {
    // The file exists on Linux only.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

fn limit_this_process(limits: ChildLimits) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(Resource::Cpu, limit(limits.cpu_seconds))?;
    setrlimit(Resource::As, limit(limits.address_space_bytes))?;
    // The same limit as in `precompile`, in case the compiler is compromised.
    setrlimit(Resource::Fsize, limit(MAX_ARTEFACT_BYTES))?;
    // No core dumps, which would contain the tenant's module.
    setrlimit(Resource::Core, limit(0))?;
    Ok(())
}
