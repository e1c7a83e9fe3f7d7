//! Tests of entities and of their callers, on the simulated host.

use windlass_sdk::prelude::*;
use windlass_sdk::serde_json::{Value, json};
use windlass_sdk::testing::{CalledKind, World};

/// An account, in cents.
#[entity(name = "Account", delete_when_default)]
#[payload]
#[derive(Default, PartialEq)]
struct Account {
    cents: i64,
}

#[operations]
impl Account {
    /// Pays in.
    fn deposit(&mut self, cents: i64) -> i64 {
        self.cents += cents;
        self.cents
    }

    /// Pays out, if there is enough. Reports every attempt.
    fn withdraw(&mut self, ctx: &Entity, cents: i64) -> Result<i64> {
        ctx.entity(Log::at("withdrawals"))
            .signal()
            .record(&format!("{} {cents}", ctx.key()));
        ctx.start_named("Audit", &cents).id(format!("audit-{cents}")).send();
        self.cents -= cents;
        if self.cents < 0 {
            return Err(Failure::new("InsufficientFunds", "not enough"));
        }
        Ok(self.cents)
    }

    fn balance(&self) -> i64 {
        self.cents
    }

    #[operation(name = "Close account")]
    fn close(&mut self, ctx: &Entity) -> i64 {
        ctx.delete();
        std::mem::replace(&mut self.cents, -1)
    }
}

#[entity]
#[payload]
#[derive(Default)]
struct Log {
    lines: Vec<String>,
}

#[operations]
impl Log {
    fn record(&mut self, line: String) {
        self.lines.push(line);
    }

    fn record_later(&mut self, ctx: &Entity, line: String) {
        self.lines.push(format!("{} of {:?}", ctx.operation(), ctx.is_signal()));
        ctx.entity(Self::at(ctx.key())).signal().after(hours(1)).record(&line);
    }

    fn merge(&mut self, other: Self) -> Vec<Self> {
        self.lines.extend(other.lines.clone());
        vec![self.clone(), other]
    }

    fn not_a_number(&self) -> f64 {
        f64::NAN
    }

    fn signal_nonsense(&mut self, ctx: &Entity) {
        self.lines.push("nonsense".into());
        ctx.entity(EntityId::new("Log", "other"))
            .signal()
            .send("record", &f64::NAN);
    }

    fn signal_unknown(&mut self, ctx: &Entity) {
        ctx.entity(EntityId::new("Log", "other")).signal().send("recrod", "x");
    }
}

fn world() -> World {
    World::new().entity::<Account>().entity::<Log>()
}

/// Runs an orchestration without input that returns JSON.
macro_rules! run {
    ($world:expr, |$ctx:ident| $body:block) => {{
        #[orchestrator]
        async fn under_test($ctx: Orchestration) -> Result<Value> {
            $body
        }
        $world.run(under_test, &())
    }};
}

#[test]
fn calls_are_applied_in_order_and_answer() {
    let run = run!(world(), |ctx| {
        let ada = ctx.entity(Account::at("ada"));
        let tasks: Vec<_> = [5, 7, 11].iter().map(|cents| ada.deposit(cents).start()).collect();
        let sums = try_join_all(tasks).await?;
        let balance = ada.balance().await?;
        let by_name: i64 = ctx.entity(EntityId::new("ACCOUNT", "ada")).call("withdraw", &3).await?;
        Ok(json!([sums, balance, by_name]))
    });
    assert_eq!(run.output(), &json!([[5, 12, 23], 23, 20]));
    assert_eq!(run.state_of(Account::at("ada")), Some(Account { cents: 20 }));
    assert_eq!(run.state_of(Account::at("Ada")), None);
    assert_eq!(
        run.called_names(),
        ["deposit", "deposit", "deposit", "balance", "withdraw", "Audit"]
    );
    let call = &run.calls()[0];
    assert_eq!(call.kind, CalledKind::Entity);
    assert_eq!(call.entity, Some(EntityId::new("Account", "ada")));
    assert_eq!(call.outcome, Some(Ok(json!(5))));
}

