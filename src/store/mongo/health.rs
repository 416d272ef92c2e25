//! What the driver's monitors know of the replica set: who is reachable, and how long to wait for it.

use std::sync::Arc;
use std::time::Duration;

use mongodb::ServerType;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::store::{Member, MemberState};

/// While most members answer, an election is under way or about to be: a request waits for its end.
pub(super) const ELECTION_PATIENCE: Duration = Duration::from_secs(15);
/// Without a majority nothing can be written, and waiting does not help.
const NO_MAJORITY_PATIENCE: Duration = Duration::from_secs(3);
/// When for so long no member at all has answered, reading does not help, either.
const DESERTED_PATIENCE: Duration = Duration::from_secs(3);

/// The set as it was last seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    pub all: Vec<Member>,
    /// Since when nobody answers.
    deserted_since: Option<Instant>,
}

impl Members {
    /// More than half of the members answer.
    fn has_majority(&self) -> bool {
        self.reachable() * 2 > self.all.len()
    }

    fn reachable(&self) -> usize {
        self.all.iter().filter(|member| member.state != MemberState::Unreachable).count()
    }

    /// Takes in what was seen at a moment; whether that is news.
    fn see(&mut self, mut all: Vec<Member>, now: Instant) -> bool {
        all.sort();
        let changed = self.all != all;
        self.all = all;
        self.deserted_since = if self.reachable() == 0 { self.deserted_since.or(Some(now)) } else { None };
        changed
    }
}

/// Follows the monitors. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Health {
    members: Arc<watch::Sender<Members>>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { members: Arc::new(watch::Sender::new(Members::default())) }
    }

    /// What the driver is to call.
    pub(super) fn handler(&self) -> EventHandler<SdamEvent> {
        let members = Arc::clone(&self.members);
        EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(change) = event {
                let seen: Vec<Member> = change
                    .new_description
                    .servers()
                    .into_iter()
                    .map(|(address, server)| Member {
                        address: address.to_string(),
                        state: match server.server_type() {
                            ServerType::RsPrimary => MemberState::Primary,
                            ServerType::RsSecondary => MemberState::Secondary,
                            ServerType::RsArbiter => MemberState::Arbiter,
                            ServerType::RsOther => MemberState::Other,
                            _ => MemberState::Unreachable,
                        },
                    })
                    .collect();
                members.send_if_modified(|known| known.see(seen, Instant::now()));
            }
        })
    }

    pub(super) fn members(&self) -> Members {
        self.members.borrow().clone()
    }

    pub(super) fn has_majority(&self) -> bool {
        self.members.borrow().has_majority()
    }

    /// Ends when an operation that began at `started` has waited long enough, by what is known of the set meanwhile.
    pub(super) async fn out_of_patience(&self, started: Instant) {
        let mut changes = self.members.subscribe();
        loop {
            let patience =
                if changes.borrow_and_update().has_majority() { ELECTION_PATIENCE } else { NO_MAJORITY_PATIENCE };
            tokio::select! {
                () = tokio::time::sleep_until(started + patience) => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends when no member has answered for so long that reading makes no sense.
    pub(super) async fn deserted(&self) {
        let mut changes = self.members.subscribe();
        loop {
            let since = changes.borrow_and_update().deserted_since;
            tokio::select! {
                () = tokio::time::sleep_until(since.unwrap_or_else(Instant::now) + DESERTED_PATIENCE), if since.is_some() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(states: &[MemberState]) -> Vec<Member> {
        let member = |(number, state): (usize, &MemberState)| Member { address: format!("h{number}:1"), state: *state };
        states.iter().enumerate().map(member).collect()
    }

    #[test]
    fn a_set_is_deserted_from_the_moment_that_nobody_answers_any_more() {
        use MemberState::{Primary, Secondary, Unreachable};
        let began = Instant::now();
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        let mut members = Members::default();
        assert!(!members.has_majority() && members.deserted_since.is_none(), "nothing is known yet");
        assert!(members.see(seen(&[Primary, Secondary, Secondary]), after(1)) && members.has_majority());
        members.see(seen(&[Unreachable, Secondary, Unreachable]), after(2));
        assert!(!members.has_majority() && members.deserted_since.is_none(), "one can still be read");
        members.see(seen(&[Unreachable; 3]), after(3));
        assert!(!members.see(seen(&[Unreachable; 3]), after(4)), "no news");
        assert_eq!(members.deserted_since, Some(after(3)));
        members.see(seen(&[Unreachable, Unreachable, Secondary]), after(5));
        assert_eq!(members.deserted_since, None);
    }
}
