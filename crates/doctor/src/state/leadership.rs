//! Whether this doctor may write, and what its term tells.

use super::EngineState;
use crate::{ledger::Ledger, report::Role, term::TermEvent};

impl EngineState {
    /// Elected: the actions log is being opened.
    pub fn begin_term(&mut self) {
        self.set_role(Role::TakingOver);
    }

    /// The election says that this doctor stands by. The next one is a new chance for one that was fenced.
    pub fn stand_by(&mut self) {
        self.fenced = false;
        self.log_error = None;
        if !matches!(self.role, Role::Standby | Role::Conflict { .. }) {
            self.set_role(Role::Standby);
        }
    }

    /// The term is over, and another may follow.
    pub fn end_term(&mut self) {
        if matches!(self.role, Role::TakingOver | Role::Leading { .. }) {
            self.set_role(Role::Standby);
        }
    }

    /// Another policy has the cluster, or has it no more.
    pub fn set_conflict(&mut self, conflict: Option<&str>) {
        let role = match (conflict, &self.role) {
            (Some(told), Role::Conflict { message }) if told == message => return,
            (Some(told), _) => {
                self.log_error = None;
                Role::Conflict { message: told.to_owned() }
            }
            (None, Role::Conflict { .. }) if self.fenced => Role::Fenced,
            (None, Role::Conflict { .. }) => Role::Standby,
            (None, _) => return,
        };
        self.set_role(role);
    }

    /// Whether another doctor has taken the log over since the last election.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Whether this doctor writes the log.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leading { .. })
    }

    /// Takes in what the term tells.
    pub fn hear_term(&mut self, event: TermEvent) {
        match event {
            TermEvent::Opened(ledger) => {
                let Ledger { alerts, recovery, loans, proposals, votes, told } = *ledger;
                // A call of an older leader may have come after the end of its treatment.
                self.unswept = recovery.ended().map(|ended| (ended.clone(), ended.owed().clone())).collect();
                (self.recovery, self.loans, self.proposals) = (recovery, loans, proposals);
                self.votes = votes;
                self.taken_over = Some(told);
                (self.hold_off, self.outdated) = (None, None);
                self.pauses.clear();
                self.offers.clear();
                self.withdrawn.clear();
                // Saturating, for anyone may have written anything to the log before.
                let epoch = alerts.epoch.saturating_add(1);
                self.alerts = alerts;
                self.alerts.epoch = epoch;
                self.set_role(Role::Leading { epoch });
            }
            TermEvent::Stepped(records) => self.stepped(&records),
            TermEvent::Failed(error) => {
                self.changed |= self.log_error.as_ref() != Some(&error);
                self.log_error = Some(error);
            }
            TermEvent::Committed(kinds) => {
                self.changed |= self.log_error.take().is_some();
                for kind in kinds {
                    *self.counters.actions.entry(kind).or_default() += 1;
                }
            }
            TermEvent::LeftOut => self.counters.outbox_dropped += 1,
            TermEvent::Fenced => {
                self.fenced = true;
                self.log_error = None;
                self.set_role(Role::Fenced);
            }
            TermEvent::Broken => self.end_term(),
        }
    }

    fn set_role(&mut self, role: Role) {
        self.role = role;
        self.advised = None;
        self.changed = true;
    }
}
