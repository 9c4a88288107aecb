//! Wrong tokens by peer, so that nobody guesses many.
//!
//! Invariant: the memory is bounded whoever asks, and a peer is let go a minute after its first
//! wrong token.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong tokens that a peer may name in a minute.
const MOST_WRONG: u32 = 20;
/// How long wrong tokens are remembered.
const WINDOW: Duration = Duration::from_mins(1);
/// Peers remembered at once.
const MOST_PEERS: usize = 4096;

/// Counts wrong tokens.
#[derive(Default)]
pub(super) struct Throttle {
    peers: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Throttle {
    /// Whether a peer has named too many wrong tokens.
    pub(super) fn is_full(&self, peer: IpAddr) -> bool {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers
            .get(&household(peer))
            .is_some_and(|(since, wrong)| since.elapsed() < WINDOW && *wrong >= MOST_WRONG)
    }

    /// Remembers a wrong token.
    pub(super) fn wrong(&self, peer: IpAddr) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = household(peer);
        if peers.len() >= MOST_PEERS && !peers.contains_key(&peer) {
            peers.retain(|_, (since, _)| since.elapsed() < WINDOW);
            if peers.len() >= MOST_PEERS
                && let Some(oldest) = peers.iter().min_by_key(|(_, (since, _))| *since)
            {
                let oldest = *oldest.0;
                peers.remove(&oldest);
            }
        }
        let now = Instant::now();
        let (since, wrong) = peers.entry(peer).or_insert((now, 0));
        if since.elapsed() >= WINDOW {
            (*since, *wrong) = (now, 0);
        }
        *wrong = wrong.saturating_add(1);
    }
}

/// Who counts as one: a host by its IPv4 address, a network of IPv6, where each host has as many
/// addresses as it likes.
fn household(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        peer @ IpAddr::V4(_) => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn twenty_wrong_tokens_a_minute_and_no_more() {
        let throttle = Throttle::default();
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..MOST_WRONG {
            assert!(!throttle.is_full(peer));
            throttle.wrong(peer);
        }
        assert!(throttle.is_full(peer));
        assert!(throttle.is_full("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!throttle.is_full("192.0.2.2".parse().unwrap()));
        tokio::time::advance(WINDOW).await;
        assert!(!throttle.is_full(peer));
        throttle.wrong(peer);
        assert!(!throttle.is_full(peer));
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer_and_many_networks_are_bounded() {
        let throttle = Throttle::default();
        for i in 0..u128::from(MOST_WRONG) {
            throttle.wrong(Ipv6Addr::from((1 << 64) + i).into());
        }
        assert!(throttle.is_full(Ipv6Addr::from((1 << 64) + 99).into()));
        for i in 0..2 * MOST_PEERS as u128 {
            throttle.wrong(Ipv6Addr::from((i + 2) << 64).into());
        }
        assert!(throttle.peers.lock().unwrap().len() <= MOST_PEERS);
    }
}
