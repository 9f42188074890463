//! The command line. Owns: what may be written, and which module does it.

use std::io;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use lps_runtime::telemetry::{self, Format};

use crate::client::Client;
use crate::{chat, demo, model, show, sim, up};

/// Where `lps up` serves by default.
const ROUTER: &str = "http://127.0.0.1:8080";

/// Serves LLM programs: agents and workflows that make many dependent calls.
#[derive(Debug, Parser)]
#[command(name = "lps", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The router to talk to [default: http://127.0.0.1:8080; demo: one of its own].
    #[arg(long, global = true, env = "LPS_URL")]
    pub url: Option<String>,
    /// Print JSON instead of tables and text.
    #[arg(long, global = true)]
    pub json: bool,
    /// Log level: error, warn, info, debug, trace, or a list of module=level. `up` and `model pull` say info, the others warn.
    #[arg(long, global = true, env = "LPS_LOG", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log format: plain or json.
    #[arg(
        long,
        global = true,
        env = "LPS_LOG_FORMAT",
        default_value = "plain",
        value_name = "FORMAT"
    )]
    pub log_format: Format,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve manifests on this machine: router and engines, until Ctrl-C
    Up(Box<up::Args>),
    /// Run a program with a join and a tool, show it as it runs, then its row
    Demo(demo::Args),
    /// Send a message, or hold a conversation
    Chat(chat::Args),
    /// List programs, or show one: its row and its calls
    Programs {
        /// Which one.
        program: Option<String>,
    },
    /// Show a call, and why it waits
    Calls {
        /// Which one.
        call: String,
    },
    /// List engines and what they hold
    Engines,
    /// Simulate the scheduler in virtual time
    Sim(sim::Args),
    /// Fetch, make and check checkpoints
    #[command(subcommand)]
    Model(model::Command),
    /// Print a completion script: lps completion bash > /etc/bash_completion.d/lps
    Completion {
        /// For which shell.
        shell: Shell,
    },
}

impl Command {
    fn log_level(&self) -> &'static str {
        if matches!(self, Self::Up(_) | Self::Model(model::Command::Pull(_))) {
            "info"
        } else {
            "warn"
        }
    }
}

/// Does it.
///
/// # Errors
/// What the command says.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let level = cli.log_level.as_deref().unwrap_or(cli.command.log_level());
    let telemetry = telemetry::init(cli.log_format, level)?;
    let client = || Client::new(cli.url.as_deref().unwrap_or(ROUTER));
    match cli.command {
        Command::Up(args) => up::run(*args, Some(telemetry)).await,
        Command::Demo(args) => demo::run(args, cli.url.as_deref(), cli.json).await,
        Command::Chat(args) => chat::run(args, &client()?, cli.json).await,
        Command::Programs { program } => {
            show::programs(&client()?, program.as_deref(), cli.json).await
        }
        Command::Calls { call } => show::call(&client()?, &call, cli.json).await,
        Command::Engines => show::engines(&client()?, cli.json).await,
        Command::Sim(args) => {
            tokio::task::spawn_blocking(move || sim::run(&args, cli.json)).await?
        }
        Command::Model(command) => model::run(command, cli.json).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "lps", &mut io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn up_takes_files_and_the_routers_flags() {
        let cli = Cli::parse_from([
            "lps",
            "up",
            "a.yaml",
            "b.yaml",
            "--port",
            "0",
            "--admin-port",
            "9",
            "--state-dir",
            "/s",
        ]);
        let Command::Up(args) = cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!(
            args.files,
            [PathBuf::from("a.yaml"), PathBuf::from("b.yaml")]
        );
        assert_eq!((args.router.port, args.router.admin_port), (0, 9));
        assert_eq!(args.state_dir, PathBuf::from("/s"));
        assert!(Cli::try_parse_from(["lps", "up"]).is_err());
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli = Cli::parse_from(["lps", "programs", "run-7", "--json", "--url", "http://h:1"]);
        assert!(cli.json);
        assert_eq!(cli.url.as_deref(), Some("http://h:1"));
        let cli = Cli::parse_from(["lps", "--json", "engines"]);
        assert!(cli.json);
    }

    #[test]
    fn every_shell_has_a_completion() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lps", &mut script);
            assert!(String::from_utf8_lossy(&script).contains("demo"), "{shell}");
        }
    }
}
