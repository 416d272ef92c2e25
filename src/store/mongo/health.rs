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

/// The set as it was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Members(pub Vec<Member>);

impl Members {
    /// More than half of the members answer.
    fn has_majority(&self) -> bool {
        let reachable = self.0.iter().filter(|member| member.state != MemberState::Unreachable).count();
        reachable * 2 > self.0.len()
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
                let mut seen: Vec<Member> = change
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
                seen.sort();
                members.send_if_modified(|known| {
                    let changed = known.0 != seen;
                    known.0 = seen;
                    changed
                });
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
}
