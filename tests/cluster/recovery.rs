//! A lost data centre: most members are gone, `tango cluster recover` goes on with the rest, and the lost ones come back.

use std::time::Instant;

use mongodb::bson::{Document, doc};
use tango::clock::{Clock as _, SystemClock};
use tango::store::mongo::{MongoSettings, MongoStore};
use tango::store::{Batch, Collection, Key, Op, Store as _};

use crate::cluster_command::ClusterCommand;
use crate::dev_cluster::DevCluster;
use crate::replica_set::ReplicaSet;
use crate::support::patience::until;

/// Words are documents of this scope.
const SCOPE: &str = "recovery";

/// A store as a running tango has it.
async fn open_store(set: &ReplicaSet) -> MongoStore {
    let setting = |name: &str| set.environment().into_iter().find(|(known, _)| known == name).unwrap().1;
    let ca_file = Some(setting("MONGODB_CA_FILE").into());
    let settings = MongoSettings { url: setting("MONGODB_URL"), ca_file, allow_plain: false };
    MongoStore::open(&settings, SystemClock.now()).await.unwrap()
}

/// Writes a word as tango does.
async fn write(store: &MongoStore, word: &str) {
    until("an acknowledged write", async || {
        let mut batch = Batch::new();
        let (collection, body) = (Collection::Meta, "{}".to_owned());
        batch.push(Op::Put { collection, key: Key::new(SCOPE, word), body });
        store.commit(batch).await
    })
    .await;
}

/// Writes a word to one member, a primary, whatever the others say.
async fn write_to(set: &ReplicaSet, member: usize, word: &str) {
    let words = set.client_of(member).await.database("tango").collection::<Document>("meta");
    let document = doc! { "_id": { "s": SCOPE, "i": word } };
    until("an acknowledged write", async || words.insert_one(&document).await.map(drop)).await;
}

/// Waits until a member, whatever it is, has these and no others.
async fn wait_for_words(set: &ReplicaSet, member: usize, expected: &[&str]) {
    let words = set.client_of(member).await.database("tango").collection::<Document>("meta");
    until("the words written", async || {
        let found = words.distinct("_id.i", doc! { "_id.s": SCOPE }).await.map_err(|error| error.to_string())?;
        let mut found: Vec<&str> = found.iter().filter_map(|word| word.as_str()).collect();
        found.sort_unstable();
        if found == expected { Ok(()) } else { Err(format!("member {member}: {found:?}")) }
    })
    .await;
}

fn names(hosts: &[String]) -> String {
    hosts.join(",")
}

