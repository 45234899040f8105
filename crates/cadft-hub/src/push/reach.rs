//! Addresses that a Hub names for bytes: which of them get any.
//!
//! A Hub that is not trusted could name a machine of the user's own network, and so have this program write there.

use crate::address::{Address, Endpoint, Origin};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// How far a network address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// This machine.
    Machine,
    /// The same link, such as the metadata service of a cloud; and addresses of no single machine.
    Link,
    /// A private network.
    Private,
    /// Everywhere.
    Public,
}

/// The address that a Hub at `home` names, if bytes may be sent there. It is `http` or `https`, encrypted if the Hub is,
/// and public, or as near as the Hub itself.
///
/// The usual address of the Hub stands for `home`, as in `fix_hf_endpoint_in_url` of `huggingface_hub`. A name that
/// cannot be resolved here passes: a proxy may resolve it.
pub(super) fn reachable(home: &Address, named: &str) -> Result<Address, &'static str> {
    let mut address = Address::parse(named)?;
    let is_usual = Endpoint::parse(Endpoint::USUAL).is_ok_and(|usual| usual.address.origin == address.origin);
    if is_usual {
        address = address.moved_to(home);
    }
    if address.origin == home.origin {
        return Ok(address);
    }
    if home.origin.is_encrypted && !address.origin.is_encrypted {
        return Err("is not encrypted, while the Hub is");
    }
    let reaches = reaches(&address.origin);
    if reaches.iter().all(|reach| *reach == Reach::Public) {
        return Ok(address);
    }
    let of_home = self::reaches(&home.origin);
    if (reaches.iter()).all(|reach| *reach == Reach::Public || of_home.contains(reach)) {
        return Ok(address);
    }
    Err("is in a network of this machine, and the Hub is not")
}

/// The reaches of a host's addresses; none if it cannot be resolved.
fn reaches(origin: &Origin) -> Vec<Reach> {
    let host = origin.host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, origin.port).to_socket_addrs();
    found.map_or_else(|_| vec![], |found| found.map(|found| reach(found.ip())).collect())
}

fn reach(address: IpAddr) -> Reach {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // RFC 6598: addresses between a provider and its customers.
            let is_shared =
                Ipv4Addr::from_bits(address.to_bits() & 0xffc0_0000) == Ipv4Addr::new(100, 64, 0, 0);
            if address.is_loopback() || address.octets()[0] == 0 {
                Reach::Machine
            } else if address.is_link_local() || address.is_multicast() || address.is_broadcast() {
                Reach::Link
            } else if address.is_private() || is_shared {
                Reach::Private
            } else {
                Reach::Public
            }
        }
        IpAddr::V6(address) => {
            if address.is_loopback() || address.is_unspecified() {
                Reach::Machine
            } else if address.is_unicast_link_local() || address.is_multicast() {
                Reach::Link
            } else if address.is_unique_local() {
                Reach::Private
            } else {
                Reach::Public
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &str) -> Address {
        Endpoint::parse(text).unwrap().address
    }

    #[test]
    fn bytes_go_to_public_addresses_or_to_where_the_hub_is() {
        let public = home("https://8.8.8.8");
        for (named, is_allowed) in [
            ("https://1.1.1.1/x?Signature=1", true),
            ("https://[2606:4700::1]/x", true),
            ("http://1.1.1.1/x", false),
            ("https://127.0.0.1/x", false),
            ("https://0.0.0.0/x", false),
            ("https://localhost/x", false),
            ("https://10.0.0.1/x", false),
            ("https://192.168.1.1/x", false),
            ("https://100.64.0.1/x", false),
            ("https://169.254.169.254/latest", false),
            ("https://[::1]/x", false),
            ("https://[fe80::1]/x", false),
            ("https://[fd00::1]/x", false),
            ("https://[::ffff:127.0.0.1]/x", false),
            ("file:///etc/passwd", false),
            ("ftp://1.1.1.1/", false),
            ("/relative", false),
            ("", false),
        ] {
            assert_eq!(reachable(&public, named).is_ok(), is_allowed, "{named}");
        }
        let here = home("http://127.0.0.1:1");
        assert!(reachable(&here, "http://127.0.0.1:2/x").is_ok());
        assert!(reachable(&here, "https://1.1.1.1/x").is_ok());
        assert!(reachable(&here, "http://169.254.169.254/x").is_err());
        assert!(reachable(&here, "http://10.0.0.1/x").is_err());
        let private = home("https://10.0.0.1");
        assert!(reachable(&private, "https://10.0.0.2/x").is_ok());
        assert!(reachable(&private, "https://127.0.0.1/x").is_err());
    }

    #[test]
    fn the_usual_address_stands_for_the_hub_that_is_used() {
        let mirror = home("http://127.0.0.1:1/mirror");
        let moved = reachable(&mirror, "https://huggingface.co/api/complete?uploadId=1").unwrap();
        assert_eq!(
            moved.for_request(),
            "http://127.0.0.1:1/mirror/api/complete?uploadId=1"
        );
    }
}