#[test]
fn a_failed_operation_leaves_nothing_behind() {
    let run = run!(world(), |ctx| {
        let ada = ctx.entity(Account::at("ada"));
        ada.deposit(&10).await?;
        let refused = ada.withdraw(&50).await.expect_err("a refusal");
        ada.withdraw(&4).await?;
        Ok(json!(refused.error_type()))
    });
    assert_eq!(run.output(), "InsufficientFunds");
    assert_eq!(run.state_of(Account::at("ada")), Some(Account { cents: 6 }));
    assert_eq!(run.state_of(Log::at("withdrawals")).unwrap().lines, ["ada 4"]);
    let starts: Vec<_> = run
        .calls()
        .iter()
        .filter(|call| call.kind == CalledKind::Start)
        .collect();
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0].input, 4);
    assert!(run.logs().iter().any(|line| {
        line.instance_id == "@account@ada"
            && line
                .message
                .contains("operation \"withdraw\" failed: InsufficientFunds")
    }));
}

#[test]
fn an_operation_fails_if_its_output_state_or_signal_cannot_be_written() {
    let run = run!(world(), |ctx| {
        let log = ctx.entity(Log::at("log"));
        log.record(&"kept".into()).await?;
        let mut failures = Vec::new();
        failures.push(log.not_a_number().await.expect_err("no output"));
        failures.push(log.signal_nonsense().await.expect_err("no signal"));
        failures.push(log.record(&"x".repeat(300 << 10)).await.expect_err("too large"));
        log.signal_unknown().await?;
        Ok(json!(failures.iter().map(Failure::error_type).collect::<Vec<_>>()))
    });
    assert_eq!(
        run.output(),
        &json!(["InvalidPayload", "InvalidPayload", failure_types::INVALID_STATE])
    );
    assert_eq!(run.state_of(Log::at("log")).unwrap().lines, ["kept"]);
    assert_eq!(run.state_of(Log::at("other")).map(|log| log.lines), None);
    let logged = run
        .logs()
        .iter()
        .map(|line| line.message.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        logged.contains("operation \"recrod\" of \"Log\" was not signalled: the entity \"Log\" has no operation"),
        "{logged}"
    );
}

#[test]
fn types_of_operations_may_name_the_entity_itself() {
    let run = run!(world(), |ctx| {
        let other = Log {
            lines: vec!["a".into()],
        };
        let logs = ctx.entity(Log::at("log")).merge(&other).await?;
        Ok(json!(logs.len()))
    });
    assert_eq!(run.output(), 2);
    assert_eq!(run.state_of(Log::at("log")).unwrap().lines, ["a"]);
}

#[test]
fn signals_wait_until_their_time() {
    let run = run!(world(), |ctx| {
        let start = ctx.now();
        let log = ctx.entity(Log::at("log"));
        log.signal().at(start + secs(2)).record(&"2 s".into());
        log.signal().after(secs(1)).record(&"1 s".into());
        log.signal().at(start - secs(1)).record(&"now".into());
        log.record_later(&"an hour after now".into()).await?;
        log.signal().record_later(&"one more".into());
        ctx.sleep(hours(1)).await;
        log.signal().after(millis(1)).record(&"too late".into());
        Ok(json!(null))
    });
    assert_eq!(run.elapsed(), hours(1));
    let expected = [
        "now",
        "record_later of false",
        "record_later of true",
        "1 s",
        "2 s",
        "an hour after now",
        "one more",
    ];
    assert_eq!(run.state_of(Log::at("log")).unwrap().lines, expected);
    assert_eq!(run.sent_signals().len(), 7);
    assert_eq!(run.sent_signals()[0].entity, EntityId::new("log", "log"));
}

#[test]
fn deleting_is_explicit_implicit_or_by_the_default() {
    let run = run!(world(), |ctx| {
        let ada = ctx.entity(Account::at("ada"));
        ada.deposit(&10).await?;
        ada.withdraw(&10).await?; // leaves the default
        let bob = ctx.entity(Account::at("bob"));
        bob.deposit(&10).await?;
        let closed = bob.close().await?;
        let after = bob.balance().await?;
        let log = ctx.entity(Log::at("log"));
        log.record(&"x".into()).await?;
        log.delete().await?;
        ctx.entity(Log::at("empty")).merge(&Log::default()).await?; // has the default, and keeps it
        let cid = ctx.entity(Account::at("cid"));
        cid.deposit(&5).await?;
        cid.signal().delete();
        Ok(json!([closed, after]))
    });
    assert_eq!(run.output(), &json!([10, 0]));
    assert_eq!(run.state_of(Account::at("ada")), None);
    assert_eq!(run.state_of(Account::at("bob")), None);
    assert_eq!(run.state_of(Account::at("cid")), None);
    assert!(run.state_of(Log::at("log")).is_none());
    assert!(run.state_of(Log::at("empty")).is_some());
}

