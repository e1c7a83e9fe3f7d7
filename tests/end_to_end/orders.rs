//! Tests of order processing: a chain, a batch, and sub-orchestrations.

use harness::World;
use serde_json::{Value, json};

const MODULES: &[&str] = &["orders", "orders_activities"];

#[tokio::test]
async fn a_valid_order_is_charged_reserved_shipped_and_confirmed() {
    let world = World::start(MODULES).await;
    let input = world.input(json!({ "orderId": "order-1001" }));
    world.begin("OrderProcessingOrchestration", "first", &input).await;
    let instance = world.end_of("first").await;
    assert_eq!(instance["runtimeStatus"], "Completed", "{instance:#}");
    assert_eq!(
        (
            &instance["name"],
            &instance["instanceId"],
            &instance["input"],
            &instance["customStatus"]
        ),
        (
            &json!("OrderProcessingOrchestration"),
            &json!("first"),
            &input,
            &json!("Completed")
        )
    );

    let output = &instance["output"];
    assert_eq!(
        (&output["status"], &output["orderId"]),
        (&json!("completed"), &json!("order-1001"))
    );
    let payments = world.backend.get("/payments?orderId=order-1001").await;
    assert_eq!(payments.as_array().map(Vec::len), Some(1));
    assert_eq!(payments[0]["paymentId"], output["paymentId"]);
    let order = world.backend.get("/orders/order-1001").await;
    assert_eq!(payments[0]["amountCents"], order["totalCents"]);
    let shipments = world.backend.get("/shipments?orderId=order-1001").await;
    assert_eq!(shipments[0]["trackingNumber"], output["trackingNumber"]);
    let reservations = world.backend.get("/inventory/reservations?orderId=order-1001").await;
    assert_eq!(reservations.as_array().map(Vec::len), Some(1));
    let messages = world.backend.get("/notifications?about=order-1001").await;
    assert_eq!(messages.as_array().map(Vec::len), Some(1));
    assert_eq!(messages[0]["kind"], "order-confirmation");

    let history = world.history("first").await;
    assert_eq!(
        calls_of(&history),
        [
            "ValidateOrderActivity",
            "ProcessPaymentActivity",
            "UpdateInventoryActivity",
            "InitiateShipmentActivity",
            "SendOrderConfirmationActivity"
        ]
    );
    world.stop().await;
}

#[tokio::test]
async fn an_invalid_order_is_rejected_with_its_reason_and_nothing_else_happens() {
    let world = World::start(MODULES).await;
    for (order, reason) in [
        ("order-2001", "item"),
        ("order-2002", "quantity"),
        ("order-2003", "no article"),
        ("order-2004", "the order says"),
        ("order-2005", "address"),
        ("order-2006", "blocked"),
        ("order-2007", "cancelled"),
        ("order-2008", "stock"),
    ] {
        let input = world.input(json!({ "orderId": order }));
        let output = world.run("OrderProcessingOrchestration", &input).await;
        assert_eq!(
            (&output["status"], &output["orderId"]),
            (&json!("rejected"), &json!(order))
        );
        let actual = output["reason"].as_str().expect("a reason");
        assert!(actual.to_lowercase().contains(reason), "{order}: {actual}");
    }
    assert_eq!(world.backend.get("/payments").await, json!([]));
    assert_eq!(world.backend.get("/shipments").await, json!([]));
    world.stop().await;
}

#[tokio::test]
async fn the_customer_is_notified_of_a_declined_payment_and_nothing_is_shipped() {
    let world = World::start(MODULES).await;
    for (order, reason) in [
        ("order-3001", "insufficient funds"),
        ("order-3002", "the card has expired"),
    ] {
        let input = world.input(json!({ "orderId": order }));
        let output = world.run("OrderProcessingOrchestration", &input).await;
        assert_eq!(
            output,
            json!({ "status": "paymentDeclined", "orderId": order, "reason": reason })
        );
        let messages = world.backend.get(&format!("/notifications?about={order}")).await;
        assert_eq!(messages.as_array().map(Vec::len), Some(1));
        assert_eq!(messages[0]["kind"], "payment-failure");
    }
    assert_eq!(world.backend.get("/shipments").await, json!([]));
    world.stop().await;
}

