//! A decision by a person: an external event raced against timers, with reminders and an escalation.

use approval_api::*;
use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [approval_workflow]);

#[payload]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    pub title: String,
    /// E-mail addresses.
    pub requester: String,
    pub approver: String,
    pub manager: String,
    #[serde(default = "a_day")]
    pub reminder_every_seconds: u64,
    #[serde(default = "three")]
    pub reminders: u32,
    /// How long the manager has, after the approver did not react to the last reminder.
    #[serde(default = "a_day")]
    pub escalation_seconds: u64,
    #[serde(default)]
    pub backend: Backend,
}

fn a_day() -> u64 {
    86_400
}

fn three() -> u32 {
    3
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct ApprovalResult {
    pub outcome: Outcome,
    pub by: Option<String>,
    pub comment: Option<String>,
    pub reminders_sent: u32,
    pub escalated: bool,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Approved,
    Rejected,
    /// There was no decision in time.
    Expired,
}

/// Requests an approval, reminds the approver, and escalates to the manager without a decision.
#[orchestrator(name = "ApprovalWorkflow", events(approval))]
async fn approval_workflow(ctx: Orchestration, request: ApprovalRequest) -> Result<ApprovalResult> {
    send(&ctx, &request, "approval-request", &request.approver, "Please decide").await?;

    let mut decision = None;
    let mut reminders_sent = 0;
    while decision.is_none() && reminders_sent < request.reminders {
        ctx.set_custom_status(format!("Waiting for {}", request.approver));
        select! {
            event = ctx.event(approval) => decision = Some(event?),
            () = ctx.sleep(secs(request.reminder_every_seconds)) => {
                reminders_sent += 1;
                send(&ctx, &request, "reminder", &request.approver, "Please decide soon").await?;
            }
        }
    }

    let escalated = decision.is_none();
    if escalated {
        ctx.set_custom_status(format!("Escalated to {}", request.manager));
        send(&ctx, &request, "escalation", &request.manager, "Please decide instead").await?;
        let event = ctx.timeout(secs(request.escalation_seconds), ctx.event(approval)).await;
        decision = event.ok().transpose()?;
    }

    let outcome = match &decision {
        Some(decision) if decision.approved => Outcome::Approved,
        Some(_) => Outcome::Rejected,
        None => Outcome::Expired,
    };
    ctx.set_custom_status(&outcome);
    send(&ctx, &request, "decision", &request.requester, &format!("{outcome:?}")).await?;
    let (by, comment) = decision.map(|decision| (decision.by, decision.comment)).unzip();
    Ok(ApprovalResult {
        outcome,
        by,
        comment,
        reminders_sent,
        escalated,
    })
}

async fn send(ctx: &Orchestration, request: &ApprovalRequest, kind: &str, to: &str, text: &str) -> Result<()> {
    let message = Message {
        kind: kind.to_owned(),
        to: to.to_owned(),
        about: ctx.instance_id().to_string(),
        text: format!("{text}: {}", request.title),
        backend: request.backend.clone(),
    };
    ctx.call(send_approval_message, &message)
        .retry(Retry::exponential(secs(1)).max_attempts(5))
        .await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::{Run, World};

    use super::*;

    /// Runs the workflow, with a decision after this time, if any.
    fn run(decided_after: Option<std::time::Duration>, approved: bool) -> Run<ApprovalResult> {
        let request = ApprovalRequest {
            title: "New winch".into(),
            requester: "ada@example.com".into(),
            approver: "grace@example.com".into(),
            manager: "barbara@example.com".into(),
            reminder_every_seconds: a_day(),
            reminders: three(),
            escalation_seconds: a_day(),
            backend: Backend::default(),
        };
        let world = World::new().activity(send_approval_message, |_| Ok(()));
        let decision = Decision {
            approved,
            by: "grace".into(),
            comment: "fine".into(),
        };
        match decided_after {
            Some(time) => world.event(time, approval, &decision).run(approval_workflow, &request),
            None => world.run(approval_workflow, &request),
        }
    }

    fn kinds(run: &Run<ApprovalResult>) -> Vec<String> {
        run.inputs_of(send_approval_message)
            .into_iter()
            .map(|message| message.kind)
            .collect()
    }

    #[test]
    fn an_early_decision_ends_the_workflow() {
        let run = run(Some(hours(1)), true);
        assert!(matches!(run.output().outcome, Outcome::Approved));
        assert_eq!(run.elapsed(), hours(1));
        assert_eq!(kinds(&run), ["approval-request", "decision"]);
    }

    #[test]
    fn a_late_decision_comes_after_its_reminders() {
        let run = run(Some(hours(60)), false);
        assert!(matches!(run.output().outcome, Outcome::Rejected));
        assert_eq!((run.output().reminders_sent, run.output().escalated), (2, false));
    }

    #[test]
    fn the_manager_decides_when_the_approver_does_not() {
        let run = run(Some(hours(80)), true);
        assert!(matches!(run.output().outcome, Outcome::Approved));
        assert!(run.output().escalated);
        assert_eq!(
            kinds(&run),
            [
                "approval-request",
                "reminder",
                "reminder",
                "reminder",
                "escalation",
                "decision"
            ]
        );
    }

    #[test]
    fn it_expires_without_a_decision() {
        let run = run(None, true);
        assert!(matches!(run.output().outcome, Outcome::Expired));
        assert_eq!(run.elapsed(), days(4));
    }
}
