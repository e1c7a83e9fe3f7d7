//! Concurrency: variants of the join functions and macros of `futures` that also start calls.
//!
//! A [`Call`](crate::Call) is not a future until it is started. The functions of `futures` accept only futures; these
//! start all their arguments, in order, before they wait for any of them.

use std::convert::Infallible;
use std::future::IntoFuture;

use futures::StreamExt as _;
use futures::future::{JoinAll, TryFuture, TryJoinAll};
use futures::stream::FuturesUnordered;

/// Runs futures and calls concurrently and returns all their outputs, in the order of the arguments.
///
/// It starts all calls immediately, in order, so they run in parallel.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn ship(article: String) -> Result<()> { Ok(()) }
/// # async fn example(ctx: Orchestration, articles: Vec<String>) {
/// let outcomes: Vec<Result<()>> = join_all(articles.iter().map(|article| ctx.call(ship, article))).await;
/// # }
/// ```
pub fn join_all<I>(futures: I) -> JoinAll<<I::Item as IntoFuture>::IntoFuture>
where
    I: IntoIterator<Item: IntoFuture>,
{
    futures::future::join_all(futures.into_iter().map(IntoFuture::into_future))
}

/// Like [`join_all`], but returns at the first failure. The remaining calls continue, as when a [`Task`](crate::Task) is
/// dropped.
pub fn try_join_all<I>(futures: I) -> TryJoinAll<<I::Item as IntoFuture>::IntoFuture>
where
    I: IntoIterator<Item: IntoFuture<IntoFuture: TryFuture>>,
{
    futures::future::try_join_all(futures.into_iter().map(IntoFuture::into_future))
}

/// Runs `f` for each item, at most `limit` of the futures and calls at a time, and returns all outputs in the order of
/// the items. A limit of 0 counts as 1.
///
/// The next item begins when any one has ended, so a slow one delays no other. The cost of an item does not depend on how
/// many there are. Use it for a fan-out that would otherwise schedule too much at once.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # use windlass_sdk::testing::World;
/// # #[activity] fn square(number: u64) -> Result<u64> { Ok(number * number) }
/// #[orchestrator]
/// async fn squares(ctx: Orchestration, numbers: Vec<u64>) -> Result<Vec<u64>> {
///     let outcomes = for_each_concurrent(50, numbers, |number| ctx.call(square, &number)).await;
///     outcomes.into_iter().collect()
/// }
///
/// let world = World::new().activity(square, |call| Ok(call.input * call.input));
/// assert_eq!(world.run(squares, &(0..200).collect()).output()[..4], [0, 1, 4, 9]);
/// ```
pub async fn for_each_concurrent<I, U>(limit: usize, items: I, mut f: impl FnMut(I::Item) -> U) -> Vec<U::Output>
where
    I: IntoIterator,
    U: IntoFuture,
{
    let outcome = try_for_each_concurrent(limit, items, |item| {
        let future = f(item).into_future();
        async move { Ok::<_, Infallible>(future.await) }
    });
    let Ok(outputs) = outcome.await;
    outputs
}

/// Like [`for_each_concurrent`], but returns at the first failure. Then no further item begins; the calls that were begun
/// continue, as when a [`Task`](crate::Task) is dropped.
///
/// # Errors
/// The failure that arrives first.
pub async fn try_for_each_concurrent<I, U, T, E>(
    limit: usize,
    items: I,
    mut f: impl FnMut(I::Item) -> U,
) -> Result<Vec<T>, E>
where
    I: IntoIterator,
    U: IntoFuture<Output = Result<T, E>>,
{
    let mut items = items.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut outputs: Vec<Option<T>> = Vec::new();
    loop {
        while running.len() < limit.max(1)
            && let Some((position, item)) = items.next()
        {
            outputs.push(None);
            let future = f(item).into_future();
            running.push(async move { (position, future.await) });
        }
        match running.next().await {
            Some((position, outcome)) => outputs[position] = Some(outcome?),
            // Every item has an output.
            None => return Ok(outputs.into_iter().flatten().collect()),
        }
    }
}

/// Runs a fixed number of futures and calls of any types concurrently.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
/// # async fn example(ctx: Orchestration) -> Result<String> {
/// let (receipt, ()) = join!(ctx.call(charge, &995), ctx.sleep(secs(5)));
/// receipt
/// # }
/// ```
#[macro_export]
macro_rules! join {
    ($($future:expr),+ $(,)?) => {
        $crate::futures::join!($(::core::future::IntoFuture::into_future($future)),+)
    };
}

/// Like [`join!`](crate::join!), but returns at the first failure.
#[macro_export]
macro_rules! try_join {
    ($($future:expr),+ $(,)?) => {
        $crate::futures::try_join!($(::core::future::IntoFuture::into_future($future)),+)
    };
}