#[tokio::test]
async fn an_order_that_does_not_exist_is_rejected() {
    let world = World::start(MODULES).await;
    let input = world.input(json!({ "orderId": "order-9999" }));
    let output = world.run("OrderProcessingOrchestration", &input).await;
    assert_eq!(output["status"], "rejected", "{output:#}");
    assert!(
        output["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("order-9999")),
        "{output:#}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_batch_reports_failed_orders_and_the_totals_of_the_others() {
    let world = World::start(MODULES).await;
    let input = world.input(json!({ "batch": "spring" }));
    world.begin("ProcessAllOrdersBatch", "spring", &input).await;
    let output = world.output_of("spring").await;
    assert_eq!((&output["orders"], &output["processed"]), (&json!(24), &json!(19)));
    let failed: Vec<_> = output["failed"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|failed| {
            (
                failed["orderId"].as_str().unwrap(),
                failed["errorType"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        failed,
        [
            ("spring-05", "PaymentDeclined"),
            ("spring-07", "InvalidOrder"),
            ("spring-12", "PaymentDeclined"),
            ("spring-16", "InvalidOrder"),
            ("spring-19", "PaymentDeclined"),
        ]
    );
    let summary = world.backend.get("/payments/summary").await;
    assert_eq!((&summary["charges"], &summary["declines"]), (&json!(19), &json!(3)));
    let total: i64 = output["totals"]
        .as_object()
        .expect("totals")
        .values()
        .filter_map(Value::as_i64)
        .sum();
    assert_eq!(summary["chargedCents"], total);
    assert_eq!(world.status("spring").await["customStatus"], "19 processed, 5 failed");
    world.backend.charged_nobody_twice().await;
    world.stop().await;
}

#[tokio::test]
async fn fulfilment_ships_each_article_with_its_own_workflow() {
    let world = World::start(MODULES).await;
    let order = world.backend.get("/orders/order-1003").await;
    let articles: Vec<_> = order["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| &item["sku"])
        .collect();
    assert!(articles.len() > 1, "{order:#}");

    let input = world.input(json!({ "orderId": "order-1003" }));
    world.begin("FulfilmentWorkflow", "parent", &input).await;
    let output = world.output_of("parent").await;
    let shipped: Vec<_> = output["shipped"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|parcel| &parcel["sku"])
        .collect();
    assert_eq!((shipped, &output["missing"]), (articles.clone(), &json!([])));

    let children = world.get("/v1/instances?parentInstanceId=parent").await.expect(200);
    let children = children["instances"].as_array().expect("a list");
    assert_eq!(children.len(), articles.len());
    for child in children {
        assert_eq!(
            (&child["name"], &child["runtimeStatus"], &child["parentInstanceId"]),
            (&json!("ParcelFulfilment"), &json!("Completed"), &json!("parent"))
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn the_failure_of_a_child_reaches_its_parent_as_a_value() {
    let world = World::start(MODULES).await;
    world
        .backend
        .put("/control/faults/shipments", json!({ "status": 422 }))
        .await;
    let input = world.input(json!({ "orderId": "order-1003" }));
    let output = world.run("FulfilmentWorkflow", &input).await;
    assert_eq!(output["shipped"], json!([]));
    let missing = output["missing"].as_array().expect("a list");
    assert!(
        missing.len() > 1
            && missing
                .iter()
                .all(|parcel| parcel["reason"].as_str().is_some_and(|reason| !reason.is_empty()))
    );
    let children = world.get("/v1/instances?runtimeStatus=Failed").await.expect(200);
    assert_eq!(children["instances"].as_array().map(Vec::len), Some(missing.len()));
    world.stop().await;
}

/// The names of the activities that a history calls, in order.
fn calls_of(history: &Value) -> Vec<&str> {
    let turns = history["history"].as_array().expect("turns").iter();
    turns
        .flat_map(|turn| turn["decisions"].as_array().expect("decisions"))
        .filter(|decision| decision["type"] == "CallActivity")
        .filter_map(|decision| decision["name"].as_str())
        .collect()
}
