//! The commands, one file each: the arguments with their help, and `run`.

mod bench;
mod chat;
mod check;
mod completions;
mod convert;
mod data;
mod doctor;
mod download;
mod estimate;
mod generate;
mod grad;
mod info;
mod parity;
mod print;
mod run;
mod train;

use clap::Subcommand;

/// What the first argument says. The help of each is the documentation of its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    Train(Box<train::Train>),
    Data(data::Data),
    Convert(convert::Convert),
    Download(download::Download),
    Generate(Box<generate::Generate>),
    Chat(Box<chat::Chat>),
    Run(run::Run),
    Print(print::Print),
    Info(info::Info),
    Grad(grad::Grad),
    Parity(Box<parity::Parity>),
    Bench(bench::Bench),
    Check(check::Check),
    Estimate(estimate::Estimate),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

impl Command {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Train(command) => command.run(),
            Command::Data(command) => command.run(),
            Command::Convert(command) => command.run(),
            Command::Download(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Chat(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Print(command) => command.run(),
            Command::Info(command) => command.run(),
            Command::Grad(command) => command.run(),
            Command::Parity(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Estimate(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Completions(command) => command.run(),
        }
    }
}
