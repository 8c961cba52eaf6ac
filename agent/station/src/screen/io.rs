//! The terminal of the screen, the thread that tests, and the signals that end it.
//!
//! One thread reads keys, one tests and uploads, and the drawing thread waits for both, for the clock and
//! for signals. Every verdict on display is already on the disk, so the process can end without waiting
//! for anything.

use super::{
    draw::{Look, draw},
    keys::Keyboard,
    state::{Event, Next, ScreenState, View},
};
use crate::{
    shift::{ShiftError, Tally},
    test_station::TestStation,
};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use std::{
    env,
    io::{self, IsTerminal as _, Read as _, Stdout},
    iter, panic,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc as std_mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use unbox_agent::{clock, text::chain};
use unbox_common::identity::HardwareIdentity;

/// Interval between updates of the clock.
const TICK: Duration = Duration::from_secs(1);
/// The most reads and results that wait to be drawn.
const MAX_EVENTS: usize = 64;
/// The most bytes in one read.
const READ_BYTES: usize = 4096;

/// True if the screen occupies the terminal now.
static UP: AtomicBool = AtomicBool::new(false);

/// The reason why the screen cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The terminal could not be set up or drawn on.
    #[error("the terminal could not be used")]
    Terminal(#[source] io::Error),
    /// Waiting for signals could not be set up.
    #[error("signals could not be waited for")]
    Signals(#[source] io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
    /// The log could not be written.
    #[error(transparent)]
    Shift(#[from] ShiftError),
    /// The testing thread is gone.
    #[error("the test of a unit ended unexpectedly")]
    Gone,
}

/// Returns true if standard input and output are a terminal that can be drawn on.
#[must_use]
pub fn is_possible() -> bool {
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Returns true if output on standard error would spoil the screen.
#[must_use]
pub fn covers_errors() -> bool {
    UP.load(Ordering::Relaxed) && io::stderr().is_terminal()
}

/// Reads the terminal's capabilities from the environment.
#[must_use]
pub fn terminal_look() -> Look {
    // https://no-color.org: any value counts, as long as it is not empty.
    Look { colour: env::var_os("NO_COLOR").is_none_or(|text| text.is_empty()) }
}

/// A terminal that shows the screen, and is restored on drop.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    look: Look,
}

impl Screen {
    /// Takes the terminal. It is restored even if a thread panics.
    ///
    /// # Errors
    /// If there is no terminal.
    pub fn open(look: Look) -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore_terminal();
            before(panic);
        }));
        enable_raw_mode()?;
        UP.store(true, Ordering::Relaxed);
        let taken = execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match taken {
            Ok(terminal) => Ok(Self { terminal, look }),
            Err(error) => {
                restore_terminal();
                Err(error)
            }
        }
    }

    /// Draws the screen, at the current size of the terminal.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn show(&mut self, state: &mut ScreenState) -> io::Result<()> {
        let mut view = View::default();
        self.terminal.draw(|frame| view = draw(state, self.look, frame.area(), frame.buffer_mut()))?;
        state.set_view(view);
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Restores the terminal, once.
fn restore_terminal() {
    if UP.swap(false, Ordering::Relaxed) {
        // If the terminal is gone, nothing can be restored.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}

/// Messages to the drawing thread.
enum Message {
    Read(Vec<u8>),
    /// The terminal is gone.
    HungUp,
    Event(Event),
    Failed(ShiftError),
}

/// Tasks for the testing thread.
enum Task {
    Test(Vec<u8>),
    Print(String, Option<Box<HardwareIdentity>>),
}

/// Runs the station on the screen until the worker or a signal ends the shift. Returns the shift's
/// counts.
///
/// # Errors
/// [`ScreenError`]; the terminal is restored first.
pub fn run(station: TestStation, mut state: ScreenState) -> Result<Tally, ScreenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ScreenError::Signals)?;
    let (sender, messages) = mpsc::channel(MAX_EVENTS);
    let (tasks, to_do) = std_mpsc::channel();
    // Before the screen takes the terminal, so that no signal leaves it in that state.
    let signals = {
        let _in_runtime = runtime.enter();
        Signals::new().map_err(ScreenError::Signals)?
    };
    let screen = Screen::open(terminal_look()).map_err(ScreenError::Terminal)?;
    let keys = sender.clone();
    let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
    spawn("keys").spawn(move || read_keys(&keys)).map_err(ScreenError::Thread)?;
    let worker =
        spawn("station").spawn(move || run_tasks(station, &to_do, &sender)).map_err(ScreenError::Thread)?;
    let threads = Threads { messages, tasks, worker };
    runtime.block_on(handle_events(screen, &mut state, signals, threads))?;
    Ok(state.tally)
}

