//! The command line program: parses what was said, does what needs no dataflow to run, and hands the rest on.
//!
//! Exit codes: 0 done, 2 wrong usage or configuration, 1 anything else.

pub mod args;
mod checkpoint;
pub mod cluster;
mod demo;
mod run;
mod simulate;

#[cfg(test)]
mod tests;

pub use args::{Command, DemoArgs, SimulateArgs};
pub use cluster::Cluster;

use crate::config::values::did_you_mean;
use crate::config::{Given, Loaded, Recorded, Schema, Settings, Source, digest, load, outputs, print, sources};
use crate::error::{Error, ErrorKind};
use crate::flow::Dataflow;
use crate::model::commit::JobRecord;
use crate::model::job::JobState;
use crate::runtime::Job;
use crate::runtime::supervise::Restarts;
use crate::{detectors, fault, runtime, simulator};
use args::{CheckArgs, ConfigArgs, NoCommand, RunArgs};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// A program: the dataflows it has, and how what it does is done.
pub struct Program<'a> {
    /// Its dataflows.
    pub dataflows: &'a [Dataflow],
    /// Runs a dataflow; gives the exit code.
    pub run: &'a dyn Fn(Run) -> Result<u8, Error>,
    /// Writes simulated readings.
    pub simulate: &'a dyn Fn(&SimulateArgs) -> Result<(), Error>,
    /// Runs the demo.
    pub demo: &'a dyn Fn(&DemoArgs) -> Result<(), Error>,
}

/// What `meterflow run` is to do, checked.
#[derive(Clone, Debug)]
pub struct Run {
    /// Index in the list of dataflows.
    pub dataflow: usize,
    /// Everything that is set.
    pub settings: Settings,
    /// What that was made from, as [`Recorded`] in JSON.
    pub given: String,
    /// On what it runs.
    pub cluster: Cluster,
    /// What it keeps; `None`: nothing.
    pub state: Option<JobState>,
    /// How often it is started again; only with state.
    pub restarts: Restarts,
    /// Where the summary goes.
    pub summary: Option<PathBuf>,
    /// The whole command line after the program's name, to start the other processes with.
    pub arguments: Vec<OsString>,
}

/// The program of these dataflows: does what its command line says.
pub fn main(dataflows: &[Dataflow]) -> ExitCode {
    runtime::memory::keep();
    let cores = cores();
    let demo = |args: &DemoArgs| {
        let program = program_names(dataflows);
        demo::demo(dataflows, &schema(&program), args.threads.unwrap_or(cores), &args.out)
    };
    let run = |asked: Run| run::run(dataflows, asked);
    process(&Program { dataflows, run: &run, simulate: &simulate::simulate, demo: &demo })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does what the command line of this process says.
fn process(program: &Program) -> ExitCode {
    if let Err(message) = fault::check() {
        eprintln!("{}", Error::usage(message));
        return ExitCode::from(2);
    }
    let variables = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect::<Vec<_>>();
    let args: Vec<OsString> = std::env::args_os().collect();
    // Not locked: sinks write to standard output while a dataflow runs.
    let code = execute(program, &args, &variables, cores(), &mut io::stdout(), &mut io::stderr());
    ExitCode::from(code)
}

fn lossy(text: OsString) -> String {
    text.to_string_lossy().into_owned()
}

/// Does what `args` (the name of the program first) say, and returns the exit code.
pub fn execute(
    program: &Program,
    args: &[OsString],
    variables: &[(String, String)],
    cores: usize,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let result = match args::parse(args.iter().cloned(), simulator::KEYS) {
        Ok(Command::Run(run)) => run_dataflow(program, run, args, variables, cores, err),
        Ok(Command::List) => write(out, &list(program)).map(|()| 0),
        Ok(Command::Check(check)) => check_config(program, &check, variables, out),
        Ok(Command::Config) => write(out, &print::print(&schema(&program_names(program.dataflows)))).map(|()| 0),
        Ok(Command::Checkpoint(command)) => checkpoint::checkpoint(program, &command, out),
        Ok(Command::Simulate(args)) => (program.simulate)(&args).map(|()| 0),
        Ok(Command::Demo(args)) => (program.demo)(&args).map(|()| 0),
        Err(NoCommand::Wrong(error)) => Err(error),
        Err(NoCommand::Said(said)) => {
            let text = said.render().to_string();
            match said.use_stderr() {
                true => write(err, &text).map(|()| 2),
                false => write(out, &text).map(|()| 0),
            }
        }
    };
    result.unwrap_or_else(|error| {
        // If this cannot be written there is nothing left to say; the exit code stands.
        let _ = writeln!(err, "{error}");
        error.exit_code()
    })
}

/// Writes text; a reader that has seen enough (`meterflow config | head`) is no error.
fn write(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::output("standard output", error)),
        _ => Ok(()),
    }
}

