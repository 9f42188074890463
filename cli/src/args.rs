//! The command line. Owns: what may be written, and which module does it.

use std::process::ExitCode;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use lps_api::ids::TenantId;
use lps_runtime::telemetry::{self, Format};

use crate::client::Client;
use crate::cluster::{self, Cluster};
use crate::token::Token;
use crate::{bench, chat, console, demo, drain, key, model, show, sim, top, up, why, workload};

/// The program's name as `kubectl` looks for it.
const PLUGIN: &str = "kubectl-lps";
/// Where `lps up` serves by default.
const ROUTER: &str = "http://127.0.0.1:8080";

/// Serves LLM programs: agents and workflows that make many dependent calls.
#[derive(Debug, Parser)]
#[command(name = "lps", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The router to talk to [default: http://127.0.0.1:8080; demo: one of its own; kubectl lps: the cluster's].
    #[arg(long, global = true, env = "LPS_URL")]
    pub url: Option<String>,
    /// Authorities of the router's certificate, as PEM, where its address is https [default: this machine's, SSL_CERT_FILE].
    #[arg(long, global = true, env = "LPS_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The API key that the router asks for; better in the environment, since a command line is seen by others.
    #[arg(
        long,
        global = true,
        env = "LPS_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub key: Option<Token>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: cluster::Options,
    /// Whether `kubectl` started it.
    #[arg(skip)]
    pub is_plugin: bool,
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
        /// Whose.
        #[command(flatten)]
        whose: Whose,
    },
    /// Show a call, and why it waits
    Calls {
        /// Which one.
        call: String,
        /// Whose.
        #[command(flatten)]
        whose: Whose,
    },
    /// List engines and what they hold
    Engines,
    /// Watch programs, queues and engines of a running router
    Top {
        /// How.
        #[command(flatten)]
        args: top::Args,
        /// Whose programs.
        #[command(flatten)]
        whose: Whose,
    },
    /// Explain why a resource of a cluster is not ready; exit code 0: it is, 1: it is not, 2: nobody knows
    Why {
        /// Which one.
        name: String,
    },
    /// End an engine when its calls are done; another one comes in its place
    Drain {
        /// Which one: its id, or in a cluster its pod.
        engine: String,
    },
    /// Simulate the scheduler in virtual time
    Sim(sim::Args),
    /// Put load on a running server and measure it
    #[command(subcommand)]
    Bench(bench::Command),
    /// Make a workload, or say what is in one, beside published figures
    Workload(workload::command::Args),
    /// Fetch, make and check checkpoints
    #[command(subcommand)]
    Model(model::Command),
    /// Make an API key
    #[command(subcommand)]
    Key(key::Command),
    /// Print a completion script: lps completion bash > /etc/bash_completion.d/lps
    Completion {
        /// For which shell.
        shell: Shell,
    },
}

/// Whose programs are meant.
#[derive(Debug, Clone, clap::Args)]
pub struct Whose {
    /// In the name of this tenant [default: the key's; a list is of all tenants that one may see]
    #[arg(long, env = "LPS_TENANT", value_name = "TENANT")]
    tenant: Option<TenantId>,
}

impl Command {
    fn log_level(&self) -> &'static str {
        if matches!(self, Self::Up(_) | Self::Model(model::Command::Pull(_))) {
            "info"
        } else {
            // What the API server refuses is told once, as this tool's error.
            "warn,kube_client=off"
        }
    }
}

impl Cli {
    /// Reads a command line. Where the program is called `kubectl-lps`, `kubectl` has found it as a plugin: it works in
    /// the cluster, and its usage says `kubectl lps`.
    pub fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        let is_plugin = words.first().is_some_and(|program| {
            let file = Path::new(program).file_name();
            file.is_some_and(|file| file.to_string_lossy().starts_with(PLUGIN))
        });
        let name = if is_plugin { "kubectl lps" } else { "lps" };
        let command = Self::command().bin_name(name).display_name(name);
        let matches = command.try_get_matches_from(words)?;
        Ok(Self {
            is_plugin,
            ..Self::from_arg_matches(&matches)?
        })
    }

    /// The router that is meant, where one is named or the cluster's is; who names a cluster means no address.
    async fn named_client(&self) -> anyhow::Result<Option<Client>> {
        let (asked, url) = (self.cluster.is_asked_for(), self.url.as_deref());
        let client = match url.filter(|_| !asked) {
            Some(url) => Client::new(url, self.ca.as_deref())?,
            None if asked || self.is_plugin => {
                let cluster = Cluster::connect(&self.cluster).await?;
                let router = cluster.router(self.cluster.router.as_ref()).await?;
                Client::through(router)
            }
            None => return Ok(None),
        };
        Ok(Some(client.with_key(self.key.as_ref())?))
    }

    async fn client(&self) -> anyhow::Result<Client> {
        match self.named_client().await? {
            Some(client) => Ok(client),
            None => Ok(Client::new(ROUTER, None)?.with_key(self.key.as_ref())?),
        }
    }

    async fn client_of(&self, whose: Whose) -> anyhow::Result<Client> {
        Ok(self.client().await?.of_tenant(whose.tenant))
    }

    async fn drain(&self, engine: &str) -> anyhow::Result<()> {
        let client = self.client().await?;
        let namespace = if client.is_in_cluster() {
            let cluster = Cluster::connect(&self.cluster).await?;
            Some(cluster.namespace().to_owned())
        } else {
            None
        };
        drain::run(engine, namespace.as_deref(), &client, self.json).await
    }
}

