//! Activities that misbehave, each in its own way. What the host makes of it is in the README of the samples.

use std::hint::black_box;

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
    large_output,
]);

/// Computes for ever.
#[activity(name = "HostileLoop")]
fn endless_loop() -> Result<u64> {
    let mut rounds = 0_u64;
    loop {
        rounds = black_box(rounds.wrapping_add(1));
    }
}

/// Waits for ever, using neither fuel nor processor.
#[activity(name = "HostileSleep")]
fn endless_sleep() -> Result<()> {
    loop {
        std::thread::sleep(days(365));
    }
}

/// Takes all memory it can get; gives back how many MiB it got if nobody stops it at 64 GiB.
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

/// Runs into an instruction that traps.
#[activity(name = "HostileTrap")]
fn traps() -> Result<()> {
    std::process::abort()
}

/// Leaves through the back door, as if all were well.
#[activity(name = "HostileExit")]
fn exits() -> Result<()> {
    std::process::exit(0)
}

/// Calls itself until the stack is full.
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

/// Answers with that many MiB of text.
#[activity(name = "HostileOutput")]
fn large_output(mib: usize) -> Result<String> {
    Ok("x".repeat(mib.min(4096) << 20))
}
