//! Tests of the API of Durable Functions with real workflows, as a client of it works: it knows only the links that it
//! got, and the key in them.

use harness::{Answer, World, until};
use reqwest::{Method, Url};
use serde_json::{Value, json};

const MODULES: &[&str] = &["bench", "bench_activities", "patterns", "patterns_activities"];

/// A client that has a client binding.
struct Client {
    binding: Value,
}

impl Client {
    async fn with_key(world: &World, key: &str) -> Self {
        let path = format!("/runtime/webhooks/durabletask/durableClient?code={key}");
        let binding = world.send(world.request_as(None, Method::GET, &path)).await.expect(200);
        Self { binding }
    }

    fn link(&self, name: &str, id: &str) -> String {
        let link = self.binding["managementUrls"][name].as_str().expect("a link");
        link.replace("INSTANCEID", id)
    }

    fn start_link(&self, function: &str, id: &str, wait: bool) -> String {
        let name = if wait {
            "createAndWaitOnNewInstancePostUri"
        } else {
            "createNewInstancePostUri"
        };
        let link = self.binding["creationUrls"][name].as_str().expect("a link");
        link.replace("{functionName}", function)
            .replace("[/{instanceId}]", &format!("/{id}"))
            .replace("{timeoutInSeconds}", "30")
            .replace("{intervalInSeconds}", "0.1")
    }
}

/// Sends a request to an absolute address of the host, with its key in the query only. The host may listen on another
/// port than the one in the address, after a restart.
async fn send(world: &World, method: Method, address: &str, body: Option<&Value>) -> Answer {
    let address: Url = address.parse().expect("an address");
    let target = format!("{}?{}", address.path(), address.query().unwrap_or_default());
    let request = world.request_as(None, method, &target);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    world.send(request).await
}

async fn once(world: &World, link: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let answer = send(world, Method::GET, link, None).await;
        let expected = if answer.header("location").is_empty() { 200 } else { 202 };
        assert_eq!(answer.status, expected, "{:#}", answer.body);
        is_so(&answer.body).then_some(answer.body)
    })
    .await
}

async fn tenant_with_modules(world: &mut World) -> String {
    world.guard().await;
    world.create_tenant("acme").await;
    let deployer = world.create_key("acme", "deployer").await;
    world.deploy_as(&deployer, MODULES).await;
    world.create_key("acme", "operator").await
}

#[tokio::test]
async fn an_instance_is_started_followed_and_steered_by_its_links_across_a_crash() {
    let mut world = World::start(&[]).await;
    let key = tenant_with_modules(&mut world).await;
    let client = Client::with_key(&world, &key).await;
    assert_eq!(client.binding["taskHubName"], "acme");

    let start = client.start_link("BenchCold", "cold", false);
    let load = json!({ "activities": 3, "text": "x" });
    let links = send(&world, Method::POST, &start, Some(&load)).await;
    let location = links.header("location").to_owned();
    assert_eq!(links.expect(202)["statusQueryGetUri"], location);
    let history = format!("{location}&showHistory=true&showHistoryOutput=true");
    let waiting = once(&world, &history, "all activities are done", |status| {
        let done = |event: &&Value| event["EventType"] == "TaskCompleted";
        status["historyEvents"]
            .as_array()
            .is_some_and(|events| events.iter().filter(done).count() == 3)
    })
    .await;
    let events = &waiting["historyEvents"];
    assert_eq!(events[0]["EventType"], "ExecutionStarted");
    for event in &events.as_array().expect("events")[1..] {
        assert_eq!(
            (
                &event["EventType"],
                &event["FunctionName"],
                &event["Input"],
                &event["Result"]
            ),
            (
                &json!("TaskCompleted"),
                &json!("BenchEcho"),
                &json!("\"x\""),
                &json!("x")
            )
        );
    }

    let suspend = client.link("suspendPostUri", "cold");
    assert_eq!(
        send(&world, Method::POST, &suspend, None).await.expect(202),
        Value::Null
    );
    once(&world, &location, "suspended", |status| {
        status["runtimeStatus"] == "Suspended"
    })
    .await;
    world.crash().await;
    let raise = client.link("sendEventPostUri", "cold").replace("{eventName}", "GO");
    assert_eq!(
        send(&world, Method::POST, &raise, Some(&json!("now")))
            .await
            .expect(202),
        Value::Null
    );
    let again = send(&world, Method::POST, &start, Some(&load)).await;
    again.expect(409);
    let resume = client.link("resumePostUri", "cold");
    send(&world, Method::POST, &resume, None).await.expect(202);
    let done = once(&world, &location, "completed", |status| {
        status["runtimeStatus"] == "Completed"
    })
    .await;
    assert_eq!((&done["output"], &done["input"]), (&json!(3), &load));
    for (method, link) in [
        (Method::POST, &raise),
        (Method::POST, &suspend),
        (Method::POST, &client.link("terminatePostUri", "cold")),
    ] {
        send(&world, method, link, Some(&Value::Null).filter(|_| *link == raise))
            .await
            .expect(410);
    }

    // The key belongs to one task hub; without it, nobody sees the instance.
    let elsewhere = location.replace("taskHub=acme", "taskHub=default");
    send(&world, Method::GET, &elsewhere, None).await.expect(403);
    let without = location.replace(&key, "");
    assert_eq!(send(&world, Method::GET, &without, None).await.expect(401), Value::Null);
    let purge = client.link("purgeHistoryDeleteUri", "cold");
    assert_eq!(
        send(&world, Method::DELETE, &purge, None).await.expect(200),
        json!({ "instancesDeleted": 1 })
    );
    send(&world, Method::GET, &location, None).await.expect(404);
    world.stop().await;
}

