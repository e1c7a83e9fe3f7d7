//! Tests of the status of one instance, and of its history.

use serde_json::{Value, json};

use super::{BASE, error_object, no_body};
use crate::{
    http::tests::harness::{Answer, TestHost, payload},
    model::{
        ActivityOptions, Arrival, Decision, Event, Failure, InstanceStatus, ModuleNumber, StuckReason,
        SubOrchestrationOptions, TaskId, Timestamp,
    },
};

const TIME: &str = "2023-11-14T22:13:20.000Z";

async fn get(host: &TestHost, id_and_query: &str) -> Answer {
    host.get(&format!("{BASE}/instances/{id_and_query}")).await
}

#[tokio::test]
async fn a_live_instance_is_202_with_its_own_address() {
    let host = TestHost::start().await;
    host.running("order 7+é").await;
    let target = format!("{BASE}/Instances/order%207%2B%C3%A9?showInput=TRUE&unknown=1");
    let answer = host.get(&target).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), format!("http://{}{target}", host.address));
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(
        answer.text,
        "{\"name\":\"Order\",\"instanceId\":\"order 7+é\",\"runtimeStatus\":\"Running\",\"input\":{\"amount\" : 1.0},\
         \"customStatus\":[ 1.0 ],\"output\":null,\"createdTime\":\"2023-11-14T22:13:20Z\",\
         \"lastUpdatedTime\":\"2023-11-14T22:13:20Z\"}"
    );
    host.pending("new", "2").await;
    let new = get(&host, "new?showHistory=true").await;
    assert_eq!(
        (new.status, new.json()["runtimeStatus"].clone()),
        (202, "Pending".into())
    );
    assert_eq!(new.json()["customStatus"], Value::Null);
    assert!(new.json().get("historyEvents").is_none(), "{new:?}");
}

#[tokio::test]
async fn an_ended_instance_is_200_and_an_unknown_one_404() {
    let host = TestHost::start().await;
    host.completed("done", "{\"total\" : 1.0}").await;
    host.failed("failed").await;
    host.terminated("text", "not \"wanted\"").await;
    host.terminated("json", "[1.0]").await;
    host.terminated("silent", "").await;
    for (id, status, output) in [
        ("done", "Completed", "{\"total\" : 1.0}"),
        ("failed", "Failed", "\"OrderFailed: the payment failed\""),
        ("text", "Terminated", "\"not \\\"wanted\\\"\""),
        ("json", "Terminated", "[1.0]"),
        ("silent", "Terminated", "null"),
    ] {
        let answer = get(&host, &format!("{id}?returnInternalServerErrorOnFailure=no")).await;
        assert_eq!(
            (answer.status, answer.json()["runtimeStatus"].clone()),
            (200, status.into())
        );
        assert!(answer.text.contains(&format!("\"output\":{output},")), "{answer:?}");
        for header in ["location", "retry-after"] {
            assert!(!answer.headers.contains_key(header), "{answer:?}");
        }
    }
    let strict = get(&host, "failed?returnInternalServerErrorOnFailure=True").await;
    assert_eq!(
        (strict.status, strict.json()["runtimeStatus"].clone()),
        (500, "Failed".into())
    );
    assert_eq!(
        get(&host, "done?returnInternalServerErrorOnFailure=true").await.status,
        200
    );
    for id in ["nobody", "a%2Fb", "@counter@a", &"x".repeat(300)] {
        assert_eq!(no_body(&get(&host, id).await), 404, "{id}");
    }
    assert_eq!(error_object(&get(&host, "%ff").await), 404);
}

#[tokio::test]
async fn a_stuck_instance_is_a_suspended_one() {
    let host = TestHost::start().await;
    let number = host.running("stuck").await;
    let reason = StuckReason {
        code: "nondeterminism".into(),
        message: "changed".into(),
    };
    host.store.mark_stuck(number, reason, Timestamp(0)).await.unwrap();
    let stuck = get(&host, "stuck").await;
    assert_eq!(
        (stuck.status, stuck.json()["runtimeStatus"].clone()),
        (202, "Suspended".into())
    );
    let list = host.get(&format!("{BASE}/instances?runtimeStatus=Suspended")).await;
    assert_eq!(super::ids(&list.json()), ["stuck"]);
}

#[tokio::test]
async fn the_input_is_hidden_on_request() {
    let host = TestHost::start().await;
    host.completed("done", "7").await;
    let hidden = get(&host, "done?showInput=False&showHistory=true").await.json();
    assert_eq!((&hidden["input"], &hidden["output"]), (&Value::Null, &json!(7)));
    assert_eq!(
        hidden["historyEvents"],
        json!([
            { "EventType": "ExecutionStarted", "Timestamp": TIME, "FunctionName": "Order" },
            { "EventType": "ExecutionCompleted", "Timestamp": TIME, "OrchestrationStatus": "Completed" },
        ])
    );
    let shown = get(&host, "done?showInput=").await.json();
    assert_eq!(shown["input"], json!({ "amount": 1.0 }));
    assert!(shown.get("historyEvents").is_none());
}

