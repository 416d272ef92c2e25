//! What the driver's monitors know of the replica set: who is reachable, and how long to wait for it.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::doc;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ReadPreference, SelectionCriteria};
use mongodb::{Database, ServerType};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::{Member, MemberState};

/// While most members answer, an election is under way or about to be: a request waits for its end.
pub(super) const ELECTION_PATIENCE: Duration = Duration::from_secs(15);
/// Without a majority nothing can be written, and waiting does not help.
const NO_MAJORITY_PATIENCE: Duration = Duration::from_secs(3);
/// When for so long no member at all has answered the monitors, somebody has to look.
const DESERTED_PATIENCE: Duration = Duration::from_secs(3);
/// How long a member may take to answer a look, the driver's search for one included.
const LOOK: Duration = Duration::from_millis(1_500);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The set as it was last seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    pub all: Vec<Member>,
    /// Since when nobody answers the monitors.
    deserted_since: Option<Instant>,
    /// Nobody has answered a look, either: reading makes no sense.
    given_up: bool,
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
        self.given_up &= self.deserted_since.is_some();
        changed
    }

    /// Takes in whether somebody answered when it was looked.
    fn looked(&mut self, answered: bool, now: Instant) {
        if answered {
            self.deserted_since = self.deserted_since.and(Some(now));
        }
        self.given_up = !answered && self.deserted_since.is_some();
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

    /// What the monitors might say, and since when.
    #[cfg(test)]
    pub(super) fn believe(&self, all: Vec<Member>, since: Instant) {
        self.members.send_modify(|members| {
            members.see(all, since);
        });
    }

    pub(super) fn members(&self) -> Members {
        self.members.borrow().clone()
    }

    pub(super) fn has_majority(&self) -> bool {
        self.members.borrow().has_majority()
    }

    /// Ends when there is a primary that most members follow.
    pub(super) async fn writable(&self) {
        let mut changes = self.members.subscribe();
        let has_primary = |members: &Members| members.all.iter().any(|member| member.state == MemberState::Primary);
        let seen = changes.wait_for(|members| members.has_majority() && has_primary(members)).await.is_ok();
        debug_assert!(seen, "the sender lives as long as this");
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

    /// Ends when no member has answered for so long that reading makes no sense; see [`Health::look_when_deserted`].
    pub(super) async fn deserted(&self) {
        let mut changes = self.members.subscribe();
        let seen = changes.wait_for(|members| members.given_up).await.is_ok();
        debug_assert!(seen, "the sender lives as long as this");
    }

    /// What the monitors believe is no reason to refuse anybody: where processors or the network are busy, they may be
    /// behind while a member answers. So once they have heard of nobody for a while, a member is asked, again and again, and
    /// only when none answers is reading given up.
    pub(super) async fn look_when_deserted(self, database: Database, stop: CancellationToken) {
        let mut changes = self.members.subscribe();
        let mut looked_at: Option<Instant> = None;
        loop {
            let since = changes.borrow_and_update().deserted_since;
            let due = since.map(|since| (since + DESERTED_PATIENCE).max(looked_at.map_or(since, |at| at + LOOK_PAUSE)));
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return } else { continue },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let anybody: SelectionCriteria = ReadPreference::Nearest { options: None }.into();
            let ping = database.run_command(doc! { "ping": 1 }).selection_criteria(anybody);
            let answered = tokio::time::timeout(LOOK, ping.into_future()).await.is_ok_and(|answer| answer.is_ok());
            if answered {
                tracing::info!("MongoDB answers, although its members seemed to be gone");
            }
            let now = Instant::now();
            self.members.send_modify(|members| members.looked(answered, now));
            looked_at = Some(now);
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

    #[test]
    fn reading_is_given_up_when_nobody_answers_a_look_until_somebody_is_seen() {
        use MemberState::{Primary, Unreachable};
        let began = Instant::now();
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        let mut members = Members::default();
        members.see(seen(&[Unreachable]), after(1));
        assert!(!members.given_up, "the monitors alone do not decide");
        members.looked(true, after(4));
        assert!(!members.given_up && members.deserted_since == Some(after(4)), "the next look has time");
        members.looked(false, after(8));
        assert!(members.given_up);
        members.looked(true, after(9));
        assert!(!members.given_up);
        members.looked(false, after(13));
        members.see(seen(&[Primary]), after(14));
        assert!(!members.given_up);
        members.looked(false, after(14));
        assert!(!members.given_up, "a look that began before");
    }
}