#[test]
fn what_does_not_exist_or_fit_is_refused_by_name() {
    let run = run!(world(), |ctx| {
        let by_name = |entity: &str, operation: &str, input: Value| {
            ctx.entity(EntityId::new(entity, "ada"))
                .call::<Value>(operation, &input)
        };
        let mut types = Vec::new();
        for call in [
            by_name("Acount", "deposit", json!(1)),
            by_name("Account", "Deposit", json!(1)),
            by_name("Account", "deposit", json!("1")),
            by_name("", "deposit", json!(1)),
            by_name("a@b", "deposit", json!(1)),
            by_name("Account", &"d".repeat(201), json!(1)),
            by_name("Account", "deposit", json!("1".repeat(2 << 20))),
        ] {
            let failure = call.await.expect_err("a refusal");
            assert!(failure.is_non_retryable(), "{failure}");
            types.push(failure.error_type().to_owned());
        }
        Ok(json!(types))
    });
    let expected = [
        failure_types::UNKNOWN_FUNCTION,
        failure_types::UNKNOWN_OPERATION,
        failure_types::INVALID_INPUT,
        failure_types::INVALID_ARGUMENT,
        failure_types::INVALID_ARGUMENT,
        failure_types::INVALID_ARGUMENT,
        failure_types::PAYLOAD_REFUSED,
    ];
    assert_eq!(run.output(), &json!(expected));
}

#[orchestrator(name = "Child")]
async fn child() -> Result<()> {
    Ok(())
}

#[test]
fn a_critical_section_has_its_rules() {
    let run = run!(world().orchestration(child), |ctx| {
        let mut failures = Vec::new();
        failures.push(ctx.lock(Vec::<EntityId>::new()).await.expect_err("an empty set"));
        failures.push(
            ctx.lock(EntityId::new("Acount", "ada"))
                .await
                .expect_err("an unknown entity"),
        );
        let many: Vec<_> = (0..33).map(|n| Account::at(n.to_string())).collect();
        failures.push(ctx.lock(&many).await.expect_err("too many"));

        let early = ctx.lock((Account::at("bob"), Log::at("log")));
        failures.push(
            ctx.entity(Account::at("bob"))
                .balance()
                .await
                .expect_err("not locked yet"),
        );
        let section = early.await?;

        failures.push(ctx.lock([Account::at("ada")]).await.expect_err("a second section"));
        failures.push(ctx.sub_orchestration(child, &()).await.expect_err("a child"));
        failures.push(ctx.entity(Account::at("ada")).deposit(&1).await.expect_err("not held"));
        let first = ctx.entity(Account::at("bob")).deposit(&1).start();
        failures.push(
            ctx.entity(Account::at("bob"))
                .deposit(&1)
                .await
                .expect_err("two at a time"),
        );
        first.await?;
        ctx.entity(Account::at("bob")).signal().deposit(&100); // refused
        ctx.entity(Account::at("ada")).signal().deposit(&7);
        ctx.start(child, &()).send();
        section.unlock();

        ctx.entity(Account::at("bob")).signal().deposit(&20);
        ctx.sub_orchestration(child, &()).await?;
        Ok(json!(failures.iter().map(Failure::error_type).collect::<Vec<_>>()))
    });
    let expected = [
        failure_types::INVALID_ARGUMENT,
        failure_types::UNKNOWN_FUNCTION,
        failure_types::LIMIT,
        failure_types::NOT_LOCKED,
        failure_types::LOCKED_ALREADY,
        failure_types::IN_CRITICAL_SECTION,
        failure_types::NOT_LOCKED,
        failure_types::NOT_LOCKED,
    ];
    assert_eq!(run.output(), &json!(expected));
    assert_eq!(run.state_of(Account::at("bob")), Some(Account { cents: 21 }));
    assert_eq!(run.state_of(Account::at("ada")), Some(Account { cents: 7 }));
    let refused =
        "operation \"deposit\" of \"Account\" was not signalled: @account@bob is locked by this critical section";
    assert!(run.logs().iter().any(|line| line.message.starts_with(refused)));
}

