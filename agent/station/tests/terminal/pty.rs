//! A program in a terminal of its own: keys go in, and what a person would see is read back.

use nix::sys::{
    signal::{Signal, kill},
    termios::{LocalFlags, tcgetattr},
};
use pty_process::{
    Size,
    blocking::{Command, Pts, Pty, open},
};
use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};
use unbox_agent::clock::Stopwatch;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A terminal with a program in it; the program ends with it.
pub(crate) struct Terminal {
    pty: Arc<Pty>,
    /// Held, so that the terminal outlives the program and can be looked at.
    _pts: Pts,
    child: Child,
    written: Receiver<Vec<u8>>,
    shown: vt100::Parser,
    raw: Vec<u8>,
}

impl Terminal {
    /// Starts a program in a terminal of some columns and rows.
    pub(crate) fn start(
        program: impl AsRef<OsStr>,
        arguments: &[&str],
        size: (u16, u16),
        no_color: bool,
    ) -> Self {
        let (pty, pts) = open().unwrap();
        let (columns, rows) = size;
        pty.resize(Size::new(rows, columns)).unwrap();
        // A backtrace would push what is asked for off a screen of 24 rows.
        let command =
            Command::new(program).args(arguments).env("TERM", "xterm-256color").env("RUST_BACKTRACE", "0");
        let mut command =
            if no_color { command.env("NO_COLOR", "1") } else { command.env_remove("NO_COLOR") };
        let child = command.spawn_borrowed(&pts).unwrap();
        let pty = Arc::new(pty);
        let (tell, written) = channel();
        let reader = Arc::clone(&pty);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = (&*reader).read(&mut bytes) {
                if read == 0 || tell.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let shown = vt100::Parser::new(rows, columns, 0);
        Self { pty, _pts: pts, child, written, shown, raw: Vec::new() }
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: impl AsRef<[u8]>) {
        (&*self.pty).write_all(keys.as_ref()).unwrap();
    }

    /// Returns the text on the screen.
    pub(crate) fn screen(&self) -> &vt100::Screen {
        self.shown.screen()
    }

    /// Returns the cells of the screen, to draw over them.
    pub(crate) fn parser(&mut self) -> &mut vt100::Parser {
        &mut self.shown
    }

    /// Every byte that the program wrote.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    fn take(&mut self, bytes: &[u8]) {
        self.raw.extend(bytes);
        self.shown.process(bytes);
    }

    /// Its text.
    pub(crate) fn text(&self) -> String {
        self.screen().contents()
    }

    /// Waits until the screen shows every one of these texts, wherever its lines are broken.
    #[track_caller]
    pub(crate) fn shows(&mut self, texts: &[&str]) {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let all = |terminal: &Self| {
            let shown = words(&terminal.text());
            texts.iter().all(|text| shown.contains(&words(text)))
        };
        self.wait_for(&format!("{texts:?}"), all);
    }

    #[track_caller]
    fn wait_for(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let stopwatch = Stopwatch::start();
        while !holds(self) {
            assert!(stopwatch.elapsed() < LIMIT, "never came: {what}; the screen:\n{}", self.text());
            if let Ok(bytes) = self.written.recv_timeout(Duration::from_millis(50)) {
                self.take(&bytes);
            }
        }
    }

    /// Changes the size of the window.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.shown.screen_mut().set_size(rows, columns);
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        kill(id, signal).unwrap();
    }

    /// Returns true if typed text is shown, and lines are lines: as a shell expects a terminal.
    pub(crate) fn is_cooked(&self) -> bool {
        tcgetattr(&*self.pty).unwrap().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
    }

    /// Waits for the end of the program, and takes in what it wrote last.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let stopwatch = Stopwatch::start();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(stopwatch.elapsed() < LIMIT, "it does not end; the screen:\n{}", self.text());
            if let Ok(bytes) = self.written.recv_timeout(Duration::from_millis(50)) {
                self.take(&bytes);
            }
        };
        while let Ok(bytes) = self.written.recv_timeout(Duration::from_millis(200)) {
            self.take(&bytes);
        }
        status
    }

    /// Waits for the end of the program, and holds against it that the terminal is as it was before.
    #[track_caller]
    pub(crate) fn ends_restored(&mut self, code: i32) {
        let status = self.ended();
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{}", self.text());
        assert!(!self.screen().alternate_screen(), "the screen of before is back");
        assert!(!self.screen().hide_cursor(), "the cursor is back");
        assert!(self.is_cooked(), "what is typed is shown again");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