fn activity(task: u32, name: &str, input: &str) -> Decision {
    Decision::CallActivity {
        task: TaskId(task),
        function: name.parse().unwrap(),
        input: payload(input),
        options: ActivityOptions::default(),
        module: ModuleNumber(1),
    }
}

fn child(task: u32, id: &str) -> Decision {
    Decision::CallSubOrchestration {
        task: TaskId(task),
        function: "Parcel".parse().unwrap(),
        input: payload("[ 1 ]"),
        instance_id: id.parse().unwrap(),
        fixed_id: true,
        options: SubOrchestrationOptions::default(),
        module: ModuleNumber(1),
    }
}

fn ended(task: u32, outcome: Result<&str, Failure>) -> Arrival {
    Arrival::TaskEnded {
        task: TaskId(task),
        outcome: outcome.map(payload),
    }
}

fn event(name: &str, text: &str) -> Event {
    Event {
        name: name.parse().unwrap(),
        payload: payload(text),
    }
}

#[tokio::test]
async fn the_history_has_three_entries_for_one_activity() {
    let host = TestHost::start().await;
    let turns = vec![
        (vec![], vec![activity(1, "Charge", "{\"a\" : 1.0}")]),
        (
            vec![ended(1, Ok("[ 2.0 ]"))],
            vec![Decision::Complete { output: payload("3.0") }],
        ),
    ];
    host.with_turns("order", turns, InstanceStatus::Completed).await;
    let answer = get(&host, "order?showHistory=true&showHistoryOutput=true").await;
    let events = json!([
        { "EventType": "ExecutionStarted", "Timestamp": TIME, "FunctionName": "Order", "Input": "{\"amount\" : 1.0}" },
        {
            "EventType": "TaskCompleted", "Timestamp": TIME, "FunctionName": "Charge", "ScheduledTime": TIME,
            "Input": "{\"a\" : 1.0}", "Result": [2.0],
        },
        { "EventType": "ExecutionCompleted", "Timestamp": TIME, "OrchestrationStatus": "Completed", "Result": 3.0 },
    ]);
    assert_eq!(answer.json()["historyEvents"], events);
    assert!(answer.text.contains("\"Result\":[ 2.0 ]"), "{answer:?}");
    let without = get(&host, "order?showHistory=true").await.json();
    for event in without["historyEvents"].as_array().unwrap() {
        assert!(event.get("Result").is_none(), "{event}");
    }
}