/// Locks two accounts for a minute, and moves a cent.
#[orchestrator(name = "Move")]
async fn move_cent(ctx: Orchestration, (from, to): (String, String)) -> Result<Timestamp> {
    let _both = ctx.lock([Account::at(&from), Account::at(&to)]).await?;
    ctx.sleep(mins(1)).await;
    ctx.entity(Account::at(from)).withdraw(&1).await?;
    ctx.entity(Account::at(to)).deposit(&1).await?;
    Ok(ctx.now())
}

#[test]
fn sections_in_opposite_orders_wait_for_each_other_without_a_deadlock() {
    let run = run!(world().orchestration(move_cent), |ctx| {
        let start = ctx.now();
        for name in ["ada", "bob", "cid"] {
            ctx.entity(Account::at(name)).deposit(&10).await?;
        }
        let moves = [("ada", "bob"), ("bob", "ada"), ("cid", "bob"), ("ada", "ada")];
        let moves = moves.map(|(from, to)| ctx.sub_orchestration(move_cent, &(from.into(), to.into())).start());
        ctx.entity(Account::at("ada")).signal().deposit(&100);
        let ends = try_join_all(moves).await?;
        Ok(json!(
            ends.iter().map(|end| (*end - start).as_secs()).collect::<Vec<_>>()
        ))
    });
    // The third locks `bob` while the first locks `ada`; after that the queue of `ada` decides.
    assert_eq!(run.output(), &json!([120, 180, 60, 240]));
    let balance = |name: &str| run.state_of(Account::at(name)).map(|account| account.cents);
    assert_eq!(
        [balance("ada"), balance("bob"), balance("cid")],
        [Some(110), Some(11), Some(9)]
    );
}

#[test]
fn operations_of_others_wait_until_the_section_is_left() {
    let run = run!(world().orchestration(move_cent), |ctx| {
        let start = ctx.now();
        ctx.entity(Account::at("ada")).deposit(&10).await?;
        let moved = ctx.sub_orchestration(move_cent, &("ada".into(), "bob".into())).start();
        ctx.sleep(secs(1)).await;
        ctx.entity(Account::at("bob")).signal().deposit(&5);
        let seen = ctx.entity(Account::at("ada")).balance().await?;
        let waited = ctx.now() - start;
        moved.await?;
        Ok(json!([seen, waited.as_secs()]))
    });
    assert_eq!(run.output(), &json!([9, 60]));
    assert_eq!(run.state_of(Account::at("bob")), Some(Account { cents: 6 }));
}

#[orchestrator(name = "Holder")]
async fn holder(ctx: Orchestration, how: String) -> Result<()> {
    let section = ctx.lock(Account::at("ada")).await?;
    match how.as_str() {
        "fails" => Err(Failure::new("Oops", "failed")),
        "returns" => {
            std::mem::forget(section);
            Ok(())
        }
        "continues" => ctx.continue_as_new("returns"),
        "waits for nothing" => std::future::pending().await,
        _ => ctx.event::<()>("never").await,
    }
}

#[test]
fn a_section_is_left_however_its_holder_ends() {
    let run = run!(world().orchestration(holder), |ctx| {
        let mut balances = Vec::new();
        for how in ["fails", "returns", "continues", "waits for nothing", "is terminated"] {
            let task = ctx.sub_orchestration(holder, &how.into()).start();
            ctx.sleep(secs(1)).await;
            task.cancel();
            let _ = task.await;
            balances.push(ctx.entity(Account::at("ada")).deposit(&1).await?);
        }
        Ok(json!(balances))
    });
    assert_eq!(run.output(), &json!([1, 2, 3, 4, 5]));
}

#[test]
fn a_request_for_locks_that_is_dropped_locks_nothing() {
    let run = run!(world().orchestration(holder), |ctx| {
        let task = ctx.sub_orchestration(holder, &"waits".into()).start();
        ctx.sleep(secs(1)).await;
        let gave_up = ctx
            .timeout(secs(5), ctx.lock([Account::at("ada"), Account::at("bob")]))
            .await
            .is_err();
        let bob = ctx.entity(Account::at("bob")).deposit(&1).await?;
        drop(ctx.lock([Account::at("bob"), Account::at("cid")]));
        let bob_again = ctx.entity(Account::at("bob")).deposit(&1).await?;
        task.cancel();
        let _ = task.await;
        let ada = ctx.entity(Account::at("ada")).deposit(&1).await?;
        Ok(json!([gave_up, bob, bob_again, ada]))
    });
    assert_eq!(run.output(), &json!([true, 1, 2, 1]));
}

