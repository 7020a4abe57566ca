//! `coursehook deliveries`

use std::path::PathBuf;

use clap::{Args, ColorChoice};

#[derive(Debug, Args)]
pub struct Deliveries {
    /// The file of log lines, or - for standard input; else $COURSEHOOK_LOG
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Go on with what is logged from now on, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Show only the last so many of those that are there
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub last: Option<usize>,
    /// Colour the lines; by itself on a terminal, unless $NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}
