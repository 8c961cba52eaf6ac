//! The commands as systemd starts them, by the unit files of the agent's package.

use super::*;
use std::{collections::BTreeMap, time::SystemTime};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/agent");

/// Returns the settings of a unit file; of a setting with several values, the last.
fn unit_file(name: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(Path::new(UNITS).join(name)).unwrap();
    let settings = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns a span of time as the unit files write it (systemd.time(7)).
fn span(text: &str) -> Duration {
    let number = |suffix| text.strip_suffix(suffix).and_then(|number| number.parse().ok());
    number("min").map(Duration::from_mins).or_else(|| number("s").map(Duration::from_secs)).unwrap()
}

/// The settings that decide when a unit starts.
struct Cadence {
    handshake_restart: Duration,
    install_restart: Duration,
    report_every: Duration,
    report_delay: Duration,
}

impl Cadence {
    fn of_the_unit_files() -> Self {
        let [handshake, install] = ["unbox-handshake.service", "unbox-install.service"].map(unit_file);
        let timer = unit_file("unbox-report.timer");
        assert_eq!(handshake["Restart"], "on-failure");
        // Exit::TryAgain.
        assert_eq!(install["RestartForceExitStatus"], "1");
        assert_eq!(timer["OnCalendar"], "minutely");
        for (unit, path, service) in [
            ("unbox-install.path", "exchange/grant.json", "unbox-install.service"),
            ("unbox-report.path", "outcome.json", "unbox-report.service"),
        ] {
            let unit = unit_file(unit);
            assert_eq!(unit["PathChanged"], format!("/var/lib/unbox/{path}"));
            assert_eq!(unit["Unit"], service);
        }
        assert!(!unit_file("unbox-report.service").contains_key("Restart"));
        Self {
            handshake_restart: span(&handshake["RestartSec"]),
            install_restart: span(&install["RestartSec"]),
            report_every: Duration::from_mins(1),
            report_delay: span(&timer["RandomizedDelaySec"]),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Install,
    Report,
    Handshake,
}

/// A device whose units systemd starts.
struct Units<'a> {
    world: &'a World,
    cadence: Cadence,
    clock: Arc<Jumping>,
    due: BTreeMap<Unit, Duration>,
    next_timer: Duration,
    timers: u32,
}

impl Units<'_> {
    fn changed(path: &Path) -> Option<SystemTime> {
        path.metadata().ok().and_then(|metadata| metadata.modified().ok())
    }

    /// Runs a unit to its end, and has systemd do what follows from it.
    async fn start(&mut self, unit: Unit) {
        let layout = &self.world.layout;
        let watched = || [layout.grant(), layout.outcome()].map(|path| Self::changed(&path));
        let before = watched();
        let session = &mut self.world.session_by(None, Arc::clone(&self.clock) as Arc<dyn Waits>);
        let ended = tokio::select! {
            ended = async {
                match unit {
                    Unit::Install => stages::install(session).await,
                    Unit::Report => stages::report(session, When::Due).await,
                    Unit::Handshake => stages::handshake(session).await,
                }
            } => ended,
            () = self.clock.over() => return,
        };
        let now = self.clock.monotonic();
        let exit = ended.unwrap_or_else(|exit| exit);
        match unit {
            Unit::Handshake if exit != Exit::Done => {
                self.due.insert(unit, now + self.cadence.handshake_restart);
            }
            Unit::Install if exit == Exit::TryAgain => {
                self.due.insert(unit, now + self.cadence.install_restart);
            }
            _ => {}
        }
        let after = watched();
        for (at, unit) in [Unit::Install, Unit::Report].into_iter().enumerate() {
            if before[at] != after[at] {
                self.due.insert(unit, now);
            }
        }
    }

    /// Lets time pass until the clock's limit.
    async fn run(&mut self, mut draw: impl FnMut(u64) -> u64) {
        self.due.insert(Unit::Handshake, Duration::ZERO);
        while self.clock.monotonic() < self.clock.limit {
            let first = self.due.iter().map(|(unit, at)| (*at, *unit)).min();
            let (at, unit) = match first {
                Some((at, unit)) if at <= self.next_timer => {
                    self.due.remove(&unit);
                    (at, unit)
                }
                _ => {
                    let at = self.next_timer;
                    self.timers += 1;
                    let delay = draw(1 + self.cadence.report_delay.as_secs());
                    self.next_timer = self.cadence.report_every * self.timers + Duration::from_secs(delay);
                    (at, Unit::Report)
                }
            };
            self.clock.advance_to(at);
            self.next_timer = self.next_timer.max(at);
            let is_marked = self.world.layout.enrolled_marker().exists();
            let is_skipped = match unit {
                Unit::Handshake => is_marked,
                Unit::Report => !is_marked && !self.world.layout.enrollment().exists(),
                Unit::Install => !self.world.layout.grant().exists(),
            };
            if !is_skipped {
                self.start(unit).await;
            }
        }
    }
}

#[tokio::test]
async fn no_order_of_outcomes_has_the_units_send_more_than_six_messages_a_minute() {
    for seed in 0..4 {
        let world = World { is_unit: true, ..World::new() };
        assert_eq!(world.stage("identity").await, Exit::Done);
        let clock = Arc::new(Jumping::until(Duration::from_mins(40)));
        let sent = world.log_messages(&clock);
        world.scene().shuffle = Some(pace::any_outcome(pace::random(seed)));
        let mut units = Units {
            world: &world,
            cadence: Cadence::of_the_unit_files(),
            clock,
            due: BTreeMap::new(),
            next_timer: Duration::ZERO,
            timers: 0,
        };
        units.run(pace::random(seed + 1000)).await;
        let sent = std::mem::take(&mut *sent.lock().unwrap());
        let most = pace::most_in_a_minute(&sent);
        assert!(sent.len() > 10 && most <= 6, "seed {seed}: {most} of {}: {sent:?}", sent.len());
    }
}
