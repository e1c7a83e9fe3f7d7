//! Tests of entities: operations of clients, and transfers between accounts through crashes.

use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: [&str; 2] = ["entities", "entities_orchestrations"];

/// How many accounts the bank has, and how much each of them has at first.
const ACCOUNTS: usize = 100;
const CENTS: i64 = 10_000;

/// The first accounts, between which half of all transfers are.
const BUSY_ACCOUNTS: usize = 20;

/// How many transfers run at the same time.
const TRANSFERS: usize = 64;

async fn call(world: &World, path: &str, input: Value) -> Value {
    world.post(&format!("/v1/entities/{path}"), &input).await.expect(200)
}

async fn entity(world: &World, path: &str) -> Value {
    world.get(&format!("/v1/entities/{path}")).await.expect(200)
}

#[tokio::test]
async fn operations_of_clients_are_applied_once_and_in_order() {
    let mut world = World::start(&MODULES).await;
    assert_eq!(call(&world, "Counter/hits/calls/add", json!(2)).await["output"], 2);
    let signal = || {
        let request = world.request(Method::POST, "/v1/entities/counter/hits/signals/add");
        request.header("idempotency-key", "once").json(&json!(40))
    };
    for _ in 0..2 {
        world.send(signal()).await.expect(202);
    }
    assert_eq!(call(&world, "COUNTER/hits/calls/get", json!(null)).await["output"], 42);
    let failed = call(&world, "Account/ada/calls/withdraw", json!(1)).await;
    assert_eq!(failed["failure"]["type"], "InsufficientFunds");
    world.crash().await;
    let hits = entity(&world, "counter/hits").await;
    assert_eq!((&hits["version"], &hits["waiting"]), (&json!(2), &json!(0)), "{hits:#}");

    let listed = world.get("/v1/entities?name=Counter").await.expect(200);
    assert_eq!(listed["entities"][0]["key"], "hits");
    assert_eq!(listed["entities"].as_array().map(Vec::len), Some(1));
    assert_eq!(world.get("/v1/instances").await.expect(200)["instances"], json!([]));
    world.delete("/v1/entities/counter/hits").await.expect(202);
    until("the end of the entity", async || {
        let answer = world.get("/v1/entities/counter/hits").await;
        (answer.status == 404).then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn a_repeated_call_gets_the_answer_of_the_first_one() {
    let mut world = World::start(&MODULES).await;
    let call = async |world: &World, key: &str, number: i64, wait: &str| {
        let path = format!("/v1/entities/counter/once/calls/add?wait={wait}");
        let request = world.request(Method::POST, &path);
        let request = request.header("idempotency-key", key).json(&json!(number));
        world.send(request).await
    };
    assert_eq!(call(&world, "a", 5, "20s").await.expect(200), json!({ "output": 5 }));
    assert_eq!(call(&world, "b", 2, "20s").await.expect(200), json!({ "output": 7 }));
    // A failure is an answer too.
    let overflow = call(&world, "c", i64::MAX, "20s").await.expect(200);
    assert_eq!(overflow["failure"]["type"], "CounterOverflow");
    world.crash().await;
    assert_eq!(call(&world, "a", 5, "20s").await.expect(200), json!({ "output": 5 }));
    assert_eq!(call(&world, "c", i64::MAX, "1s").await.expect(200), overflow);
    let another = call(&world, "a", 6, "1s").await;
    another.refused(422, "idempotency-key-reused");

    // Clients that send the same request at the same time all get its answer.
    let same = (0..8).map(|_| call(&world, "d", 1, "20s"));
    let answers = futures::future::join_all(same).await;
    for answer in answers {
        assert_eq!(answer.expect(200), json!({ "output": 8 }));
    }

    // The client leaves before the answer, and the host is killed: the next request gets it.
    let _ = call(&world, "e", 1, "0s").await;
    world.crash().await;
    assert_eq!(call(&world, "e", 1, "20s").await.expect(200), json!({ "output": 9 }));
    world.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_operation_is_said_and_nothing_is_sent() {
    let world = World::start(&MODULES).await;
    let wrong = |path: &str, input: Value| {
        let path = format!("/v1/entities/{path}");
        let world = &world;
        async move { world.post(&path, &input).await }
    };
    wrong("nothing/a/calls/add", json!(1))
        .await
        .refused(404, "unknown-entity");
    wrong("counter/a/calls/ad", json!(1))
        .await
        .refused(404, "unknown-operation");
    let input = wrong("counter/a/signals/add", json!("x")).await;
    let input = input.refused(400, "invalid-input")["detail"].to_string();
    assert!(
        input.contains(r#"of operation \"add\" of entity \"counter\""#),
        "{input}"
    );
    wrong("coun@ter/a/signals/add", json!(1))
        .await
        .refused(400, "invalid-path");
    let key = wrong(&format!("counter/{}/signals/add", "k".repeat(300)), json!(1)).await;
    let key = key.refused(400, "invalid-path")["detail"].to_string();
    assert!(key.contains("the entity key in the path is "), "{key}");
    world.get("/v1/entities/counter/a").await.refused(404, "unknown-entity");
    world
        .delete("/v1/entities/counter/a")
        .await
        .refused(404, "unknown-entity");
    world
        .tell("/v1/entities/counter/a/unlock")
        .await
        .refused(404, "unknown-entity");
    call(&world, "counter/a/calls/add", json!(1)).await;
    world
        .tell("/v1/entities/counter/a/unlock")
        .await
        .refused(409, "entity-not-locked");
    for what in ["suspend", "terminate"] {
        let path = format!("/v1/instances/@counter@a/{what}");
        world.tell(&path).await.refused(409, "is-entity");
    }
    let event = world.post("/v1/instances/@counter@a/events/go", &json!(1)).await;
    event.refused(409, "is-entity");
    let reserved = world
        .post("/v1/orchestrations/BankTransfer?instanceId=@counter@b", &json!({}))
        .await;
    reserved.refused(400, "invalid-parameter");
    world.stop().await;
}

#[tokio::test]
async fn a_delayed_signal_survives_a_crash_and_comes_in_time() {
    let mut world = World::start(&MODULES).await;
    world
        .post("/v1/entities/counter/late/signals/add?after=3s", &json!(7))
        .await
        .expect(202);
    world.crash().await;
    let waits = entity(&world, "counter/late").await;
    assert_eq!((&waits["exists"], &waits["waiting"]), (&json!(false), &json!(1)));
    until("the delayed signal", async || {
        let late = entity(&world, "counter/late").await;
        (late["exists"] == true).then_some(late)
    })
    .await;
    assert_eq!(call(&world, "counter/late/calls/get", json!(null)).await["output"], 7);
    world.stop().await;
}

#[tokio::test]
async fn money_is_conserved_by_transfers_with_and_without_locks_through_crashes() {
    let mut world = World::start(&MODULES).await;
    for account in 0..ACCOUNTS {
        call(&world, &format!("Account/a{account}/calls/deposit"), json!(CENTS)).await;
    }
    let mut expected = [CENTS; ACCOUNTS];
    for transfer in 0..TRANSFERS {
        let function = if transfer % 2 == 0 {
            "BankTransfer"
        } else {
            "BankTransferSaga"
        };
        let among = if transfer % 4 < 2 { BUSY_ACCOUNTS } else { ACCOUNTS };
        let (from, to) = (transfer * 7 % among, (transfer * 3 + 1) % among);
        let cents = 1 + i64::try_from(transfer).expect("few");
        expected[from] -= cents;
        expected[to] += cents;
        let input = json!({ "from": format!("a{from}"), "to": format!("a{to}"), "cents": cents });
        world.begin(function, &format!("t{transfer}"), &input).await;
        if transfer % 16 == 15 {
            world.crash().await;
        }
    }
    for transfer in 0..TRANSFERS {
        world.output_of(&format!("t{transfer}")).await;
    }
    for (account, cents) in expected.into_iter().enumerate() {
        let account = entity(&world, &format!("account/a{account}")).await;
        assert_eq!(account["state"]["cents"], cents, "{account:#}");
    }
    // The last unlock may still be on its way.
    until("the end of the last section", async || {
        let accounts = world.get("/v1/entities?name=account&limit=1000").await.expect(200);
        let accounts = accounts["entities"].as_array().expect("a list").clone();
        assert_eq!(accounts.len(), ACCOUNTS);
        let busy = accounts
            .iter()
            .any(|account| account.get("lock").is_some() || account["waiting"] != 0);
        (!busy).then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn clients_of_durable_functions_read_signal_list_and_delete_entities() {
    const BASE: &str = "/runtime/webhooks/durabletask/entities";
    let world = World::start(&MODULES).await;
    let signal = async |operation: &str, input: Value| {
        let path = format!("{BASE}/Counter/Hits?op={operation}");
        world.post(&path, &input).await
    };
    assert_eq!(signal("add", json!(3)).await.expect(202), Value::Null);
    let state = until("the state", async || {
        let answer = world.get(&format!("{BASE}/counter/Hits")).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_eq!(state, world.get("/v1/entities/counter/Hits").await.expect(200)["state"]);
    assert_eq!(signal("nothing", json!(1)).await.status, 400);
    let listed = world.get(&format!("{BASE}/COUNTER?fetchState=True")).await.expect(200);
    assert_eq!(listed[0]["entityId"], json!({ "name": "counter", "key": "Hits" }));
    assert_eq!(listed[0]["state"], state);
    assert_eq!(world.get(BASE).await.expect(200)[0]["state"], Value::Null);
    world.delete(&format!("{BASE}/counter/Hits")).await.expect(202);
    until("the end of the entity", async || {
        let answer = world.get(&format!("{BASE}/counter/Hits")).await;
        (answer.status == 404).then_some(())
    })
    .await;
    world.stop().await;
}
