//! A bank account. Money enters with deposits only, so the sum over all accounts shows whether a transfer lost some.

use windlass_sdk::prelude::*;

/// A bank account, in cents.
#[entity(name = "Account", delete_when_default)]
#[payload]
#[derive(Default, PartialEq)]
pub struct Account {
    pub cents: i64,
    /// A frozen account takes no deposits and pays nothing out.
    #[serde(default)]
    pub is_frozen: bool,
}

#[operations]
impl Account {
    /// Pays in, and returns the balance.
    fn deposit(&mut self, ctx: &Entity, cents: i64) -> Result<i64> {
        self.check_open(ctx)?;
        self.add(ctx, cents)
    }

    /// Pays out, and returns the balance. Fails if there is not enough.
    fn withdraw(&mut self, ctx: &Entity, cents: i64) -> Result<i64> {
        self.check_open(ctx)?;
        check_amount(cents)?;
        if self.cents < cents {
            let message = format!("account {} has {} cents, not {cents}", ctx.key(), self.cents);
            return Err(Failure::new("InsufficientFunds", message).non_retryable());
        }
        self.cents -= cents;
        Ok(self.cents)
    }

    /// Takes back a withdrawal, even if the account has been frozen since.
    fn refund(&mut self, ctx: &Entity, cents: i64) -> Result<i64> {
        self.add(ctx, cents)
    }

    /// Returns the balance.
    fn balance(&self) -> i64 {
        self.cents
    }

    /// Freezes the account, or opens it again.
    fn freeze(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }
}

impl Account {
    fn check_open(&self, ctx: &Entity) -> Result<()> {
        match self.is_frozen {
            true => Err(Failure::new("AccountFrozen", format!("account {} is frozen", ctx.key())).non_retryable()),
            false => Ok(()),
        }
    }

    fn add(&mut self, ctx: &Entity, cents: i64) -> Result<i64> {
        check_amount(cents)?;
        let too_much = || Failure::new("TooMuchMoney", format!("account {} cannot hold more", ctx.key()));
        self.cents = self.cents.checked_add(cents).ok_or_else(too_much)?;
        Ok(self.cents)
    }
}

fn check_amount(cents: i64) -> Result<()> {
    match cents {
        1.. => Ok(()),
        _ => Err(Failure::new("BadAmount", format!("an amount is at least one cent, not {cents}")).non_retryable()),
    }
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing;

    use super::*;

    #[test]
    fn an_account_pays_out_what_it_has_and_no_more() {
        let ctx = testing::entity("ada");
        let mut account = Account::default();
        assert_eq!(account.deposit(&ctx, 10).unwrap(), 10);
        let refused = account.withdraw(&ctx, 11).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "InsufficientFunds: account ada has 10 cents, not 11"
        );
        assert_eq!(account.withdraw(&ctx, 10).unwrap(), 0);
        for cents in [0, -1, i64::MIN] {
            assert!(account.deposit(&ctx, cents).unwrap_err().is("BadAmount"));
            assert!(account.withdraw(&ctx, cents).unwrap_err().is("BadAmount"));
        }
        assert_eq!(account, Account::default());
    }

    #[test]
    fn a_frozen_account_takes_only_refunds() {
        let ctx = testing::entity("ada");
        let mut account = Account {
            cents: 5,
            is_frozen: true,
        };
        assert!(account.deposit(&ctx, 1).unwrap_err().is("AccountFrozen"));
        assert!(account.withdraw(&ctx, 1).unwrap_err().is("AccountFrozen"));
        assert_eq!(account.refund(&ctx, 1).unwrap(), 6);
        account.freeze(false);
        assert_eq!(account.withdraw(&ctx, 6).unwrap(), 0);
        assert!(account.refund(&ctx, i64::MAX).is_ok());
        assert!(account.refund(&ctx, 1).unwrap_err().is("TooMuchMoney"));
    }
}