/// Waits until these say that the set has dropped them.
async fn wait_until_removed(tango: &ClusterCommand, hosts: &[String]) {
    until("members that let go", async || {
        let status = tango.status();
        let removed = status["not_members"].as_array().unwrap().iter().filter(|one| one["stateStr"] == "REMOVED");
        if removed.count() == hosts.len() { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_five_go_on_without_the_lost_three_and_win_over_them_when_they_return() {
    let Some(cluster) = DevCluster::open() else { return };
    let set = ReplicaSet::start(&cluster, 5).await;
    let tango = ClusterCommand::of(&cluster, &set);
    let store = open_store(&set).await;
    write(&store, "before").await;

    // The site with the primary and the majority is lost; one process there hangs first.
    let first = set.primary().await;
    let (lost, stay): (Vec<usize>, Vec<usize>) = {
        let others = (1..=5).filter(|member| *member != first).collect::<Vec<_>>();
        (vec![first, others[0], others[1]], vec![others[2], others[3]])
    };
    let lost_hosts: Vec<String> = lost.iter().map(|member| set.host(*member)).collect();
    let stay_hosts: Vec<String> = stay.iter().map(|member| set.host(*member)).collect();
    set.kill(&lost[..2]);
    set.suspend(&lost[2..]);
    // At first the survivors have heard of the killed ones, too, a moment ago.
    let hanging = until("the one that hangs", async || {
        let said = tango.run("recover");
        if said.errors.contains(&lost_hosts[2]) { Ok(said) } else { Err(said) }
    });
    hanging.await.expect_refused(&["is not gone"]);
    set.kill(&lost[2..]);

    tango.run("status").expect_refused(&["there is no PRIMARY", &lost_hosts[0]]);
    tango
        .run(&format!("remove {} --yes", lost_hosts[0]))
        .expect_refused(&["there is no PRIMARY", "tango cluster recover"]);
    // The survivors notice by and by that the last one is gone.
    let plan = until("a plan", async || {
        let said = tango.run("recover");
        if said.errors.contains("nobody can be asked") { Ok(said) } else { Err(said) }
    })
    .await
    .expect_refused(&["nothing was changed", "--fenced-off"]);
    for part in ["has lost 3 of its 5 votes", "becomes PRIMARY", "What may be lost", "3 members acknowledge a write"] {
        assert!(plan.contains(part), "{part:?} is not in: {plan}");
    }
    let wrong = format!("recover --fenced-off {}", names(&lost_hosts[1..]));
    tango.run(&wrong).expect_refused(&["the members to be dropped are", &lost_hosts[0]]);
    let too_many = format!("recover --fenced-off {},{}", names(&lost_hosts), stay_hosts[0]);
    tango.run(&too_many).expect_refused(&["Name exactly these"]);

    let began = Instant::now();
    let said = tango.run(&format!("recover --fenced-off {}", names(&lost_hosts))).expect_done();
    println!("{said}\nrecovered in {:?}", began.elapsed());
    write(&store, "after").await;
    println!(
        "a store that was open all the time takes writes again {:?} after the start of the recovery",
        began.elapsed()
    );
    tango.run("status").expect_done();
    assert_eq!(tango.status()["members"].as_array().unwrap().len(), 2);

    // The site comes back, but out of reach of the survivors: fenced off badly. Its old configuration lets it elect a primary.
    set.suspend(&stay);
    set.restart(&lost);
    let other = set.primary_other_than(&stay).await;
    write_to(&set, other, "lost site").await;
    set.restart(&[other]); // another election: a later term than the survivors have
    let other = set.primary_other_than(&stay).await;
    write_to(&set, other, "lost site again").await;

    // They meet: the forced configuration wins, in spite of its earlier elections, and what was written since the recovery stays.
    set.resume(&stay);
    wait_until_removed(&tango, &lost_hosts).await;
    let here = set.primary_other_than(&lost).await;
    assert!(stay.contains(&here));
    wait_for_words(&set, here, &["after", "before"]).await;
    tango.wait_until_healthy().await;

    // What the lost site took has gone another way; its members start empty and copy everything. The configuration stays a forced one,
    // so that those that are not back yet could not win even then.
    set.kill(&lost);
    for (count, member) in lost.iter().enumerate() {
        set.empty(*member);
        set.restart(&[*member]);
        println!("{}", tango.add(&set.host(*member)).await);
        assert_eq!(tango.wait_until_healthy().await, 3 + count);
        assert!(tango.run("members --json").expect_done().contains("\"term\": null"));
    }
    for member in 1..=5 {
        wait_for_words(&set, member, &["after", "before"]).await;
    }
}

/// Recovers, once those who are left see that the others are gone.
async fn go_on_without(tango: &ClusterCommand, lost_hosts: &[String]) {
    let recover = format!("recover --fenced-off {}", names(lost_hosts));
    until("a recovery", async || {
        let said = tango.run(&recover);
        if said.code == 0 { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_members_that_meet_the_survivor_let_go_and_are_added_as_they_are() {
    let Some(cluster) = DevCluster::open() else { return };
    let set = ReplicaSet::start(&cluster, 3).await;
    let tango = ClusterCommand::of(&cluster, &set);
    let store = open_store(&set).await;
    write(&store, "before").await;
    let first = set.primary().await;
    let stays = (1..=3).find(|member| *member != first).unwrap();
    let lost: Vec<usize> = (1..=3).filter(|member| *member != stays).collect();
    let lost_hosts: Vec<String> = lost.iter().map(|member| set.host(*member)).collect();
    set.kill(&lost);
    go_on_without(&tango, &lost_hosts).await;
    write(&store, "after").await;

    // Two of three: by their old configuration they would be a majority.
    set.restart(&lost);
    wait_until_removed(&tango, &lost_hosts).await;
    assert_eq!(set.primary().await, stays);
    assert_eq!(tango.wait_until_healthy().await, 1);
    for (count, host) in lost_hosts.iter().enumerate() {
        assert!(tango.add(host).await.contains("follows as SECONDARY"));
        assert_eq!(tango.wait_until_healthy().await, 2 + count);
    }
    write(&store, "whole").await;
    for member in 1..=3 {
        wait_for_words(&set, member, &["after", "before", "whole"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_knows_no_users_yet_has_no_vote_and_that_is_said() {
    let Some(cluster) = DevCluster::open() else { return };
    let set = ReplicaSet::start(&cluster, 3).await;
    let tango = ClusterCommand::of(&cluster, &set);
    let lost = [2, 3];
    let lost_hosts: Vec<String> = lost.iter().map(|member| set.host(*member)).collect();
    set.kill(&lost);
    go_on_without(&tango, &lost_hosts).await;

    let (newcomer, host) = (lost[0], &lost_hosts[0]);
    set.empty(newcomer);
    set.hold_first_copy(newcomer, true);
    set.restart(&[newcomer]);
    let not_yet = until("a newcomer that copies", async || {
        let said = tango.run(&format!("add {host}"));
        if said.errors.contains("without a vote") { Ok(said) } else { Err(said) }
    });
    not_yet.await.expect_refused(&[host, "STARTUP2 so far", "has not copied the users yet", "repeat this command"]);
    tango.run("status").expect_refused(&["is not healthy", &format!("{host} is STARTUP2")]);

    set.hold_first_copy(newcomer, false);
    set.restart(&[newcomer]);
    // It follows, but nobody has given it its vote.
    until("a member that lacks a vote only", async || {
        let said = tango.run("status");
        if said.errors.contains(&format!("{host} has no vote")) { Ok(()) } else { Err(said) }
    })
    .await;
    assert!(tango.add(host).await.contains("follows as SECONDARY"));
    assert_eq!(tango.wait_until_healthy().await, 2);
}
