//! The address filter: to which addresses webhooks may be sent (protection against server-side request forgery).
//!
//! A person who can set the webhook's URL, or its DNS records, could make the daemon send requests to addresses that only the daemon
//! reaches, such as the credentials of the machine at 169.254.169.254. The [`http_client`](super::http_client) connects only to
//! addresses that were checked here. The ranges are those of the IANA special-purpose address registries for IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const SPECIAL_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "an unspecified"),
    (v4(10, 0, 0, 0, 8), "a private"),
    (v4(100, 64, 0, 0, 10), "a carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "a loopback"),
    (v4(169, 254, 0, 0, 16), "a link-local"),
    (v4(172, 16, 0, 0, 12), "a private"),
    (v4(192, 0, 0, 0, 24), "an IETF protocol"),
    (v4(192, 0, 2, 0, 24), "a documentation"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay"),
    (v4(192, 168, 0, 0, 16), "a private"),
    (v4(198, 18, 0, 0, 15), "a benchmarking"),
    (v4(198, 51, 100, 0, 24), "a documentation"),
    (v4(203, 0, 113, 0, 24), "a documentation"),
    (v4(224, 0, 0, 0, 4), "a multicast"),
    (v4(255, 255, 255, 255, 32), "the broadcast"),
    (v4(240, 0, 0, 0, 4), "a reserved"),
    // Global by its number, but it is Azure's platform services, reachable only within Azure.
    (v4(168, 63, 129, 16, 32), "a cloud platform"),
];

const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// Special addresses within [`GLOBAL_V6`], and names for some outside of it.
const SPECIAL_V6: [(Ipv6Net, &str); 10] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "the unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "the loopback"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "a unique local"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "a link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "a site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast"),
    // Includes Teredo (2001::/32), benchmarking (2001:2::/48) and ORCHID (2001:20::/28).
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "an IETF protocol"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "a documentation"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "a documentation"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "a local NAT64"),
];
/// A NAT64 gateway forwards to the IPv4 address in the last 32 bits (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// A relay forwards to the IPv4 address in the 32 bits that follow (RFC 3056).
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
/// The last 32 bits are an IPv4 address; deprecated (RFC 4291, 2.5.5.1).
const V4_COMPATIBLE: Ipv6Net = v6([0, 0, 0, 0, 0, 0, 0, 0], 96);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    let network = Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
    Ipv6Net::new_assert(network, prefix)
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    #[error(
        "refused to connect to {0}: webhook.deny_ranges contains {1}; to send greetings there, remove that range"
    )]
    Denied(IpAddr, IpNet),
    #[error(
        "refused to connect to {0}: it is {1} address and webhook.addresses is \"public\"; to send greetings there, add \
         the address to webhook.allow_ranges"
    )]
    NotPublic(IpAddr, &'static str),
}

/// The default allows every address.
#[derive(Debug, Clone, Default)]
pub struct AddressFilter {
    /// Refuses addresses that are not on the public Internet, except those in `allow`.
    pub public_only: bool,
    /// Takes precedence over `public_only`.
    pub allow: Vec<IpNet>,
    /// Takes precedence over `public_only` and `allow`.
    pub deny: Vec<IpNet>,
}

impl AddressFilter {
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let canonical = address.to_canonical();
        let embedded = embedded_v4(canonical).map(IpAddr::V4);
        let range_of =
            |ranges: &[IpNet], address: IpAddr| ranges.iter().find(|range| range.contains(&address)).copied();

        let destinations = [Some(address), Some(canonical), embedded].into_iter().flatten();
        if let Some(range) =
            destinations.into_iter().find_map(|destination| range_of(&self.deny, destination))
        {
            return Err(AddressRefused::Denied(address, range));
        }
        // Only the range of the outer address allows an embedded one: the request also passes the gateway.
        if !self.public_only || range_of(&self.allow, address).or(range_of(&self.allow, canonical)).is_some()
        {
            return Ok(());
        }
        special_kind(canonical).map_or(Ok(()), |kind| Err(AddressRefused::NotPublic(address, kind)))
    }
}

/// Returns the IPv4 address to which a gateway forwards a request to this IPv6 address.
fn embedded_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let octets = address.octets();
    let at = if SIX_TO_FOUR.contains(&address) {
        2
    } else if NAT64.contains(&address) || V4_COMPATIBLE.contains(&address) {
        12
    } else {
        return None;
    };
    <[u8; 4]>::try_from(&octets[at..at + 4]).ok().map(Ipv4Addr::from)
}