#[tokio::test]
async fn the_history_shows_every_kind_of_event() {
    let host = TestHost::start().await;
    let declined = Failure {
        details: Some(payload("{\"code\": 7.0}")),
        ..Failure::new("Declined", "no money")
    };
    let failure = Failure::new("PaymentFailed", "it failed")
        .permanent()
        .caused_by(declined);
    let refused = |task, call: &str| Decision::Refused {
        task,
        call: call.into(),
        name: "Missing".into(),
        failure: Failure::new("windlass.unknown-function", "there is none"),
    };
    let first = vec![
        activity(1, "Charge", "1"),
        activity(2, "Ship", "2"),
        child(3, "parcel-1"),
        child(4, "parcel-2"),
        child(5, "parcel-3"),
        Decision::CreateTimer {
            task: TaskId(6),
            fire_at: Timestamp(1_700_000_060_000),
        },
        Decision::WaitForEvent {
            task: TaskId(7),
            name: "approval".parse().unwrap(),
        },
        Decision::SendEvent {
            instance_id: "other".parse().unwrap(),
            event: event("Paid", "9"),
        },
        Decision::StartOrchestration {
            function: "Audit".parse().unwrap(),
            input: payload("null"),
            instance_id: "audit".parse().unwrap(),
            module: ModuleNumber(1),
        },
        refused(Some(TaskId(8)), "call-activity"),
        refused(Some(TaskId(9)), "call-sub-orchestration"),
        refused(None, "start-orchestration"),
        Decision::CancelTask { task: TaskId(7) },
    ];
    let second = vec![
        ended(1, Err(failure.clone())),
        ended(3, Ok("5")),
        ended(4, Err(Failure::new("Lost", "gone"))),
        Arrival::TimerFired { task: TaskId(6) },
        Arrival::EventRaised(event("Approval", "true")),
        Arrival::ClockBehind { by_ms: 5 },
    ];
    let turns = vec![
        (vec![], first),
        (second, vec![]),
        (
            vec![Arrival::Terminated {
                reason: "enough".into(),
            }],
            vec![],
        ),
    ];
    host.with_turns("order", turns, InstanceStatus::Terminated).await;
    let inner = json!({
        "ErrorType": "Declined", "ErrorMessage": "no money", "StackTrace": "", "InnerFailure": null,
        "IsNonRetriable": false,
    });
    let details = |kind: &str, message: &str| {
        json!({
            "ErrorType": kind, "ErrorMessage": message, "StackTrace": "", "InnerFailure": null,
            "IsNonRetriable": false,
        })
    };
    let missing = details("windlass.unknown-function", "there is none");
    let expected = json!([
        { "EventType": "ExecutionStarted", "FunctionName": "Order", "Input": "{\"amount\" : 1.0}" },
        { "EventType": "TaskScheduled", "Name": "Ship", "Input": "2" },
        { "EventType": "SubOrchestrationInstanceCreated", "Name": "Parcel", "InstanceId": "parcel-3", "Input": "[ 1 ]" },
        { "EventType": "TimerCreated", "FireAt": "2023-11-14T22:14:20.000Z" },
        { "EventType": "EventSent", "InstanceId": "other", "Name": "Paid", "Input": "9" },
        { "EventType": "SubOrchestrationInstanceCreated", "Name": "Audit", "InstanceId": "audit", "Input": "null" },
        {
            "EventType": "TaskFailed", "FunctionName": "Missing", "ScheduledTime": TIME, "Reason": "there is none",
            "FailureDetails": missing,
        },
        {
            "EventType": "SubOrchestrationInstanceFailed", "FunctionName": "Missing", "ScheduledTime": TIME,
            "Reason": "there is none", "FailureDetails": missing,
        },
        {
            "EventType": "GenericEvent",
            "Data": "start-orchestration of \"Missing\" was rejected: windlass.unknown-function: there is none",
        },
        {
            "EventType": "TaskFailed", "FunctionName": "Charge", "ScheduledTime": TIME, "Input": "1",
            "Reason": "it failed",
            "FailureDetails": {
                "ErrorType": "PaymentFailed", "ErrorMessage": "it failed", "StackTrace": "",
                "InnerFailure": inner, "IsNonRetriable": true,
            },
        },
        {
            "EventType": "SubOrchestrationInstanceCompleted", "FunctionName": "Parcel", "ScheduledTime": TIME,
            "Input": "[ 1 ]", "Result": 5,
        },
        {
            "EventType": "SubOrchestrationInstanceFailed", "FunctionName": "Parcel", "ScheduledTime": TIME,
            "Input": "[ 1 ]", "Reason": "gone", "FailureDetails": details("Lost", "gone"),
        },
        { "EventType": "TimerFired", "FireAt": "2023-11-14T22:14:20.000Z" },
        { "EventType": "EventRaised", "Name": "Approval", "Input": "true" },
        { "EventType": "ExecutionTerminated", "Input": "enough" },
        { "EventType": "ExecutionCompleted", "OrchestrationStatus": "Terminated", "Result": "enough" },
    ]);
    let mut answer = get(&host, "order?showHistory=true&showHistoryOutput=true").await.json();
    for event in answer["historyEvents"].as_array_mut().unwrap() {
        assert_eq!(event.as_object_mut().unwrap().remove("Timestamp").unwrap(), TIME);
    }
    assert_eq!(answer["historyEvents"], expected);
    let hidden = get(&host, "order?showHistory=true&showInput=false").await.text;
    assert!(!hidden.contains("Input"), "{hidden}");
}

#[tokio::test]
async fn a_failure_ends_the_history_with_its_causes() {
    let host = TestHost::start().await;
    host.failed("failed").await;
    let failed = get(&host, "failed?showHistory=true&showHistoryOutput=true")
        .await
        .json();
    let last = &failed["historyEvents"][1];
    assert_eq!(last["OrchestrationStatus"], "Failed");
    assert_eq!(last["Result"], "OrderFailed: the payment failed");
    assert_eq!(last["FailureDetails"]["InnerFailure"]["ErrorType"], "Declined");
}

#[tokio::test]
async fn a_history_of_several_pages_is_complete_and_a_longer_one_says_that_it_is_cut() {
    const CALLS: u32 = 100;
    let host = TestHost::start().await;
    let input = format!("\"{}\"", "x".repeat(3_000));
    let turn = |n: u32| {
        let tasks = n * CALLS + 1..=(n + 1) * CALLS;
        let of_last_turn = tasks
            .clone()
            .filter_map(|task| task.checked_sub(CALLS).filter(|task| *task > 0));
        let arrivals = of_last_turn.map(|task| ended(task, Ok("1"))).collect();
        (arrivals, tasks.map(|task| activity(task, "Charge", &input)).collect())
    };
    // 6 MB, of which 4 MiB fit.
    host.with_turns("long", (0..20).map(turn).collect(), InstanceStatus::Running)
        .await;
    let answer = get(&host, "long?showHistory=true").await;
    let bytes = answer.text.len();
    assert!((4_000_000..4_500_000).contains(&bytes), "{bytes}");
    let cut = answer.json()["historyEvents"].take();
    let last = cut.as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["EventType"], "GenericEvent");
    assert!(last["Data"].as_str().unwrap().contains("/v1/instances"), "{last}");
    let all = get(&host, "long?showHistory=true&showInput=false").await.json();
    let all = all["historyEvents"].as_array().unwrap();
    assert_eq!(all.len(), 2_001, "without inputs it fits");
    assert_eq!(
        (&all[1]["EventType"], &all[2_000]["EventType"]),
        (&"TaskCompleted".into(), &"TaskScheduled".into())
    );
}