/// The signals that are handled.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    resize: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
        })
    }
}

/// The other threads, as seen by the drawing thread.
struct Threads {
    messages: mpsc::Receiver<Message>,
    tasks: std_mpsc::Sender<Task>,
    worker: JoinHandle<()>,
}

async fn handle_events(
    mut screen: Screen,
    state: &mut ScreenState,
    mut signals: Signals,
    mut threads: Threads,
) -> Result<(), ScreenError> {
    let mut tick = tokio::time::interval(TICK);
    let mut keyboard = Keyboard::default();
    loop {
        let events = tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hang_up.recv() => return Ok(()),
            _ = signals.resize.recv() => Vec::new(),
            _ = tick.tick() => {
                if threads.worker.is_finished() && threads.messages.is_empty() {
                    return Err(ScreenError::Gone);
                }
                Vec::new()
            }
            message = threads.messages.recv() => match message {
                Some(Message::Read(bytes)) => keyboard.decode(&bytes).into_iter().map(Event::Key).collect(),
                Some(Message::Event(event)) => vec![event],
                Some(Message::HungUp) => return Ok(()),
                Some(Message::Failed(error)) => return Err(error.into()),
                None => return Err(ScreenError::Gone),
            },
        };
        for event in iter::once(Event::Tick(clock::system())).chain(events) {
            let task = match state.handle(event) {
                Next::Draw => continue,
                Next::Test(scan) => Task::Test(scan),
                Next::Print(name, identity) => Task::Print(name, identity),
                Next::End => return Ok(()),
            };
            threads.tasks.send(task).map_err(|_| ScreenError::Gone)?;
        }
        screen.show(state).map_err(ScreenError::Terminal)?;
    }
}

/// Reads keys until the terminal or the screen is gone.
fn read_keys(sender: &mpsc::Sender<Message>) {
    let mut bytes = [0; READ_BYTES];
    let mut terminal = io::stdin().lock();
    loop {
        let message = match terminal.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(read) if read > 0 => Message::Read(bytes.get(..read).unwrap_or_default().to_vec()),
            _ => Message::HungUp,
        };
        let last = matches!(message, Message::HungUp);
        if sender.blocking_send(message).is_err() || last {
            return;
        }
    }
}

/// Tests scanned units, prints labels, and meanwhile processes the queue for the server, until the screen
/// is gone.
fn run_tasks(mut station: TestStation, tasks: &std_mpsc::Receiver<Task>, sender: &mpsc::Sender<Message>) {
    loop {
        let message = match tasks.recv_timeout(station.time_until_due().unwrap_or(Duration::MAX)) {
            Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
            Err(std_mpsc::RecvTimeoutError::Timeout) => {
                station.process_queue().map(|caught| Event::QueueProcessed(caught, station.status()))
            }
            Ok(Task::Test(scan)) => {
                station.test(&scan).map(|tested| Event::Tested(Box::new(tested), station.status()))
            }
            Ok(Task::Print(name, identity)) => {
                let printed = station.print(identity.as_deref());
                Ok(Event::Printed(name, printed.err().map(|error| chain(&error))))
            }
        };
        if send_result(message, sender).is_err() {
            return;
        }
    }
}

/// The screen is gone.
struct ScreenGone;

fn send_result(event: Result<Event, ShiftError>, sender: &mpsc::Sender<Message>) -> Result<(), ScreenGone> {
    let (message, over) = match event {
        Ok(event) => (Message::Event(event), false),
        Err(error) => (Message::Failed(error), true),
    };
    let sent = sender.blocking_send(message);
    if over || sent.is_err() { Err(ScreenGone) } else { Ok(()) }
}