/// Does it; the exit code tells more than success of `why` alone.
///
/// # Errors
/// What the command says.
pub async fn run(mut cli: Cli) -> anyhow::Result<ExitCode> {
    let level = cli.log_level.as_deref().unwrap_or(cli.command.log_level());
    let telemetry = telemetry::init(cli.log_format, level)?;
    // Its place is taken so that the rest can be asked for the client.
    let command = std::mem::replace(&mut cli.command, Command::Engines);
    match command {
        Command::Why { name } => {
            let told = why::run(&name, &cli.cluster, cli.json).await;
            let is_ready = told.map_err(|error| error.context(why::Unanswered))?;
            return Ok(if is_ready {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Command::Up(args) => up::run(*args, Some(telemetry)).await,
        Command::Demo(args) => demo::run(args, cli.named_client().await?, cli.json).await,
        Command::Chat(args) => chat::run(args, &cli.client().await?, cli.json).await,
        Command::Programs { program, whose } => {
            let client = cli.client_of(whose).await?;
            show::programs(&client, program.as_deref(), cli.json).await
        }
        Command::Calls { call, whose } => {
            show::call(&cli.client_of(whose).await?, &call, cli.json).await
        }
        Command::Engines => show::engines(&cli.client().await?, cli.json).await,
        Command::Top { args, whose } => {
            top::run(&args, &cli.client_of(whose).await?, cli.json).await
        }
        Command::Drain { engine } => cli.drain(&engine).await,
        Command::Sim(args) => {
            tokio::task::spawn_blocking(move || sim::run(&args, cli.json)).await?
        }
        Command::Bench(command) => bench::run(command, async || cli.client().await, cli.json).await,
        Command::Workload(args) => workload::command::run(&args, cli.json),
        Command::Model(command) => model::run(command, cli.json).await,
        Command::Key(command) => key::run(&command, cli.json),
        Command::Completion { shell } => {
            // To memory first: it panics where the reader has gone.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lps", &mut script);
            Ok(console::piece(&String::from_utf8(script)?)?)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// A flag of a subcommand would hide the global one of its name, and be read as that.
    #[test]
    fn no_flag_has_a_global_ones_name() {
        fn check(command: &clap::Command, global: &[String]) {
            for argument in command.get_arguments().filter(|flag| !flag.is_global_set()) {
                let id = argument.get_id().to_string();
                let name = argument.get_long().unwrap_or_default().to_owned();
                let is_free = !global.contains(&id) && !global.contains(&name);
                assert!(is_free, "{}: --{name}", command.get_name());
            }
            for inner in command.get_subcommands() {
                check(inner, global);
            }
        }
        let root = Cli::command();
        let flags = root.get_arguments().filter(|flag| flag.is_global_set());
        let names = flags.flat_map(|flag| {
            let name = flag.get_long().unwrap_or_default().to_owned();
            [flag.get_id().to_string(), name]
        });
        check(&root, &names.collect::<Vec<_>>());
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
    fn as_a_plugin_it_is_called_kubectl_lps() {
        let read =
            |words: &[&str]| Cli::read(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for (program, is_plugin, name) in [
            ("lps", false, "Usage: lps why"),
            ("/usr/bin/lps", false, "Usage: lps why"),
            ("/usr/bin/kubectl-lps", true, "Usage: kubectl lps why"),
        ] {
            let cli =
                read(&[program, "why", "demo", "-n", "team", "--context", "c"]).expect(program);
            assert_eq!(cli.is_plugin, is_plugin, "{program}");
            assert_eq!(cli.cluster.namespace.as_deref(), Some("team"));
            let error = read(&[program, "why"])
                .expect_err("a name is missing")
                .to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn every_shell_has_a_completion() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lps", &mut script);
            let script = String::from_utf8_lossy(&script);
            for word in ["demo", "why", "drain", "top", "context"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
