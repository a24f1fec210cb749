//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Counts a web server's log with grains: one per client, path and status, spread over nodes.
///
/// Every line is told to its client's grain, which tells the path's and the status's: fire and
/// forget. Then all of them are asked for what they have counted.
#[derive(Debug, Parser)]
#[command(name = "access_log", after_long_help = FORMAT)]
pub(crate) struct Options {
    /// The log to read, `-` for standard input; without it, a small one that is made up
    pub file: Option<PathBuf>,

    /// How many nodes to spread the grains over, 1 to 16
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=16))]
    pub nodes: u16,

    /// How many shards each node has, 1 to 16
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=16))]
    pub shards: u16,

    /// Run each node as a process of its own
    #[arg(long)]
    pub processes: bool,

    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,

    /// Be this node of the cluster that the spec describes (what --processes starts)
    #[arg(long, hide = true, value_name = "NODE", requires = "spec")]
    pub serve: Option<u16>,

    /// The spec file of the cluster
    #[arg(long, hide = true, value_name = "PATH", requires = "serve")]
    pub spec: Option<PathBuf>,

    /// The CPUs to pin shards to
    #[arg(
        long,
        hide = true,
        value_name = "CPU",
        value_delimiter = ',',
        requires = "serve"
    )]
    pub cpus: Vec<usize>,
}

const FORMAT: &str = "\
The format:
  host ident user [time] \"request\" status bytes
  host ident user [time] \"request\" status bytes \"referer\" \"agent\"

  Fields are separated by one space each. A request has at least two words, separated by one space
  each; the second is the path, as written and with its query. The status has three digits; `-` as
  bytes counts 0. In quotes, a backslash keeps a quote from ending the text. The closing quote of
  the agent may be missing: servers cut lines that are too long for them.

  Empty lines are no lines. A line that is not in the format is counted as unparsable and nothing
  else. So are lines that are not UTF-8, that have more than 1 MiB, or that end in CR LF.

Exit codes:
  0  everything that was sent was handled
  1  the log cannot be read, or a node does not run
  2  the options are wrong, or something that was sent was not handled
";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Options::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let parse = |line: &str| Options::try_parse_from(line.split(' '));
        assert!(parse("access_log --nodes 16 --shards 16 -").is_ok());
        let wrong = [
            "--nodes 0",
            "--nodes 17",
            "--shards 0",
            "--shards 17",
            "--nodes x",
            "--nope",
        ];
        for options in wrong {
            assert!(
                parse(&format!("access_log {options}")).is_err(),
                "{options}"
            );
        }
    }
}
