//! A limit on the unclaimed identifiers that one address may ask about: against enumeration.
//!
//! Only guesses that missed cost something, and repeating one costs nothing for a day: a thousand
//! claimed devices behind one address are not counted, and devices that wait for their claim are counted
//! once each. An address that guesses too often has to wait, and no other address does.

use crate::{config::HourlyRate, domain::devices::network::Network, service::Guess};
use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The cells of budgets and of remembered guesses, which bound the memory whatever an attacker sends: 1 MiB
/// each, and only as far as it is touched. Which keys share a cell is secret.
const CELLS: usize = 1 << 17;
/// The cells that a guess may be remembered in: with a single one, two devices of a school could make the
/// server forget each other.
const WAYS: usize = 4;
/// The half of a cell that holds the time in seconds.
const SECONDS: u64 = 0xffff_ffff;
/// The time for which a guess is remembered.
const REMEMBERED_S: u64 = 24 * 3600;
/// The wider networks that share a budget: their prefix in bits, and the multiple of one subscriber's
/// budget. Providers hand out networks of these sizes, and the owner of one must not get it 65,536 times.
const WIDER: [(u32, u64); 2] = [(56, 4), (48, 16)];

/// The counted guesses of all addresses, and the budgets that they use up.
pub(super) struct GuessLimiter {
    rate: HourlyRate,
    hasher: RandomState,
    book: Mutex<Book>,
}

struct Book {
    /// The time at which each budget is whole again, in ms (GCRA).
    whole_at_ms: Vec<u64>,
    /// The upper half of each guess's hash, and the second of its last count.
    remembered: Vec<u64>,
}

impl GuessLimiter {
    pub(super) fn new(rate: HourlyRate) -> Self {
        let book = Mutex::new(Book { whole_at_ms: vec![0; CELLS], remembered: vec![0; CELLS] });
        Self { rate, hasher: RandomState::new(), book }
    }

    /// Returns the time until the client may get an answer that depends on these guesses, which hit; `None`
    /// if that is now. They are remembered then, so that a device is not held up between its messages.
    pub(super) fn wait(&self, from: Network, guesses: &[Guess], now: Duration) -> Option<Duration> {
        if self.rate.burst == 0 {
            return None;
        }
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = guesses.iter().filter_map(|guess| self.wait_for(&book, from, guess, now)).max();
        if longest.is_none() {
            for guess in guesses {
                self.remember(&mut book, from, guess, now);
            }
        }
        longest
    }

    /// Counts guesses that missed, and returns the time until the client may get an answer. If one guess of
    /// a hello has to wait, the others still count: the answer could reveal that they missed.
    pub(super) fn count(&self, from: Network, guesses: &[Guess], now: Duration) -> Option<Duration> {
        if self.rate.burst == 0 {
            return None;
        }
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut longest = None;
        for guess in guesses {
            match self.wait_for(&book, from, guess, now) {
                None => self.note(&mut book, from, guess, now),
                wait => longest = longest.max(wait),
            }
        }
        longest
    }

    fn wait_for(&self, book: &Book, from: Network, guess: &Guess, now: Duration) -> Option<Duration> {
        let (set, mark) = self.mark(from, guess);
        if is_remembered(book, set, mark, now) {
            return None;
        }
        let now_ms = millis(now);
        let waits = self.budgets(from, guess).filter_map(|(cell, burst, pause_ms)| {
            let whole_at = book.whole_at_ms.get(cell).copied().unwrap_or_default();
            // The burst is used up if one more guess would not be whole again within a full burst's time.
            let wait_ms = (whole_at + pause_ms).saturating_sub(now_ms + burst * pause_ms);
            (wait_ms > 0).then(|| Duration::from_millis(wait_ms))
        });
        waits.max()
    }

    fn note(&self, book: &mut Book, from: Network, guess: &Guess, now: Duration) {
        let (set, mark) = self.mark(from, guess);
        let is_new = !is_remembered(book, set, mark, now);
        self.remember(book, from, guess, now);
        if !is_new {
            return;
        }
        for (cell, _, pause_ms) in self.budgets(from, guess) {
            if let Some(whole_at) = book.whole_at_ms.get_mut(cell) {
                *whole_at = (*whole_at).max(millis(now)) + pause_ms;
            }
        }
    }

