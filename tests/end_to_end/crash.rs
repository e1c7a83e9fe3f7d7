//! Kills the host with SIGKILL at random moments under load: it keeps everything that it acknowledged, and does nothing
//! twice.
//!
//! `make crash` kills it fifty times; `WINDLASS_TEST_KILLS` and `WINDLASS_TEST_SEED` set the number of kills and the
//! seed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{Load, World};
use tokio::time::sleep;

/// The number of kills unless `WINDLASS_TEST_KILLS` is set.
const FEW: u64 = 5;

/// The minimum time between a start and a kill. Without it, three kills could hit the same turn, which would make an
/// instance stuck.
const SOONEST: Duration = Duration::from_millis(30);

/// The range of the random delay that is added to [`SOONEST`].
const SPREAD: Duration = Duration::from_millis(500);

/// The range for a quarter of the kills, so that they hit the host during recovery.
const SOON: Duration = Duration::from_millis(40);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
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