#[tokio::test]
async fn a_start_that_waits_answers_with_the_output_or_the_status() {
    let mut world = World::start(&[]).await;
    let key = tenant_with_modules(&mut world).await;
    let client = Client::with_key(&world, &key).await;
    let chain = client.start_link("BenchChain", "chain", true);
    let answer = send(&world, Method::POST, &chain, Some(&json!("text"))).await;
    assert_eq!(answer.header("location"), "");
    assert_eq!(answer.expect(200), "text");
    let scale = client.start_link("ScaleMeasurement", "scale", true);
    let reading = json!({ "value": 1.5, "divisor": 0, "taken": "1969-07-20T20:17:40Z", "scan": "AAA=" });
    let failed = send(&world, Method::POST, &scale, Some(&reading)).await.expect(200);
    assert_eq!(failed["runtimeStatus"], "Failed");
    assert!(
        failed["output"].as_str().is_some_and(|text| !text.is_empty()),
        "{failed:#}"
    );
    let strict = format!(
        "{}&returnInternalServerErrorOnFailure=true",
        client.link("statusQueryGetUri", "scale")
    );
    assert_eq!(send(&world, Method::GET, &strict, None).await.expect(500), failed);
    let history = format!("{}&showHistory=true", client.link("statusQueryGetUri", "scale"));
    let history = send(&world, Method::GET, &history, None).await.expect(200);
    let last = history["historyEvents"]
        .as_array()
        .and_then(|events| events.last())
        .cloned();
    let last = last.expect("an event");
    assert_eq!(
        (&last["EventType"], &last["OrchestrationStatus"]),
        (&json!("ExecutionCompleted"), &json!("Failed"))
    );
    world.stop().await;
}

#[tokio::test]
async fn many_instances_are_listed_with_tokens_and_purged_by_time() {
    let mut world = World::start(&[]).await;
    let key = tenant_with_modules(&mut world).await;
    let client = Client::with_key(&world, &key).await;
    for number in 0..5 {
        let start = client.start_link("BenchChain", &format!("chain-{number}"), true);
        send(&world, Method::POST, &start, Some(&json!("text")))
            .await
            .expect(200);
    }
    let parked = client.start_link("BenchParked", "parked", false);
    send(&world, Method::POST, &parked, None).await.expect(202);
    let all = client.link("statusQueryGetUri", "");
    let (mut found, mut token) = (Vec::new(), None::<String>);
    loop {
        let url: Url = format!("{all}&top=2").parse().expect("an address");
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let request = world.request_as(None, Method::GET, &target);
        let request = token.iter().fold(request, |request, token| {
            request.header("x-ms-continuation-token", token)
        });
        let page = world.send(request).await;
        token = Some(page.header("x-ms-continuation-token").to_owned()).filter(|token| !token.is_empty());
        let instances = page.expect(200);
        let instances = instances.as_array().expect("a list").iter();
        found.extend(instances.map(|instance| instance["instanceId"].as_str().expect("an id").to_owned()));
        if token.is_none() {
            break;
        }
    }
    assert_eq!(found, ["parked", "chain-4", "chain-3", "chain-2", "chain-1", "chain-0"]);
    let first = send(&world, Method::GET, &client.link("statusQueryGetUri", "chain-0"), None)
        .await
        .expect(200);
    let created = first["createdTime"].as_str().expect("a time");
    let purge = format!("{all}&createdTimeFrom={created}&runtimeStatus=Completed");
    assert_eq!(
        send(&world, Method::DELETE, &purge, None).await.expect(200),
        json!({ "instancesDeleted": 5 })
    );
    assert_eq!(
        send(&world, Method::DELETE, &purge, None).await.expect(404),
        Value::Null
    );
    send(
        &world,
        Method::DELETE,
        &client.link("purgeHistoryDeleteUri", "parked"),
        None,
    )
    .await
    .expect(412);
    let terminate = client
        .link("terminatePostUri", "parked")
        .replace("{text}", "not needed");
    send(&world, Method::POST, &terminate, None).await.expect(202);
    let status = client.link("statusQueryGetUri", "parked");
    let ended = once(&world, &status, "terminated", |status| {
        status["runtimeStatus"] == "Terminated"
    })
    .await;
    assert_eq!(ended["output"], "not needed");
    world.stop().await;
}