    fn remember(&self, book: &mut Book, from: Network, guess: &Guess, now: Duration) {
        let (set, mark) = self.mark(from, guess);
        let ways = book.remembered.get_mut(set..set + WAYS).unwrap_or_default();
        // Its own place if it has one, else an empty one, else the oldest one.
        let place = ways.iter_mut().min_by_key(|was| (**was >> 32 != mark, **was != 0, **was & SECONDS));
        if let Some(place) = place {
            *place = (mark << 32) | (now.as_secs() & SECONDS);
        }
    }

    /// Returns the budgets of a guess: cell, burst, and the pause that each guess costs, in ms.
    fn budgets(&self, from: Network, guess: &Guess) -> impl Iterator<Item = (usize, u64, u64)> {
        let wider = WIDER
            .into_iter()
            .filter_map(move |(bits, times)| Some((from.enclosing_network(bits)?, bits, times)));
        let all = std::iter::once((from.address(), 64, 1)).chain(wider);
        all.map(move |(network, bits, times)| {
            let pause_ms = 3_600_000 / (u64::from(self.rate.per_hour) * times);
            let cell = self.cell((network, bits, guess.series.as_str())).0;
            (cell, u64::from(self.rate.burst) * times, pause_ms.max(1))
        })
    }

    /// Returns the first of the cells in which a guess may be remembered, and the mark that is stored there.
    fn mark(&self, from: Network, guess: &Guess) -> (usize, u64) {
        let (cell, hash) = self.cell((from, guess));
        (cell / WAYS * WAYS, (hash >> 32).max(1))
    }

    fn cell(&self, key: impl Hash) -> (usize, u64) {
        let hash = self.hasher.hash_one(key);
        // The lower bits choose the cell; the upper half tells keys of one cell apart.
        (usize::try_from(hash % CELLS as u64).unwrap_or_default(), hash)
    }
}