fn list(program: &Program) -> String {
    let width = program.dataflows.iter().map(|dataflow| dataflow.name.len()).max().unwrap_or(0);
    program.dataflows.iter().map(|dataflow| format!("{:width$}  {}\n", dataflow.name, dataflow.about)).collect()
}

fn find(program: &Program, name: &str) -> Result<usize, Error> {
    program.dataflows.iter().position(|dataflow| dataflow.name == name).ok_or_else(|| {
        let names = || program.dataflows.iter().map(|dataflow| dataflow.name);
        let near = match did_you_mean(name, names()) {
            near if near.is_empty() => format!("; there are: {}", names().collect::<Vec<_>>().join(", ")),
            near => near,
        };
        Error::usage(format!("no dataflow {name:?}{near}"))
    })
}

fn run_dataflow(
    program: &Program,
    run: RunArgs,
    args: &[OsString],
    variables: &[(String, String)],
    cores: usize,
    err: &mut dyn Write,
) -> Result<u8, Error> {
    let dataflow = find(program, &run.dataflow)?;
    let cluster = cluster::cluster(&run.cluster, cores)?;
    let text = config_text(&run.config)?;
    let given = given(&text, &run.config, variables);
    let (settings, warnings) = load_given(program.dataflows, Some(dataflow), &given).into_result()?;
    let given = serde_json::to_string(&Recorded::new(&given)).map_err(Error::internal)?;
    let asked = run.state;
    if let Some(message) = asked.state.as_ref().and_then(|_| read_once(&settings)) {
        return Err(Error::usage(message));
    }
    for warning in warnings {
        write(err, &format!("warning: {warning}\n"))?;
    }
    let mut arguments = args.get(1..).unwrap_or_default().to_vec();
    if run.cluster.threads.is_none() {
        // A process that is started with these does not know that it shares the cores.
        arguments.extend(["-w".into(), cluster.threads.to_string().into()]);
    }
    let restarts = Restarts { most: asked.restarts, period: asked.restart_period };
    let state = asked.state.map(|folder| JobState { folder, delivery: asked.delivery, dropped: asked.dropped });
    (program.run)(Run { dataflow, settings, given, cluster, state, restarts, summary: run.summary, arguments })
}

/// Why a run with these settings cannot keep state: something is read that cannot be read again.
fn read_once(settings: &Settings) -> Option<String> {
    let is_pipe = |source: &Source| source.kind == "file" && source.values.text("path") == Some("-");
    let (name, _) = settings.sources.iter().find(|(_, source)| is_pipe(source))?;
    Some(format!(
        "--state: sources.{name} reads standard input, which cannot be read again after a crash; \
         write it to a file, or run without --state"
    ))
}

fn check_config(
    program: &Program,
    check: &CheckArgs,
    variables: &[(String, String)],
    out: &mut dyn Write,
) -> Result<u8, Error> {
    let dataflow = check.dataflow.as_deref().map(|name| find(program, name)).transpose()?;
    let stored = check.state.as_ref().filter(|_| dataflow.is_none()).map(|folder| runtime::dataflow_of(folder));
    let dataflow = match stored.transpose()?.flatten() {
        Some(name) => Some(find(program, &name)?),
        None => dataflow,
    };
    let text = config_text(&check.config)?;
    let given = given(&text, &check.config, variables);
    let Loaded { settings, problems, warnings } = load_given(program.dataflows, dataflow, &given);
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    text.extend(warnings.iter().map(|warning| format!("warning: {warning}\n")));
    let outlook = settings.as_ref().map(|settings| outlook(program, check, dataflow, settings, &given));
    match (&settings, outlook) {
        (Some(settings), Some(Ok(outlook))) => {
            text += &format!("ok{}\n{}", outlook.text, digest::digest(settings));
            outlook.changes.iter().for_each(|change| text += &format!("changed: {change}\n"));
            text += &outlook.then;
            write(out, &text)?;
            return Ok(0);
        }
        (_, Some(Err(error))) => text += &format!("{error}\n1 problem\n"),
        _ if problems.len() == 1 => text += "1 problem\n",
        _ => text += &format!("{} problems\n", problems.len()),
    }
    write(out, &text)?;
    Ok(2)
}

/// What is said of a run that could go on.
#[derive(Default)]
struct Outlook {
    text: String,
    changes: Vec<String>,
    then: String,
}

