//! Network namespaces on a bridge of their own: machines that can be cut off from each other. Needs root and `ip`.
//!
//! Each machine has a second cable, straight to the test, over which it can be spoken to while it is cut off from the others.

use std::path::Path;
use std::process::{Command, Output};

/// Machines numbered from 1, each with an address that the test can reach too. Goes away with this value; what a killed test has left
/// behind is removed by the next.
pub struct Network {
    bridge: String,
    namespaces: Vec<String>,
    addresses: Vec<String>,
    straight_addresses: Vec<String>,
}

/// Bridges of these tests; a number follows.
const BRIDGE: &str = "tango-test-";
/// 198.18.0.0/15 is set aside for tests of networks.
const NETWORKS: std::ops::Range<u8> = 1..250;

impl Network {
    /// `None`, with a printed line, where that is not allowed.
    pub fn lay(machines: u8) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        if let Err(error) = Command::new("ip").arg("-V").output() {
            eprintln!("skipped: `ip` cannot be run ({error}): install the package iproute2");
            return None;
        }
        remove_abandoned();
        // A bridge that exists is another test's: its number is taken.
        let number =
            NETWORKS.clone().find(|number| ip(&format!("link add {BRIDGE}{number} type bridge")).status.success());
        let Some(number) = number else {
            eprintln!("skipped: no bridge can be made here: {}", said(&ip(&format!("link add {BRIDGE}0 type bridge"))));
            return None;
        };
        let bridge = format!("{BRIDGE}{number}");
        let mut network = Self {
            bridge: bridge.clone(),
            namespaces: Vec::new(),
            addresses: Vec::new(),
            straight_addresses: Vec::new(),
        };
        remove_cables(&bridge);
        must(&format!("link set {bridge} alias process-{}", std::process::id()));
        must(&format!("address add 198.18.{number}.254/24 dev {bridge}"));
        must(&format!("link set {bridge} up"));
        for machine in 1..=machines {
            let (namespace, address) = (format!("{bridge}-{machine}"), format!("198.18.{number}.{machine}"));
            let (outside, inside) = (outside(&bridge, machine), "eth0");
            must(&format!("netns add {namespace}"));
            network.namespaces.push(namespace.clone());
            network.addresses.push(address.clone());
            must(&format!("link add {outside} type veth peer name {inside} netns {namespace}"));
            must(&format!("link set {outside} master {bridge} up"));
            must(&format!("-n {namespace} address add {address}/24 dev {inside}"));
            must(&format!("-n {namespace} link set {inside} up"));
            must(&format!("-n {namespace} link set lo up"));
            must(&format!("-n {namespace} route add default via 198.18.{number}.254"));
            let (straight, inside, first) = (straight(&bridge, machine), "eth1", 4 * machine);
            must(&format!("link add {straight} type veth peer name {inside} netns {namespace}"));
            must(&format!("address add 198.19.{number}.{}/30 dev {straight}", first + 1));
            must(&format!("link set {straight} up"));
            must(&format!("-n {namespace} address add 198.19.{number}.{}/30 dev {inside}", first + 2));
            must(&format!("-n {namespace} link set {inside} up"));
            network.straight_addresses.push(format!("198.19.{number}.{}", first + 2));
        }
        Some(network)
    }

    pub fn namespaces(&self) -> Vec<&str> {
        self.namespaces.iter().map(String::as_str).collect()
    }

    pub fn addresses(&self) -> Vec<&str> {
        self.addresses.iter().map(String::as_str).collect()
    }

    /// The namespace of a machine, and its address at the end of the cable to the test.
    pub fn straight_to(&self, machine: usize) -> (&str, &str) {
        (&self.namespaces[machine - 1], &self.straight_addresses[machine - 1])
    }

    /// No other machine reaches this one any more, nor it any other; the test does, by the second cable.
    pub fn cut(&self, machine: usize) {
        must(&format!("link set {} down", outside(&self.bridge, machine)));
    }

    pub fn mend(&self, machine: usize) {
        must(&format!("link set {} up", outside(&self.bridge, machine)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.bridge);
    }
}

/// The machine's end of the cable at the bridge; names of interfaces are at most 15 characters long.
fn outside(bridge: &str, machine: impl std::fmt::Display) -> String {
    format!("tt{}-{machine}", bridge.trim_start_matches(BRIDGE))
}

/// The test's end of the second cable.
fn straight(bridge: &str, machine: impl std::fmt::Display) -> String {
    format!("ts{}-{machine}", bridge.trim_start_matches(BRIDGE))
}

fn ip(arguments: &str) -> Output {
    Command::new("ip").args(arguments.split(' ')).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn must(arguments: &str) {
    let output = ip(arguments);
    assert!(output.status.success(), "ip {arguments}: {}", said(&output));
}

fn remove(bridge: &str) {
    remove_cables(bridge); // first: with its namespace alone, a cable would go away some time later
    let namespaces = String::from_utf8(ip("netns list").stdout).unwrap();
    for namespace in namespaces.lines().filter_map(|line| line.split(' ').next()) {
        if namespace.starts_with(&format!("{bridge}-")) {
            let _ = ip(&format!("netns delete {namespace}"));
        }
    }
    let _ = ip(&format!("link delete {bridge}"));
}

fn remove_cables(bridge: &str) {
    for (cable, _) in interfaces() {
        if cable.starts_with(&outside(bridge, "")) || cable.starts_with(&straight(bridge, "")) {
            let _ = ip(&format!("link delete {cable}"));
        }
    }
}

/// Removes what tests that were killed have left.
fn remove_abandoned() {
    for (name, alias) in interfaces() {
        let owner = alias.strip_prefix("process-");
        if name.starts_with(BRIDGE) && owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            remove(&name);
        }
    }
}

/// The machine's interfaces with what was noted on them.
fn interfaces() -> Vec<(String, String)> {
    let links = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let noted = |folder: &Path| std::fs::read_to_string(folder.join("ifalias")).unwrap_or_default().trim().to_owned();
    links.map(|link| (link.file_name().to_string_lossy().into_owned(), noted(&link.path()))).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_machine_that_is_cut_off_is_out_of_reach_until_mended() {
        let Some(network) = Network::lay(2) else { return };
        // Nobody listens: a machine that is there refuses at once, one that is not stays silent.
        let knock = |machine: usize| {
            let address: SocketAddr = format!("{}:9", network.addresses[machine - 1]).parse().unwrap();
            TcpStream::connect_timeout(&address, Duration::from_millis(500)).unwrap_err().kind()
        };
        assert_eq!(knock(1), std::io::ErrorKind::ConnectionRefused);
        network.cut(1);
        assert_ne!(knock(1), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(knock(2), std::io::ErrorKind::ConnectionRefused, "the other is still there");
        network.mend(1);
        let began = std::time::Instant::now();
        while knock(1) != std::io::ErrorKind::ConnectionRefused {
            assert!(began.elapsed() < crate::support::patience::PATIENCE, "out of reach for ever");
        }
    }
}