/// Returns true if one of the cells holds this mark, which is never 0, and not for too long.
fn is_remembered(book: &Book, set: usize, mark: u64, now: Duration) -> bool {
    let ways = book.remembered.get(set..set + WAYS).unwrap_or_default();
    ways.iter().any(|was| was >> 32 == mark && now.as_secs() < (was & SECONDS) + REMEMBERED_S)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Fragment, Settings},
        domain::claims::claim::{ClaimKey, Sought},
        keys::Layout,
    };
    use std::collections::BTreeSet;
    use unbox_common::{
        identity::{HardwareIdentity, Identifier, IdentifierKind, Observed, Source},
        matching::IdentifierSet,
    };

    /// The limits of a server whose settings do not set them.
    const DEFAULT: HourlyRate = HourlyRate { burst: 500, per_hour: 60 };

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    fn serial(number: u64) -> Guess {
        Guess { series: "serial_number lenovo".to_owned(), value: format!("serial_number PF{number:06}") }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_defaults_are_those_that_are_tested_here() {
        let settings = Settings::parse(
            Fragment { names: Some(vec!["localhost".to_owned()]), ..Fragment::default() },
            Layout::new("/srv/unbox"),
        )
        .unwrap();
        assert_eq!(settings.limits.series, DEFAULT);
    }

    #[test]
    fn so_many_miss_at_once_and_then_as_many_as_time_allows() {
        let limiter = GuessLimiter::new(HourlyRate { burst: 3, per_hour: 60 });
        let here = network("192.0.2.7");
        let count = |number, now| limiter.count(here, &[serial(number)], seconds(now));
        assert_eq!([0, 1, 2].map(|number| count(number, 0)), [None; 3]);
        assert_eq!(count(3, 0), Some(seconds(60)));
        assert_eq!(
            limiter.wait(here, &[serial(3)], seconds(59)),
            Some(seconds(1)),
            "an answer that would tell"
        );
        assert_eq!(limiter.wait(here, &[serial(7)], seconds(60)), None);
        assert_eq!(count(3, 60), None);
        assert_eq!(count(4, 60), Some(seconds(60)));
    }

    #[test]
    fn a_thousand_guesses_of_one_address_are_all_remembered() {
        let limiter = GuessLimiter::new(HourlyRate { burst: 1000, per_hour: 1 });
        let here = network("192.0.2.7");
        for _ in 0..2 {
            assert!((0..1000).all(|number| limiter.count(here, &[serial(number)], seconds(0)).is_none()));
        }
        assert!(limiter.count(here, &[serial(1000)], seconds(0)).is_some(), "the budget is spent");
    }

    #[test]
    fn the_same_guess_again_costs_nothing_and_is_answered() {
        let limiter = GuessLimiter::new(HourlyRate { burst: 2, per_hour: 1 });
        let here = network("192.0.2.7");
        for now in [0, 30, 3600] {
            assert_eq!([0, 1].map(|number| limiter.count(here, &[serial(number)], seconds(now))), [None; 2]);
        }
        assert!(limiter.count(here, &[serial(2)], seconds(30)).is_some());
        assert_eq!(limiter.wait(here, &[serial(0)], seconds(30)), None, "it may have been claimed since");
        assert_eq!(
            limiter.count(here, &[serial(0)], seconds(25 * 3600)),
            None,
            "a day later it counts again"
        );
        assert_eq!(limiter.count(here, &[serial(3)], seconds(25 * 3600)), None);
        assert!(limiter.count(here, &[serial(4)], seconds(25 * 3600)).is_some());
    }

    #[test]
    fn whoever_had_an_answer_may_have_it_again() {
        let limiter = GuessLimiter::new(HourlyRate { burst: 1, per_hour: 1 });
        let here = network("192.0.2.7");
        assert_eq!(limiter.wait(here, &[serial(1)], seconds(0)), None);
        assert_eq!(limiter.count(here, &[serial(2)], seconds(1)), None);
        assert_eq!(limiter.wait(here, &[serial(1)], seconds(2)), None);
        assert!(limiter.wait(here, &[serial(3)], seconds(2)).is_some());
    }

    #[test]
    fn whoever_guesses_slows_down_nobody_else() {
        let limiter = GuessLimiter::new(DEFAULT);
        let attacker = network("192.0.2.7");
        for number in 0..5000 {
            limiter.count(attacker, &[serial(number)], seconds(0));
        }
        assert!(limiter.wait(attacker, &[serial(9999)], seconds(0)).is_some());
        for other in 0..=255 {
            let other = network(&format!("198.51.100.{other}"));
            assert_eq!(limiter.count(other, &[serial(9999)], seconds(0)), None);
        }
        let other_maker = Guess { series: "serial_number dell".to_owned(), ..serial(9999) };
        assert_eq!(limiter.wait(attacker, &[other_maker], seconds(0)), None);
    }

    #[test]
    fn a_guess_beside_the_target_does_not_lead_around() {
        let limiter = GuessLimiter::new(HourlyRate { burst: 10, per_hour: 1 });
        let here = network("192.0.2.7");
        let mac_guess =
            |number: u64| Guess { series: format!("mac_address {number}"), value: number.to_string() };
        let missed =
            (0..100).filter(|n| limiter.count(here, &[mac_guess(*n), serial(*n)], seconds(0)).is_none());
        assert_eq!(missed.count(), 10);
    }

    #[test]
    fn a_wide_network_has_a_wide_budget_and_not_one_for_each_part() {
        for (part, addresses, expected) in [
            (64, (0..65_536_u32).map(|n| format!("2001:db8:1:2::{n:x}")).collect::<Vec<_>>(), 500),
            (56, (0..256).flat_map(|n| vec![format!("2001:db8:1:2{n:02x}::1"); 400]).collect(), 2000),
            (48, (0..65_536).map(|n| format!("2001:db8:1:{n:x}::1")).collect(), 8000),
        ] {
            let limiter = GuessLimiter::new(DEFAULT);
            let counted = (0..).zip(&addresses).filter(|(number, address)| {
                limiter.count(network(address), &[serial(*number)], seconds(0)).is_none()
            });
            // Two of the budgets may share a cell.
            assert!((expected * 9 / 10..=expected).contains(&counted.count()), "/{part}");
        }
    }

    #[test]
    fn memory_is_what_it_was() {
        let limiter = GuessLimiter::new(DEFAULT);
        for number in 0..2 * CELLS as u64 {
            let from = Network::of(std::net::Ipv4Addr::from(u32::try_from(number).unwrap()).into());
            limiter.count(from, &[serial(number)], seconds(number));
        }
        let book = limiter.book.lock().unwrap();
        assert_eq!((book.whole_at_ms.len(), book.remembered.len()), (CELLS, CELLS));
    }

    /// Returns a number from 0 to `below`, from a sequence that is the same in every run (splitmix64).
    fn random(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    /// Returns the identity of a hello that reveals most about one serial number, if maker and model are
    /// known.
    fn widest_identity(number: u64) -> HardwareIdentity {
        use IdentifierKind::{BoardSerial, ChassisSerial, MacAddress, Manufacturer, Model, SerialNumber};
        let serial = format!("PF{number:06}");
        let names = ["Other 1", "Other 2", "Other 3"];
        let macs: Vec<String> =
            (0..16).map(|n| format!("00:16:3e:{:02x}:00:{n:02x}", number % 251)).collect();
        let shown = [
            (SerialNumber, serial.as_str()),
            (BoardSerial, serial.as_str()),
            (ChassisSerial, serial.as_str()),
        ]
        .into_iter()
        .chain([(Manufacturer, "Lenovo"), (Model, "20QES0XX00")])
        .chain(names.map(|name| (Manufacturer, name)))
        .chain(names.map(|name| (Model, name)))
        .chain(macs.iter().map(|mac| (MacAddress, mac.as_str())));
        let observed = shown.map(|(kind, value)| Observed {
            identifier: Identifier::parse(kind, value).unwrap(),
            source: Source::Smbios,
        });
        HardwareIdentity::new(observed).unwrap()
    }

    #[test]
    fn a_hit_among_a_million_serials_costs_a_thousand_requests_and_ten_hours() {
        const SERIALS: u64 = 1_000_000;
        const CLAIMS: usize = 1000;
        const RUNS: u64 = 60;
        let (mut requests, mut hours) = (0, 0);
        for run in 0..RUNS {
            let mut state = run;
            let mut claimed = BTreeSet::new();
            while claimed.len() < CLAIMS {
                let number = random(&mut state, SERIALS);
                let members = [
                    (IdentifierKind::SerialNumber, format!("PF{number:06}")),
                    (IdentifierKind::Manufacturer, "LENOVO".to_owned()),
                    (IdentifierKind::Model, "20QES0XX00".to_owned()),
                ];
                let members = members.map(|(kind, value)| Identifier::parse(kind, &value).unwrap());
                claimed.insert(ClaimKey::of(&IdentifierSet::new(members).unwrap()).unwrap());
            }
            let (limiter, attacker) = (GuessLimiter::new(DEFAULT), network("192.0.2.7"));
            let mut now = seconds(0);
            loop {
                let number = random(&mut state, SERIALS);
                let sought = Sought::of(&widest_identity(number));
                let is_hit = sought.lookups.iter().any(|lookup| {
                    let key = |named: &String| ClaimKey { lookup: lookup.clone(), named: named.clone() };
                    sought.named.iter().any(|named| claimed.contains(&key(named)))
                });
                let guess = [serial(number)];
                let ask = |now| {
                    if is_hit {
                        limiter.wait(attacker, &guess, now)
                    } else {
                        limiter.count(attacker, &guess, now)
                    }
                };
                while let Some(wait) = ask(now) {
                    now += wait;
                }
                requests += 1;
                if is_hit {
                    break;
                }
            }
            hours += now.as_secs() / 3600;
        }
        let (requests, hours) = (requests / RUNS, hours / RUNS);
        assert!((800..1250).contains(&requests), "{requests} requests");
        assert!((5..20).contains(&hours), "{hours} hours");
    }
}