#[test]
fn an_orchestration_that_waits_for_an_entity_says_so() {
    let run = run!(world().orchestration(holder), |ctx| {
        drop(ctx.sub_orchestration(holder, &"waits".into()).start());
        ctx.sleep(secs(1)).await;
        let deposit = ctx.entity(Account::at("ada")).deposit(&1).start();
        let lock = ctx.lock([Account::at("bob"), Account::at("ada")]);
        let (deposit, lock) = join!(deposit, lock);
        drop(lock?);
        Ok(json!(deposit?))
    });
    let waits = run.waits_for();
    assert!(
        waits.iter().any(|wait| wait == "operation deposit of @account@ada"),
        "{waits:?}"
    );
    assert!(
        waits.iter().any(|wait| wait == "lock of @account@bob, @account@ada"),
        "{waits:?}"
    );
}

mod api {
    use windlass_sdk::prelude::*;

    windlass_sdk::signatures! {
        /// A meter that others read.
        #[entity(name = "Meter")]
        pub trait Meter {
            /// Adds a reading.
            fn add(reading: u32) -> Result<u64>;
            #[operation(name = "read all")]
            fn read() -> Vec<u32>;
        }
    }
}

mod implementation {
    use windlass_sdk::prelude::*;

    #[entity(signature = super::api::Meter)]
    #[payload]
    #[derive(Default)]
    pub(crate) struct Readings {
        readings: Vec<u32>,
    }

    #[operations]
    impl Readings {
        fn add(&mut self, reading: u32) -> u64 {
            self.readings.push(reading);
            self.readings.len() as u64
        }

        #[operation(name = "read all")]
        fn read(&self) -> Vec<u32> {
            self.readings.clone()
        }

        fn more_than_its_signature(&self, ctx: &Entity) -> Result<u8> {
            let _ = ctx;
            Ok(0)
        }
    }
}

#[test]
fn a_declared_entity_is_called_like_one_with_code() {
    use implementation::Readings;
    let run = run!(World::new().entity::<Readings>(), |ctx| {
        ctx.entity(api::Meter::at("1")).signal().add(&5);
        let count = ctx.entity(api::Meter::at("1")).add(&6).await?;
        let readings = ctx.entity(api::Meter::at("1")).read().await?;
        let same = ctx.entity(Readings::at("1")).read().await? == readings;
        ctx.entity(Readings::at("1")).more_than_its_signature().await?;
        ctx.entity(api::Meter::at("2")).add(&1).await?;
        ctx.entity(api::Meter::at("2")).delete().await?;
        Ok(json!([count, readings, same]))
    });
    assert_eq!(run.output(), &json!([2, [5, 6], true]));
    assert_eq!(run.state_as(api::Meter::at("1")), Some(json!({ "readings": [5, 6] })));
    assert_eq!(run.state_as::<Value>(api::Meter::at("2")), None);
}

#[test]
fn a_test_plays_with_entities_alone() {
    let run = world()
        .entity_state(Account::at("ada"), &Account { cents: 100 })
        .signal(secs(1), Account::at("ada"), |ada| ada.deposit(&1))
        .signal(secs(1), Account::at("ada"), |ada| ada.withdraw(&500))
        .signal(secs(2), EntityId::new("log", "log"), |log| {
            log.send("record_later", "x")
        })
        .run_entities(hours(2));
    assert_eq!(run.state_of(Account::at("ada")), Some(Account { cents: 101 }));
    assert_eq!(
        run.state_of(Log::at("log")).unwrap().lines,
        ["record_later of true", "x"]
    );
    assert_eq!(run.elapsed(), hours(2));
}

#[test]
#[should_panic(expected = "the signal `deposit` for @account@ada is refused: the input of \"deposit\" is invalid")]
fn a_test_that_signals_nonsense_panics() {
    let ada = EntityId::new("Account", "ada");
    world()
        .signal(secs(1), ada, |ada| ada.send("deposit", "1"))
        .run_entities(secs(2));
}
