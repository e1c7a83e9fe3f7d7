//! SIGKILL at random moments under load, again and again: what was promised is kept, and nothing happens twice.
//!
//! `make crash` kills fifty times; `WINDLASS_TEST_KILLS` and `WINDLASS_TEST_SEED` choose.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{Load, World};
use tokio::time::sleep;

/// Kills of the short form.
const FEW: u64 = 5;

/// No kill comes sooner after a start: three in a row in the midst of one turn would rightly set an instance aside.
const SOONEST: Duration = Duration::from_millis(30);

/// The longest time between a start and a kill, and of those that shall hit a host that still takes up what was left.
const SPREAD: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_millis(40);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_repeat_nothing() {
    let kills = number("WINDLASS_TEST_KILLS").unwrap_or(FEW);
    let seed = number("WINDLASS_TEST_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(since.subsec_nanos())
    });
    eprintln!("{kills} kills with WINDLASS_TEST_SEED={seed}");
    let mut world = World::start(&["bench", "bench_activities"]).await;
    let load = Load::new(seed);
    for _ in 0..kills {
        let spread = if load.choose(4) == 0 { SOON } else { SPREAD };
        let moment = SOONEST + load.moment(spread);
        let url = world.url().to_owned();
        let kill = async {
            sleep(moment).await;
            world.kill().await;
        };
        tokio::join!(load.run(&url), kill);
        world.restart().await;
    }
    eprintln!("{}", load.settle(&world).await);
    world.stop().await;
}
