//! What is decided from an overview. That members behave so is tested with real ones, in `tests/cluster`.

use super::*;

/// Members `a`, `b`, … with a vote each, by what they are; `GONE` stands for no connection.
fn set(states: &[&str]) -> Overview {
    let members: Vec<MemberStatus> = states
        .iter()
        .zip('a'..)
        .map(|(state, name)| {
            let gone = *state == "GONE";
            MemberStatus {
                configured: MemberConfiguration {
                    id: 0,
                    host: format!("{name}:27017"),
                    votes: 1,
                    priority: 1.0,
                    arbiter: *state == ARBITER,
                    hidden: false,
                    delay_seconds: 0,
                    tags: BTreeMap::new(),
                },
                reach: if gone { Reach::Gone("no connection".to_owned()) } else { Reach::Answers },
                heard_by: None,
                state: if gone { NOT_REACHABLE.to_owned() } else { (*state).to_owned() },
                healthy: !gone,
                position: (!gone).then_some(Position { term: 1, seconds: 1_000, increment: 1 }),
                last_write: None,
                lag_seconds: None,
                uptime_seconds: None,
                clock_ahead_ms: None,
                disk: None,
                last_heard: None,
                note: None,
            }
        })
        .collect();
    let configuration = Configuration {
        set: "rs0".to_owned(),
        version: 1,
        term: Some(1),
        members: members.iter().map(|member| member.configured.clone()).collect(),
    };
    Overview { configuration, members, strangers: Vec::new(), raw: Document::new() }
}

fn reason(overview: &Overview) -> String {
    RecoveryPlan::of(overview).unwrap_err().to_string()
}

#[test]
fn one_primary_and_secondaries_are_well_and_nothing_else_is() {
    assert!(set(&[PRIMARY, SECONDARY, SECONDARY]).problems().is_empty());
    assert!(set(&[PRIMARY, SECONDARY, ARBITER]).problems().is_empty());
    assert_eq!(set(&[SECONDARY, SECONDARY]).problems(), ["there is no PRIMARY"]);
    assert_eq!(set(&[PRIMARY, PRIMARY]).problems(), ["2 members are PRIMARY: a:27017, b:27017"]);
    assert_eq!(set(&[PRIMARY, SECONDARY, "GONE"]).problems(), ["c:27017 is (not reachable/healthy)"]);
    assert_eq!(set(&[PRIMARY, SECONDARY, "RECOVERING"]).problems(), ["c:27017 is RECOVERING"]);
    let mut overview = set(&[PRIMARY, SECONDARY]);
    let reach = Reach::Answers;
    overview.strangers.push(Stranger { host: "z:27017".to_owned(), reach, state: PRIMARY.to_owned() });
    assert_eq!(overview.problems(), ["2 members are PRIMARY: a:27017, z:27017"]);
}

#[test]
fn a_member_without_a_vote_is_not_well_unless_it_only_keeps_a_copy() {
    let without_vote = |change: fn(&mut MemberConfiguration), votes: i64| {
        let mut overview = set(&[PRIMARY, SECONDARY, SECONDARY]);
        overview.configuration.members[0].votes = votes;
        for member in [&mut overview.configuration.members[2], &mut overview.members[2].configured] {
            member.votes = 0;
            change(member);
        }
        overview.problems()
    };
    let problems = without_vote(|_| {}, 1);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("c:27017 has no vote"), "{problems:?}");
    assert!(without_vote(|member| member.hidden = true, 1).is_empty());
    assert!(without_vote(|member| member.delay_seconds = 3_600, 1).is_empty());
    assert!(without_vote(|_| {}, 6).is_empty(), "seven have one");
}

#[test]
fn a_forced_configuration_wins_by_its_version_whatever_the_term() {
    let configuration = |version, term| Configuration { version, term, ..set(&[]).configuration };
    let forced = configuration(50_000, None);
    assert!(forced.is_newer_than(&configuration(1, Some(99))));
    assert!(!configuration(1, Some(99)).is_newer_than(&forced));
    // And why an ordinary change must not follow: the old one's later term would win.
    assert!(configuration(1, Some(99)).is_newer_than(&configuration(50_001, Some(2))));
    assert!(configuration(3, Some(2)).is_newer_than(&configuration(2, Some(2))));
}

#[test]
fn nothing_is_recovered_while_the_set_can_help_itself() {
    assert!(reason(&set(&[PRIMARY, "GONE", "GONE"])).contains("a:27017 is PRIMARY"));
    assert!(reason(&set(&[SECONDARY, SECONDARY, "GONE"])).contains("2 of 3 votes answer, and 2 elect"));
    let mut overview = set(&[SECONDARY, "GONE", "GONE"]);
    let reach = Reach::Answers;
    overview.strangers.push(Stranger { host: "z:27017".to_owned(), reach, state: PRIMARY.to_owned() });
    assert!(reason(&overview).contains("z:27017 is PRIMARY"));
}

#[test]
fn a_member_is_gone_only_when_nothing_and_nobody_hears_from_it() {
    let mut overview = set(&[SECONDARY, "GONE", "GONE"]);
    overview.members[1].reach = Reach::Silent("it takes connections".to_owned());
    assert!(reason(&overview).starts_with("b:27017 is not gone: it takes connections"));
    let mut overview = set(&[SECONDARY, "GONE", "GONE"]);
    overview.members[2].heard_by = Some("a:27017".to_owned());
    assert!(reason(&overview).starts_with("c:27017 is not gone: a:27017 still hears from it"));
}

