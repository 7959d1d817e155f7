//! The command line: what can be said, in clap's words. Flags of the cluster are timely's own, so `-h` is the host file.

use crate::config::check::default;
use crate::config::tree::{Node, Tree};
use crate::config::values::value;
use crate::error::{Error, Place};
use crate::model::job::Delivery;
use crate::settings::{Key, Values, parse_duration};
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Most threads or processes that can be asked for.
const MOST: u64 = crate::model::meter::GROUPS as u64;

#[derive(Parser, Debug)]
#[command(name = "meterflow", version, about = "Streaming anomaly detection for smart meters", disable_help_flag = true)]
struct CommandLine {
    /// Print help
    #[arg(long, action = ArgAction::Help, global = true, display_order = 1000)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

/// What is to be done.
#[derive(Subcommand, Clone, PartialEq, Debug)]
pub enum Command {
    /// Run a dataflow
    Run(RunArgs),
    /// List the dataflows
    List,
    /// Find everything that is wrong with a configuration
    Check(CheckArgs),
    /// Print the complete default configuration, with comments
    Config,
    /// Look into a state folder
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Write readings of a simulated fleet as JSON lines
    Simulate(SimulateArgs),
    /// Run the main job on a simulated fleet, without any configuration
    Demo(DemoArgs),
}

/// Where settings come from.
#[derive(Args, Clone, PartialEq, Debug, Default)]
pub struct ConfigArgs {
    /// Configuration file (TOML) [default: none, only defaults, METERFLOW_... variables and --set]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, such as windows.slide=10s; wins over file and environment; can be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// `meterflow run`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct RunArgs {
    /// Name of the dataflow; `meterflow list` has them
    pub dataflow: String,
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// On what it runs.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What it keeps.
    #[command(flatten)]
    pub state: StateArgs,
    /// Write a summary (one JSON object) at the end [default: none]
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// What a dataflow keeps, and what happens after a failure.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct StateArgs {
    /// Folder for what the run has done, to go on there after a stop or a crash; all hosts share it [default: none]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Start again at most so many times within the restart period
    #[arg(long, value_name = "N", default_value_t = 10, requires = "state")]
    pub restarts: usize,
    /// The time, such as 10m, in which restarts are counted
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = period, requires = "state")]
    pub restart_period: i64,
    /// What readers of the outputs may rely on
    #[arg(long, value_name = "PROMISE", default_value = "exactly-once", value_parser = promise(), requires = "state")]
    pub delivery: Delivery,
    /// Give up the stored state of a step; can be given many times
    #[arg(long = "drop-state", value_name = "STEP", requires = "state")]
    pub dropped: Vec<String>,
}

fn period(text: &str) -> Result<i64, String> {
    let right = parse_duration(text).filter(|ms| *ms > 0);
    right.ok_or_else(|| "expected a duration with its unit (ms, s, m, h, d), such as 10m".to_owned())
}

fn promise() -> impl TypedValueParser<Value = Delivery> {
    PossibleValuesParser::new(["exactly-once", "at-least-once"]).map(|promise| match promise.as_str() {
        "exactly-once" => Delivery::ExactlyOnce,
        _ => Delivery::AtLeastOnce,
    })
}

/// On what a dataflow runs.
#[derive(Args, Clone, PartialEq, Debug, Default)]
pub struct ClusterArgs {
    /// Worker threads of each process [default: all cores, shared by the processes that run here]
    #[arg(short = 'w', long, value_name = "THREADS", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST))]
    pub threads: Option<usize>,
    /// Processes [default: 1]
    #[arg(short = 'n', long, value_name = "PROCESSES", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST))]
    pub processes: Option<usize>,
    /// Which of the processes this one is, from 0 [default: all are started here]
    #[arg(short = 'p', long, value_name = "INDEX")]
    pub process: Option<usize>,
    /// File with a line host:port for each process [default: localhost:2101, localhost:2102, ...]
    #[arg(short = 'h', long, value_name = "HOSTFILE")]
    pub hostfile: Option<PathBuf>,
}