fn special_kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            SPECIAL_V4.iter().find(|(range, _)| range.contains(&address)).map(|(_, kind)| *kind)
        }
        IpAddr::V6(v6) => {
            SPECIAL_V6.iter().find(|(range, _)| range.contains(&v6)).map(|(_, kind)| *kind).or_else(|| {
                match embedded_v4(address) {
                    Some(embedded) if !V4_COMPATIBLE.contains(&v6) => special_kind(embedded.into()),
                    _ => (!GLOBAL_V6.contains(&v6)).then_some("a non-global"),
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public() -> AddressFilter {
        AddressFilter { public_only: true, ..AddressFilter::default() }
    }

    fn read<T: std::str::FromStr>(texts: &str) -> Vec<T> {
        texts.split_whitespace().filter_map(|text| text.parse().ok()).collect()
    }

    /// The first and the last address of each IPv4 range, some of each IPv6 range, and IPv4 in IPv6: mapped, compatible, NAT64, 6to4.
    const SPECIAL: &str = "
        0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255
        169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1
        192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255
        240.0.0.1 255.255.255.255 168.63.129.16
        :: ::1 fc00::1 fd00:ec2::254 fdff:ffff::1 fe80::1 febf::1 fec0::1 ff02::1 2001::1 2001:2::1 2001:20::1 2001:1ff::1
        2001:db8::1 3fff::1 3fff:fff::1 100::1 5f00::1 4000::1 64:ff9b:1::1 1::1
        ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::127.0.0.1 ::8.8.8.8 64:ff9b::10.0.0.1
        64:ff9b::169.254.169.254 2002:7f00:1::1 2002:a9fe:a9fe::1 2002:c0a8:101:: 2002:a00:1::1";
    const PUBLIC: &str = "
        1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
        169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
        223.255.255.255 168.63.129.17 2001:200::1 2001:4860:4860::8888 2606:4700::1111 2a00:1450:4001:81b::200e 3ffe::1
        ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1";

    #[test]
    fn public_only_refuses_exactly_the_special_addresses() {
        let (special, open): (Vec<IpAddr>, Vec<IpAddr>) = (read(SPECIAL), read(PUBLIC));
        assert_eq!((special.len(), open.len()), (60, 28));
        for address in special {
            assert!(public().check(address).is_err(), "{address}");
            assert!(AddressFilter::default().check(address).is_ok(), "{address}");
        }
        for address in open {
            assert_eq!(public().check(address), Ok(()));
        }
    }

    #[test]
    fn allow_overrides_public_only_and_deny_overrides_all() {
        let filter = AddressFilter {
            public_only: true,
            allow: read("10.1.0.0/16 fd00:1::/32"),
            deny: read("10.1.2.0/24 8.8.8.8/32 2a00::/16"),
        };
        for address in read("10.1.0.1 ::ffff:10.1.0.1 fd00:1::1 8.8.4.4") {
            assert_eq!(filter.check(address), Ok(()));
        }
        for address in read(
            "10.1.2.1 10.2.0.1 fd00:2::1 8.8.8.8 2a00::1 ::ffff:8.8.8.8 ::ffff:10.1.2.1 64:ff9b::8.8.8.8
             2002:808:808::1 64:ff9b::10.1.0.1",
        ) {
            assert!(filter.check(address).is_err(), "{address}");
        }
        let any = AddressFilter { public_only: false, ..filter };
        let checked = read("10.2.0.1 ::ffff:10.1.2.1").into_iter().map(|address| any.check(address).is_ok());
        assert_eq!(checked.collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn the_error_names_the_address_and_the_configuration_key() {
        let refusal = |filter: &AddressFilter, address: &str| {
            let refused = filter.check(address.parse().expect("an address"));
            refused.expect_err("refused").to_string()
        };
        let special = refusal(&public(), "169.254.169.254");
        assert!(
            special.starts_with("refused to connect to 169.254.169.254: it is a link-local address"),
            "{special}"
        );
        assert!(special.contains("webhook.allow_ranges"), "{special}");
        let denied =
            refusal(&AddressFilter { deny: read("10.0.0.0/8"), ..AddressFilter::default() }, "10.0.0.7");
        assert!(
            denied.starts_with("refused to connect to 10.0.0.7: webhook.deny_ranges contains 10.0.0.0/8"),
            "{denied}"
        );
    }

    proptest! {
        #[test]
        fn an_ipv4_address_embedded_in_ipv6_is_refused_like_itself(bits in any::<u32>()) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for embedding in [
                plain.to_ipv6_mapped(),
                plain.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 7, 0, 0, 0, 1),
            ] {
                if public().check(plain.into()).is_err() {
                    prop_assert!(public().check(embedding.into()).is_err(), "{embedding}");
                }
                let deny = AddressFilter { deny: vec![IpNet::from(IpAddr::from(plain))], ..AddressFilter::default() };
                prop_assert!(deny.check(embedding.into()).is_err(), "{embedding}");
            }
        }

        #[test]
        fn addresses_that_the_standard_library_calls_special_are_refused(bits in any::<u32>(), wide in any::<u128>()) {
            let v4 = Ipv4Addr::from(bits);
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_unspecified() {
                prop_assert!(public().check(v4.into()).is_err(), "{v4}");
            }
            let v6 = Ipv6Addr::from(wide);
            if v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_loopback() {
                prop_assert!(public().check(v6.into()).is_err(), "{v6}");
            }
        }
    }
}