#[test]
fn the_member_whose_data_goes_farthest_leads() {
    let mut overview = set(&[SECONDARY, SECONDARY, SECONDARY, "GONE", "GONE", "GONE", "GONE"]);
    let at = |term, seconds| Some(Position { term, seconds, increment: 1 });
    overview.members[0].position = at(1, 2_000);
    overview.members[1].position = at(2, 1_500);
    overview.members[2].position = at(2, 1_499);
    let plan = RecoveryPlan::of(&overview).unwrap();
    assert_eq!(plan.leader, "b:27017", "of the last election, however late the others wrote");
    assert_eq!(plan.stay.len(), 3);
    assert!(
        plan.stay.iter().map(|member| member.held_back).eq([true, false, true]),
        "the others could elect one of them"
    );
    assert_eq!(plan.dropped_hosts(), ["d:27017", "e:27017", "f:27017", "g:27017"]);
    overview.members[0].position = at(2, 1_500);
    assert!(!RecoveryPlan::of(&overview).unwrap().stay[2].held_back, "it needs the vote of one that has all");
    overview.members[0].position = at(1, 2_000);
    overview.members[1].state = "ROLLBACK".to_owned();
    assert_eq!(RecoveryPlan::of(&overview).unwrap().leader, "c:27017");
    for member in &mut overview.members[..3] {
        member.state = "RECOVERING".to_owned();
    }
    assert!(reason(&overview).starts_with("no member that answers has the data"));
}

#[test]
fn what_a_majority_acknowledged_is_lost_only_when_the_lost_members_are_one() {
    let lost = |states: &[&str]| RecoveryPlan::of(&set(states)).unwrap().acknowledged_may_be_lost;
    assert!(lost(&[SECONDARY, SECONDARY, "GONE", "GONE", "GONE"]));
    assert!(!lost(&[SECONDARY, SECONDARY, "GONE", "GONE"]), "three of four acknowledge, so a survivor has it");
    assert!(lost(&[SECONDARY, "RECOVERING", "GONE", "GONE"]), "the one that has it may be the one that cannot lead");
    // With an arbiter two members acknowledge; one of them is left.
    let mut overview = set(&[SECONDARY, "GONE", "GONE"]);
    overview.members[2].configured.arbiter = true;
    overview.configuration.members[2].arbiter = true;
    assert!(!RecoveryPlan::of(&overview).unwrap().acknowledged_may_be_lost);
}

#[test]
fn members_that_could_not_lead_are_promoted_only_when_no_other_can() {
    let mut overview = set(&[SECONDARY, SECONDARY, "GONE", "GONE", "GONE"]);
    overview.members[0].configured.priority = 0.0;
    assert!(RecoveryPlan::of(&overview).unwrap().stay.iter().all(|member| !member.promoted));
    overview.members[1].configured.priority = 0.0;
    assert!(RecoveryPlan::of(&overview).unwrap().stay.iter().all(|member| member.promoted));
}

#[test]
fn exactly_the_lost_members_have_to_be_named() {
    let plan = RecoveryPlan::of(&set(&[SECONDARY, "GONE", "GONE"])).unwrap();
    let confirm = |names: &[&str]| plan.confirm(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    confirm(&["c:27017", "b:27017"]).unwrap();
    confirm(&["C", "b"]).unwrap(); // MongoDB's port is understood
    for names in [&["b:27017"][..], &["a:27017", "b:27017", "c:27017"], &["b:1", "c:27017"], &[]] {
        let reason = confirm(names).unwrap_err().to_string();
        assert!(reason.starts_with("the members to be dropped are b:27017, c:27017; you named"), "{reason}");
    }
}

#[test]
fn removing_leaves_a_majority_or_is_refused() {
    let of = |states: &[&str], host: &str| Removal::of(&set(states), host);
    let refused = |states: &[&str], host: &str| of(states, host).unwrap_err().to_string();
    assert_eq!(of(&[PRIMARY, SECONDARY, SECONDARY, "GONE"], "d").unwrap().warnings(), Vec::<String>::new());
    assert!(of(&[PRIMARY, SECONDARY, "GONE"], "c").unwrap().warnings()[0].starts_with("an even number of votes (2)"));
    let warnings = of(&[PRIMARY, SECONDARY, SECONDARY, "GONE", SECONDARY, "GONE"], "e").unwrap().warnings();
    assert_eq!(warnings, ["3 of the 5 votes left are healthy: not one more may fail"]);
    assert!(of(&[PRIMARY, SECONDARY], "b").unwrap().warnings()[0].starts_with("one vote is left"));
    assert!(refused(&[PRIMARY, SECONDARY, "GONE"], "b").contains("only 1 would be healthy"));
    assert!(refused(&[PRIMARY, SECONDARY], "a:27017").starts_with("a:27017 is the PRIMARY"));
    assert!(refused(&[PRIMARY, SECONDARY], "x").ends_with("Its members: a:27017, b:27017"));
    assert!(refused(&[SECONDARY, "GONE", "GONE"], "b").contains("tango cluster recover"));
}