/// `meterflow check`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct CheckArgs {
    /// The dataflow that is to run [default: any]
    pub dataflow: Option<String>,
    /// Where settings come from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Folder with the state of earlier runs: say whether a run could go on there [default: none]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// As if the stored state of this step were given up; can be given many times
    #[arg(long = "drop-state", value_name = "STEP", requires = "state")]
    pub dropped: Vec<String>,
}

/// `meterflow checkpoint`: exit code 0 when all is well, 1 when something is damaged.
#[derive(Subcommand, Clone, PartialEq, Debug)]
pub enum CheckpointCommand {
    /// List snapshots and log
    Ls {
        /// The state folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Show what a snapshot holds: steps, partitions, outputs, settings
    Show {
        /// The state folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The tick of the snapshot [default: the newest]
        tick: Option<u64>,
    },
    /// Read everything, restore the steps into memory, and say whether and from where a run would go on
    Verify {
        /// The state folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Workers that are to own the state
        #[arg(short = 'w', long, value_name = "THREADS", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST))]
        threads: usize,
    },
    /// Print the commit records of the tick log, oldest first
    Log {
        /// The state folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// As they are stored, one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// `meterflow simulate`; what the fleet is like stands in `values`, and its flags are made from the simulator's keys.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct SimulateArgs {
    /// Lines per second of real time [default: as fast as possible]
    #[arg(long, value_name = "LINES", value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Where the lines go: a file, a folder (ends with "/", a file for each partition), or "-" for standard output
    #[arg(long, value_name = "PATH", default_value = "-")]
    pub out: PathBuf,
    /// Write what was injected as JSON lines [default: none]
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// The fleet, by the simulator's keys.
    #[arg(skip)]
    pub values: Values,
}

/// `meterflow demo`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct DemoArgs {
    /// Worker threads [default: all cores]
    #[arg(short = 'w', long, value_name = "THREADS", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST))]
    pub threads: Option<usize>,
    /// Folder for results and archive
    #[arg(long, value_name = "FOLDER", default_value = "meterflow-demo")]
    pub out: PathBuf,
}

/// Why there is no command.
#[derive(Debug)]
pub enum NoCommand {
    /// Help or the version was asked for, or the flags are wrong: clap's own words.
    Said(clap::Error),
    /// A flag of the simulator has a wrong value.
    Wrong(Error),
}

/// Parses a command line, the name of the program first; `simulator` keys become flags of `simulate`.
pub fn parse(args: impl IntoIterator<Item = OsString>, simulator: &[Key]) -> Result<Command, NoCommand> {
    let matches = command(simulator).try_get_matches_from(args).map_err(NoCommand::Said)?;
    let parsed = CommandLine::from_arg_matches(&matches).map_err(NoCommand::Said)?;
    let mut command = parsed.command;
    if let (Command::Simulate(args), Some(matches)) = (&mut command, matches.subcommand_matches("simulate")) {
        args.values = values(matches, simulator).map_err(NoCommand::Wrong)?;
    }
    Ok(command)
}

fn command(simulator: &[Key]) -> clap::Command {
    CommandLine::command().mut_subcommand("simulate", |command| command.args(simulator.iter().map(flag)))
}

/// The flag of a key: `disorder_share` is `--disorder-share`.
fn flag(key: &Key) -> Arg {
    let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
    let default = key.default.map_or(String::new(), |default| format!(" [default: {}]", default.trim_matches('"')));
    Arg::new(key.name)
        // Names must live as long as the program; there are a few, made once.
        .long(&*key.name.replace('_', "-").leak())
        .value_name("VALUE")
        .allow_negative_numbers(true)
        .help(format!("{}{default}", doc.trim_end_matches('.')))
}

fn values(matches: &clap::ArgMatches, keys: &[Key]) -> Result<Values, Error> {
    let mut values = Values::default();
    for key in keys {
        let value = match matches.get_one::<String>(key.name) {
            None => default(key),
            Some(text) => {
                let node = Node { key: Place::Flag, place: Place::Flag, tree: Tree::Raw(text.clone()) };
                let flag = key.name.replace('_', "-");
                value(&key.kind, &node).map_err(|message| Error::usage(format!("--{flag}: {message}")))?
            }
        };
        values.keys.extend(value.map(|value| (key.name.to_string(), value)));
    }
    Ok(values)
}
