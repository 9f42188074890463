//! The live view. Owns: the terminal while it is shown, keys, and when the router is read. What is drawn and what a key
//! means is decided elsewhere.

use std::io;
use std::time::Duration;

use lps_runtime::shutdown::Shutdown;
use ratatui::DefaultTerminal;
use ratatui::backend::Backend as _;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::style::Colored;
use ratatui::layout::{Position, Rect};
use ratatui::widgets::Widget as _;
use tokio::sync::mpsc;

use super::frame::Frame;
use super::snapshot::{Ask, Known, Snapshot};
use super::view::{Next, View};
use crate::client::{Client, Error};

/// Keys that may wait to be looked at.
const KEYS_MAX: usize = 64;

/// Shows the router until a key or a signal ends it. A router that does not answer is told, and read again.
///
/// # Errors
/// When the terminal cannot be used.
pub(super) async fn run(client: &Client, mut view: View, interval: Duration) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let mut screen = Screen::take()?;
    let mut keys = keys();
    let mut known = Known {
        url: client.url().to_owned(),
        ..Known::default()
    };
    let mut reading = Box::pin(read(Duration::ZERO, client, view.ask.clone()));
    loop {
        screen.draw(&view, &known)?;
        tokio::select! {
            Some(event) = keys.recv() => {
                let Event::Key(key) = event? else {
                    continue;
                };
                match view.on(key, &known) {
                    Next::Draw => {}
                    Next::Read => reading.set(read(Duration::ZERO, client, view.ask.clone())),
                    Next::Quit => return Ok(()),
                }
            }
            said = &mut reading => {
                known.told(said);
                reading.set(read(interval, client, view.ask.clone()));
            }
            () = shutdown.drain() => return Ok(()),
        }
    }
}

async fn read(after: Duration, client: &Client, ask: Ask) -> Result<Snapshot, Error> {
    tokio::time::sleep(after).await;
    Snapshot::read(client, &ask).await
}

/// The terminal while it is ours; however this ends, it is given back. A panic gives it back before it is told.
struct Screen {
    terminal: DefaultTerminal,
    /// What stands on it.
    shown: Buffer,
    has_colour: bool,
}

impl Screen {
    fn take() -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let mut screen = Self {
            terminal,
            shown: Buffer::default(),
            has_colour: !Colored::ansi_color_disabled(),
        };
        screen.terminal.hide_cursor()?;
        Ok(screen)
    }

    /// Writes what has changed. `Terminal::draw` would ask a terminal of a new size where its cursor is, and the answer
    /// would go to the thread that reads keys.
    fn draw(&mut self, view: &View, known: &Known) -> io::Result<()> {
        let frame = Frame {
            view,
            known,
            has_colour: self.has_colour,
        };
        let backend = self.terminal.backend_mut();
        let area = Rect::from((Position::ORIGIN, backend.size()?));
        if self.shown.area != area {
            backend.clear()?;
            self.shown = Buffer::empty(area);
        }
        let mut next = Buffer::empty(area);
        frame.render(area, &mut next);
        backend.draw(self.shown.diff(&next).into_iter())?;
        backend.flush()?;
        self.shown = next;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What comes from the terminal. The read cannot be taken back, so it has a thread of its own, which nobody waits for.
fn keys() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    tokio::task::spawn_blocking(move || {
        loop {
            let event = event::read();
            let is_over = event.is_err();
            if sender.blocking_send(event).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}
