//! An orchestration that receives events endlessly. It continues as new before its history is too long.

use windlass_sdk::prelude::*;

/// The input: the state of the account so far.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Account {
    #[serde(default)]
    pub total: i64,
    #[serde(default)]
    pub payments: u64,
    /// The number of turns after which it continues as new.
    #[serde(default = "thousand")]
    pub turns_per_execution: u32,
}

fn thousand() -> u32 {
    1_000
}

/// Adds up the events `payment` until it receives `close`.
#[orchestrator(name = "RunningTotal", events(payment: i64, close: ()))]
pub async fn running_total(ctx: Orchestration, mut account: Account) -> Result<Account> {
    loop {
        select! {
            payment = ctx.event::<i64>("payment") => {
                account.total += payment?;
                account.payments += 1;
            }
            _ = ctx.event::<()>("close") => return Ok(account),
        }
        ctx.set_custom_status(account.total);
        if ctx.history().turns >= account.turns_per_execution {
            return ctx.continue_as_new(&account);
        }
    }
}

/// A payment from one instance into the account of another.
#[payload]
pub struct Payment {
    pub account: InstanceId,
    /// A number. The account does not accept other values.
    pub amount: windlass_sdk::serde_json::Value,
}

/// Sends a payment to a running total. A payment that is not a number is dropped and logged.
#[orchestrator(name = "PayIntoAccount")]
pub async fn pay(ctx: Orchestration, payment: Payment) -> Result<()> {
    ctx.send_event(&payment.account, "payment", &payment.amount);
    Ok(())
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn no_payment_is_lost_when_it_continues_as_new() {
        let account = Account {
            total: 0,
            payments: 0,
            turns_per_execution: 10,
        };
        let mut world = World::new();
        for minute in 1..=35 {
            world = world.event(mins(minute), "payment", &2);
        }
        let run = world.event(mins(60), "close", &()).run(running_total, &account);
        assert_eq!((run.output().total, run.output().payments), (70, 35));
        assert_eq!(run.executions(), 4);
    }
}
