//! A transfer between two accounts, in two ways: with both accounts locked, and as a saga without locks.
//!
//! With locks, nobody sees the money missing from both accounts or in both, and a transfer waits for others of the same
//! accounts. Without locks, transfers do not wait for each other, others may see the money in between, and the
//! orchestration undoes what it did if a later step fails.

use entities_model::Account;
use windlass_sdk::prelude::*;

/// The input.
#[payload]
pub struct Transfer {
    pub from: String,
    pub to: String,
    #[schemars(range(min = 1))]
    pub cents: i64,
}

/// The output: the balances after the transfer.
#[payload]
#[derive(PartialEq)]
pub struct Balances {
    pub from: i64,
    pub to: i64,
}

impl Transfer {
    /// The output. A transfer to the same account leaves it as it was.
    fn balances(&self, from: i64, to: i64) -> Balances {
        Balances {
            from: if self.from == self.to { to } else { from },
            to,
        }
    }
}

/// Moves money between two accounts while both are locked.
#[orchestrator(name = "BankTransfer")]
pub async fn bank_transfer(ctx: Orchestration, transfer: Transfer) -> Result<Balances> {
    let (from, to) = (Account::at(&transfer.from), Account::at(&transfer.to));
    let _both = ctx.lock([&from, &to]).await?;
    let left = ctx.entity(&from).withdraw(&transfer.cents).await?;
    match ctx.entity(&to).deposit(&transfer.cents).await {
        Ok(balance) => Ok(transfer.balances(left, balance)),
        // The withdrawal is undone before anybody else sees the accounts.
        Err(refused) => {
            ctx.entity(&from).refund(&transfer.cents).await?;
            Err(refused)
        }
    }
}

/// Moves money between two accounts without locks. If the second account refuses it, the first one gets it back.
#[orchestrator(name = "BankTransferSaga")]
pub async fn bank_transfer_saga(ctx: Orchestration, transfer: Transfer) -> Result<Balances> {
    let (from, to) = (Account::at(&transfer.from), Account::at(&transfer.to));
    let left = ctx.entity(&from).withdraw(&transfer.cents).await?;
    match ctx.entity(&to).deposit(&transfer.cents).await {
        Ok(balance) => Ok(transfer.balances(left, balance)),
        Err(refused) => {
            warn!("undoing the withdrawal: {refused}");
            ctx.entity(&from).refund(&transfer.cents).await?;
            Err(refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::{CalledKind, Run, World};

    use super::*;

    fn world() -> World {
        World::new()
            .entity::<Account>()
            .orchestration(bank_transfer)
            .orchestration(bank_transfer_saga)
            .entity_state(Account::at("ada"), &account(100))
            .entity_state(Account::at("bob"), &account(10))
    }

    fn account(cents: i64) -> Account {
        Account {
            cents,
            ..Account::default()
        }
    }

    fn transfer(from: &str, to: &str, cents: i64) -> Transfer {
        Transfer {
            from: from.into(),
            to: to.into(),
            cents,
        }
    }

    fn cents<O: std::fmt::Debug>(run: &Run<O>, key: &str) -> i64 {
        run.state_of(Account::at(key)).map_or(0, |account| account.cents)
    }

    #[test]
    fn money_moves_in_both_ways() {
        let input = transfer("ada", "bob", 30);
        for run in [
            world().run(bank_transfer, &input),
            world().run(bank_transfer_saga, &input),
        ] {
            assert_eq!(run.output(), &Balances { from: 70, to: 40 });
            assert_eq!((cents(&run, "ada"), cents(&run, "bob")), (70, 40));
        }
    }

    #[test]
    fn a_transfer_that_fails_moves_nothing() {
        let frozen = Account {
            cents: 1,
            is_frozen: true,
        };
        for (input, failure) in [
            (transfer("ada", "bob", 101), "InsufficientFunds"),
            (transfer("nobody", "bob", 1), "InsufficientFunds"),
            (transfer("ada", "frozen", 5), "AccountFrozen"),
            (transfer("frozen", "ada", 1), "AccountFrozen"),
            (transfer("ada", "bob", 0), "BadAmount"),
            (transfer("ada", "bob", -5), "BadAmount"),
        ] {
            let world = || world().entity_state(Account::at("frozen"), &frozen);
            for run in [
                world().run(bank_transfer, &input),
                world().run(bank_transfer_saga, &input),
            ] {
                assert!(run.failure().is(failure), "{input:?}: {:?}", run.failure());
                assert_eq!(
                    (cents(&run, "ada"), cents(&run, "bob"), cents(&run, "frozen")),
                    (100, 10, 1)
                );
            }
        }
    }

    #[test]
    fn a_transfer_to_the_same_account_changes_nothing() {
        let input = transfer("ada", "ada", 30);
        for run in [
            world().run(bank_transfer, &input),
            world().run(bank_transfer_saga, &input),
        ] {
            assert_eq!(run.output(), &Balances { from: 100, to: 100 });
            assert_eq!(cents(&run, "ada"), 100);
        }
    }

    /// Transfers in all directions at the same time, and a reader that locks everything.
    #[orchestrator(name = "Market")]
    async fn market(ctx: Orchestration) -> Result<Vec<i64>> {
        let keys = ["ada", "bob", "cid"];
        let mut transfers = Vec::new();
        for round in 1..=20 {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0)] {
                let input = transfer(keys[from], keys[to], round);
                transfers.push(ctx.sub_orchestration(bank_transfer, &input).start());
                transfers.push(ctx.sub_orchestration(bank_transfer_saga, &input).start());
            }
        }
        let mut sums = Vec::new();
        for _ in 0..5 {
            let all = ctx.lock(keys.map(Account::at)).await?;
            let balances = keys.map(|key| ctx.entity(Account::at(key)).balance().start());
            sums.push(try_join_all(balances).await?.iter().sum());
            drop(all);
        }
        join_all(transfers).await;
        Ok(sums)
    }

    #[test]
    fn no_cent_is_lost_among_many_transfers() {
        let run = world().run(market, &());
        assert_eq!(run.output().len(), 5);
        assert!(run.output().iter().all(|sum| *sum <= 110), "{:?}", run.output());
        assert_eq!(cents(&run, "ada") + cents(&run, "bob") + cents(&run, "cid"), 110);
        let transfers = run
            .calls()
            .iter()
            .filter(|call| call.kind == CalledKind::SubOrchestration);
        let (moved, refused): (Vec<_>, Vec<_>) = transfers.partition(|call| matches!(call.outcome, Some(Ok(_))));
        assert_eq!(moved.len() + refused.len(), 160);
        assert!(
            moved.len() > 40 && refused.len() > 10,
            "{} of 160 moved money",
            moved.len()
        );
    }
}