/// Whether a run with these settings could begin or go on with the state folder that was named, if one was.
fn outlook(
    program: &Program,
    check: &CheckArgs,
    dataflow: Option<usize>,
    settings: &Settings,
    given: &Given,
) -> Result<Outlook, Error> {
    let Some(folder) = &check.state else { return Ok(Outlook::default()) };
    if let Some(message) = read_once(settings) {
        return Err(Error::usage(message));
    }
    // Nothing has begun in a folder without a dataflow.
    let Some(dataflow) = dataflow else { return Ok(Outlook::default()) };
    let state = JobState { folder: folder.clone(), delivery: Default::default(), dropped: check.dropped.clone() };
    let given = serde_json::to_string(&Recorded::new(given)).map_err(Error::internal)?;
    let job = Job::new(program.dataflows[dataflow], settings.clone(), runtime::Cluster::threads(1));
    let job = Job { state: Some(state), given, ..job };
    match runtime::outlook(&job, &|known| remake(program.dataflows, known))? {
        runtime::Outlook::Begins => {
            Ok(Outlook { text: ": begins with an empty state folder".to_owned(), ..Outlook::default() })
        }
        runtime::Outlook::IsComplete => {
            Ok(Outlook { text: ": this run is complete; there is nothing to do".to_owned(), ..Outlook::default() })
        }
        runtime::Outlook::GoesOn { last, snapshot, replayed, before } => {
            let text = format!(": {}", checkpoint::goes_on(last, snapshot, replayed));
            let changes = before.map_or_else(Vec::new, |before| digest::changes(&before, settings));
            let then = match last.filter(|_| !changes.is_empty()) {
                Some(last) => format!("the new settings hold after tick {last}\n"),
                None => String::new(),
            };
            Ok(Outlook { text, changes, then })
        }
    }
}

/// Name and text of the configuration file.
fn config_text(args: &ConfigArgs) -> Result<Option<(String, String)>, Error> {
    let text = args.config.as_ref().map(|path| {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok((name, text)),
            Err(error) => Err(Error::new(ErrorKind::Config, name, format!("the configuration cannot be read: {error}"))),
        }
    });
    text.transpose()
}

fn given<'a>(text: &'a Option<(String, String)>, args: &'a ConfigArgs, variables: &'a [(String, String)]) -> Given<'a> {
    let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    Given { file, variables, sets: &args.sets }
}

fn load_given(dataflows: &[Dataflow], dataflow: Option<usize>, given: &Given) -> Loaded {
    let mut names = program_names(dataflows);
    if let Some(dataflow) = dataflow {
        names.needed = dataflows[dataflow].sources.to_vec();
    }
    load(&schema(&names), given)
}

/// The settings that were stored of a run of a dataflow.
fn recorded_settings(dataflows: &[Dataflow], dataflow: usize, recorded: &str) -> Result<Settings, Error> {
    let recorded: Recorded = serde_json::from_str(recorded)
        .map_err(|error| Error::refused("stored settings", format!("cannot be read: {error}")))?;
    Ok(load_given(dataflows, Some(dataflow), &recorded.given()).into_result()?.0)
}

/// The dataflow and the settings that a job was last started with.
fn remake(dataflows: &[Dataflow], known: &JobRecord) -> Result<(Dataflow, Settings), Error> {
    let dataflow = dataflows.iter().position(|dataflow| dataflow.name == known.dataflow).ok_or_else(|| {
        Error::refused(
            format!("dataflow `{}`", known.dataflow),
            "its state is stored, but this program has no such dataflow",
        )
    })?;
    Ok((dataflows[dataflow], recorded_settings(dataflows, dataflow, &known.settings)?))
}

/// Names that one configuration for all dataflows of a program can have.
struct Names {
    sources: Vec<&'static str>,
    needed: Vec<&'static str>,
    sinks: Vec<&'static str>,
}

fn program_names(dataflows: &[Dataflow]) -> Names {
    let all = |names: fn(&Dataflow) -> &'static [&'static str]| {
        let mut all: Vec<&'static str> = Vec::new();
        for name in dataflows.iter().flat_map(names) {
            if !all.contains(name) {
                all.push(name);
            }
        }
        all
    };
    let sources = all(|dataflow| dataflow.sources);
    // Whatever is run, these are read.
    let needed = sources.iter().copied().filter(|name| dataflows.iter().all(|dataflow| dataflow.sources.contains(name)));
    Names { needed: needed.collect(), sinks: all(|dataflow| dataflow.sinks), sources }
}

fn schema(names: &Names) -> Schema<'_> {
    Schema {
        source_kinds: sources::KINDS,
        sink_kinds: outputs::KINDS,
        detectors: detectors::ALL,
        sources: &names.sources,
        needed: &names.needed,
        sinks: &names.sinks,
    }
}
