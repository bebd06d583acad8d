//! Everything that the actions log says and that a leader has to know: one fold over its records.

use doctorkafka_wire::ActionRecord;

use crate::{
    alerts::Alerts, decisions::Intake, execute::Recovery, loans::Loans, remedy::offers::Proposals,
    witness::Told,
};

/// What the log says.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Alerts that stand open, and the newest leader epoch.
    pub alerts: Alerts,
    /// The treatment that has to be finished or undone.
    pub recovery: Recovery,
    /// Leaderships to give back.
    pub loans: Loans,
    /// What stands proposed.
    pub proposals: Proposals,
    /// What people have decided about it.
    pub votes: Intake,
    /// Which changes of brokers it tells.
    pub told: Told,
}

impl Ledger {
    /// Takes in the next record of the log.
    pub fn apply(&mut self, offset: i64, record: &ActionRecord) {
        self.alerts.apply(record);
        self.recovery.apply(record);
        self.loans.apply(record);
        self.proposals.apply(record);
        self.votes.apply(offset, record);
        self.told.apply(record);
    }
}
