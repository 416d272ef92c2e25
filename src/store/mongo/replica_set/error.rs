//! Why a replica set cannot be looked at or changed. Each message says what to do.

use crate::store::mongo::OpenError;

#[derive(Debug, thiserror::Error)]
pub enum ReplicaSetError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0:?} is no member's name: it looks like host:port")]
    Name(String),
    #[error(
        "the user of MONGODB_URL may not do this ({problem}): it needs the role clusterMonitor on the database admin to look at the replica set, clusterManager to change it. Another user can be given for one command: MONGODB_URL=… tango cluster …"
    )]
    NotAllowed { problem: String },
    #[error(
        "MONGODB_URL names no user with a password: mongodb://USER:PASSWORD@host:port,…/tango?authSource=admin&replicaSet=rs0; this user is made"
    )]
    NoUser,
    #[error("no member tells the configuration of the replica set ({problem}); has it been initiated?")]
    NoConfiguration { problem: String },
    #[error(
        "there is no PRIMARY, and only a PRIMARY can change the members ({states}). If most members are back in a moment, wait for the election (tango cluster status). If a site is lost for good, and with it most members: tango cluster recover"
    )]
    NoPrimary { states: String },
    #[error("{host} is no member of the replica set. Its members: {members}")]
    UnknownMember { host: String, members: String },
    #[error(
        "{host} is the PRIMARY: end its mongod in good order first; another member becomes PRIMARY within seconds, and then it can be removed"
    )]
    IsPrimary { host: String },
    #[error(
        "without {host} the set would have {votes} vote(s), of which {majority} make a majority, but only {healthy} would be healthy: there would be no PRIMARY. Bring a member back first (tango cluster status), or remove one that is not healthy"
    )]
    NoMajorityLeft { host: String, votes: i64, majority: i64, healthy: i64 },
    #[error("{host} is a member already: {state}")]
    AlreadyMember { host: String, state: String },
    #[error(
        "{host} cannot be added, because it does not answer: {problem}. Start its mongod, with this set's --replSet name, key file and certificates"
    )]
    DoesNotAnswer { host: String, problem: String },
    #[error("{host} cannot be added: {problem}")]
    CannotBeAdded { host: String, problem: String },
    #[error(
        "nothing to recover: {host} is PRIMARY, so the set takes writes. Members that are gone for good: tango cluster remove HOST:PORT"
    )]
    HasPrimary { host: String },
    #[error(
        "nothing to recover: members with {reachable} of {votes} votes answer, and {majority} elect a PRIMARY by themselves. Wait for the election (tango cluster status); if none comes, look into the logs of the members ({states})"
    )]
    HasMajority { reachable: i64, votes: i64, majority: i64, states: String },
    #[error(
        "{host} is not gone: {problem}. A member that is dropped must not come back to life by itself: end its process, or cut it off from the network, and try again"
    )]
    NotGone { host: String, problem: String },
    #[error(
        "no member that answers has the data in a state to go on from ({states}): one has to be SECONDARY. Wait until one is, or restore a backup"
    )]
    NoData { states: String },
    #[error(
        "the members to be dropped are {expected}; you named {named}. Name exactly these, and only when they are fenced off"
    )]
    NamedOthers { expected: String, named: String },
    #[error("the set has changed while you were asked ({states}): nothing was done. Start again")]
    Changed { states: String },
    #[error("the replica set refuses: {0}")]
    Refused(String),
    #[error(
        "{done}, but no member has become PRIMARY within {seconds} s ({states}). Look into the logs of the members; tango cluster status shows when there is one"
    )]
    NoElection { done: &'static str, seconds: u64, states: String },
    #[error(
        "the set takes writes again, but {hosts} still have the priority 0 that kept them from becoming PRIMARY too early ({problem}): tango cluster remove and add them, one after the other"
    )]
    HeldBack { hosts: String, problem: String },
    #[error(
        "not yet: with the change there would be {votes} votes, of which {majority} make a majority, and only {well} are PRIMARY or SECONDARY ({states}). Wait until every member is SECONDARY (tango cluster status), or remove those that are gone"
    )]
    NotReadyForMore { well: i64, votes: i64, majority: i64, states: String },
    #[error(
        "the members have not all taken the new configuration within {seconds} s ({states}); tango cluster members shows it"
    )]
    NotTaken { seconds: u64, states: String },
}
