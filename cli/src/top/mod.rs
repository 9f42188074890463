//! `lps top`. Owns: in which form a router is shown as it changes: live on a terminal, as tables, or as lines of JSON.
//!
//! Inside, in the order in which data flows: `live` acts, `frame` draws with `columns`, `view` is what is looked at,
//! `snapshot` what is there.

mod columns;
mod frame;
mod live;
mod snapshot;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use lps_router::config::duration;
use serde_json::json;

use crate::client::Client;
use crate::{console, show};
use snapshot::{Ask, Snapshot, Sort};
use view::View;

/// How often a router is read at most.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What is shown, and how often.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Time between two readings
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME")]
    interval: Duration,
    /// What programs are sorted by: the largest first, or in the order of arrival
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Show programs that have ended, too
    #[arg(long)]
    ended: bool,
    /// Print once and end, as it does where its output is no terminal
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map_err(|error| error.to_string())?;
    if interval < INTERVAL_MIN {
        return Err("the shortest interval is 100ms".to_owned());
    }
    Ok(interval)
}

/// Shows the router.
///
/// # Errors
/// When there is no terminal to show it on; where it is shown once, also when the router does not answer.
pub async fn run(args: &Args, client: &Client, json: bool) -> anyhow::Result<()> {
    let ask = Ask {
        sort: args.sort,
        with_ended: args.ended,
        program: None,
    };
    if args.once || !json && !io::stdout().is_terminal() {
        let snapshot = Snapshot::read(client, &ask).await?;
        let told = if json {
            line(&snapshot)
        } else {
            tables(&snapshot)
        };
        return Ok(told?);
    }
    if !json {
        return live::run(client, View::new(ask), args.interval).await;
    }
    loop {
        match Snapshot::read(client, &ask).await {
            Ok(snapshot) => line(&snapshot)?,
            Err(error) => console::line(&json!({"error": error.to_string()}).to_string())?,
        }
        tokio::time::sleep(args.interval).await;
    }
}

fn line(snapshot: &Snapshot) -> io::Result<()> {
    console::line(&serde_json::to_string(snapshot)?)
}

fn tables(snapshot: &Snapshot) -> io::Result<()> {
    show::table(&columns::MODEL, &snapshot.models, "no models")?;
    console::line("")?;
    show::table(&columns::ENGINE, &snapshot.engines, "no engines yet")?;
    console::line("")?;
    show::table(&columns::PROGRAM, &snapshot.programs, "no programs")?;
    if snapshot.has_more {
        console::line("There are more programs than a router lists.")?;
    }
    Ok(())
}
