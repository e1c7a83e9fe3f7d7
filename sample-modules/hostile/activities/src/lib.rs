//! Activities that misbehave, each in its own way. The README of the samples lists them.

use std::hint::black_box;

use windlass_sdk::http;
use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [
    endless_loop,
    endless_sleep,
    memory_hog,
    panics,
    traps,
    exits,
    stack_overflow,
    log_flood,
    print_flood,
    long_line,
    large_output,
    looks_around,
    keeps_responses,
    large_result,
    large_failure,
    ignores,
]);

/// Computes forever.
#[activity(name = "HostileLoop")]
fn endless_loop() -> Result<u64> {
    let mut rounds = 0_u64;
    loop {
        rounds = black_box(rounds.wrapping_add(1));
    }
}

/// Waits forever, without using fuel or CPU time.
#[activity(name = "HostileSleep")]
fn endless_sleep() -> Result<()> {
    loop {
        std::thread::sleep(days(365));
    }
}

/// Allocates all memory it can get, at most 64 GiB. Returns the number of MiB.
#[activity(name = "HostileMemory")]
fn memory_hog() -> Result<usize> {
    let mut hoard = Vec::new();
    while hoard.len() < 65_536 {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
    Ok(hoard.len())
}

/// Panics.
#[activity(name = "HostilePanic")]
fn panics() -> Result<()> {
    panic!("this activity panics on purpose")
}

/// Executes an instruction that traps.
#[activity(name = "HostileTrap")]
fn traps() -> Result<()> {
    std::process::abort()
}

/// Exits with the code for success, instead of returning.
#[activity(name = "HostileExit")]
fn exits() -> Result<()> {
    std::process::exit(0)
}

/// Recurses until the stack overflows.
#[activity(name = "HostileStackOverflow")]
fn stack_overflow() -> Result<u64> {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        deeper(depth + 1) + frame[7]
    }
    Ok(deeper(0))
}

/// Writes log lines as fast as it can.
#[activity(name = "HostileLogFlood")]
fn log_flood(ctx: Activity) -> Result<()> {
    let line = "flood ".repeat(1000);
    loop {
        ctx.log(Level::Info, &line);
    }
}

/// Writes to standard output as fast as it can.
#[activity(name = "HostilePrintFlood")]
fn print_flood() -> Result<()> {
    let line = "flood ".repeat(1000);
    loop {
        println!("{line}");
    }
}

/// Logs a line with that many MiB.
#[activity(name = "HostileLongLine")]
fn long_line(ctx: Activity, mib: usize) -> Result<()> {
    ctx.log(Level::Info, &"x".repeat(mib.min(4096) << 20));
    Ok(())
}

/// Returns that many MiB of text.
#[activity(name = "HostileOutput")]
fn large_output(mib: usize) -> Result<String> {
    Ok("x".repeat(mib.min(4096) << 20))
}

/// Tries to access files, folders, variables and arguments. Returns what it found, which should be nothing.
#[activity(name = "HostileLooksAround")]
fn looks_around() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in ["/", ".", "/etc/passwd", "/proc/self/environ", "../windlass.db"] {
        found.extend(std::fs::read(path).map(|_| format!("read {path}")).ok());
        found.extend(std::fs::read_dir(path).map(|_| format!("listed {path}")).ok());
        found.extend(std::fs::metadata(path).map(|_| format!("saw {path}")).ok());
    }
    for path in ["/tmp/hostile", "hostile"] {
        found.extend(std::fs::write(path, "x").map(|()| format!("wrote {path}")).ok());
        found.extend(std::fs::create_dir(path).map(|()| format!("made {path}")).ok());
    }
    found.extend(std::env::vars().map(|(name, _)| format!("variable {name}")));
    found.extend(std::env::args().map(|argument| format!("argument {argument}")));
    found.extend(std::io::stdin().lines().map(|_| "a line of standard input".to_owned()));
    Ok(found)
}

/// Opens as many responses of that server as it can, reads none of them, and keeps them open forever.
#[activity(name = "HostileKeepsResponses")]
fn keeps_responses(url: String) -> Result<()> {
    let mut kept = Vec::new();
    while let Ok(response) = http::get(&url).open() {
        kept.push(response);
    }
    loop {
        std::thread::sleep(days(365));
        black_box(&kept);
    }
}

/// Returns that many bytes of text.
#[activity(name = "HostileResult")]
fn large_result(bytes: usize) -> Result<String> {
    Ok("x".repeat(bytes))
}

/// Fails with that many bytes of details, and with as many again in its causes.
#[activity(name = "HostileFailure")]
fn large_failure(bytes: usize) -> Result<()> {
    let failure = |bytes: usize| Failure::new("Large", "fails on purpose").details(&"x".repeat(bytes));
    let causes = (0..8).map(|_| failure(bytes / 8));
    Err(causes.fold(failure(bytes), Failure::caused_by))
}

/// Does nothing with its input.
#[activity(name = "HostileIgnores")]
fn ignores(input: String) -> Result<()> {
    black_box(input);
    Ok(())
}
