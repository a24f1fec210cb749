//! The command line: what may be given, and the texts that explain it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, value_parser};
use teff_transport::{ClusterName, ClusterNameError};

use crate::certs::{DEFAULT_BASE_PORT, MAX_DAYS, Plan};

/// The operator's tool for Teff clusters
#[derive(Debug, Parser)]
#[command(name = "teff", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Certificates by which nodes prove who they are
    Certs {
        #[command(subcommand)]
        command: CertsCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    Init(InitArgs),
}

/// Make an authority, a certificate for every node and the cluster's secret
///
/// Nodes of a cluster talk only to nodes that can show a certificate of the cluster's own
/// authority, which names the node and the cluster. This makes all that is needed, in one
/// directory:
///
///   ca.crt, ca.key          the authority; its key signs certificates and stays off the nodes
///   node.N.crt, node.N.key  what node N shows, and the key that proves it is node N
///   cluster.secret          known to all nodes, so that nobody outside can choose ids of grains
///                           that all live on one shard
///   cluster.json            with --spec: a cluster on this machine, ready to start
///
/// Run it again with a higher --nodes to add nodes: it makes only what is missing, with the same
/// authority, and never overwrites a file. Every certificate, new or old, is then loaded and
/// verified as a node would.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// How many nodes; their ids are 1 to N
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    pub(crate) nodes: u16,

    /// The directory for all files, made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The cluster's name: 1 to 63 of a-z, 0-9 and, inside, -
    ///
    /// It is part of every certificate, so that a node of one cluster cannot join another of the
    /// same authority.
    #[arg(long, value_name = "NAME", default_value = "teff", value_parser = cluster_name)]
    cluster: ClusterName,

    /// How many days new node certificates are valid
    ///
    /// The authority is valid for ten years.
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 365,
        value_parser = value_parser!(u16).range(1..=i64::from(MAX_DAYS))
    )]
    days: u16,

    /// The organization that new certificates name, for people who look at them
    #[arg(long, value_name = "TEXT", value_parser = organization)]
    organization: Option<String>,

    /// Also write cluster.json: all nodes on 127.0.0.1, one port each
    #[arg(long)]
    spec: bool,

    /// The UDP port of node 1 in cluster.json; the others follow
    #[arg(
        long,
        value_name = "PORT",
        requires = "spec",
        default_value_t = DEFAULT_BASE_PORT,
        value_parser = value_parser!(u16).range(1..)
    )]
    base_port: u16,
}

impl InitArgs {
    pub(crate) fn into_plan(self) -> Plan {
        Plan {
            nodes: self.nodes,
            dir: self.dir,
            cluster: self.cluster,
            days: self.days,
            organization: self.organization,
            base_port: self.spec.then_some(self.base_port),
        }
    }
}

fn cluster_name(text: &str) -> Result<ClusterName, ClusterNameError> {
    ClusterName::new(text)
}

fn organization(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("leave it out instead of giving an empty text".to_owned()),
        // The bound of X.520, which other tools check.
        count if count > 64 => Err(format!("{count} characters are too many, at most 64 fit")),
        _ => Ok(text.to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  Try a cluster of three on this machine:
    teff certs init --nodes 3 --dir certs --spec

  For production, with a name of its own and certificates for a quarter:
    teff certs init --nodes 5 --dir /secure/shop --cluster shop --days 90

  Two more nodes, later:
    teff certs init --nodes 7 --dir /secure/shop --cluster shop --days 90";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Plan, ErrorKind> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|error| error.kind())?;
        let Command::Certs {
            command: CertsCommand::Init(init),
        } = args.command;
        Ok(init.into_plan())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let plan = parse("teff certs init --nodes 3 --dir x").unwrap();
        assert_eq!((plan.nodes, plan.days, plan.base_port), (3, 365, None));
        assert_eq!((plan.cluster.as_str(), plan.organization), ("teff", None));
        let plan = parse("teff certs init --nodes 3 --dir x --spec").unwrap();
        assert_eq!(plan.base_port, Some(4001));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, expected) in [
            (
                "teff certs init --dir x",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "teff certs init --nodes 1",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "teff certs init --nodes 0 --dir x",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes 65536 --dir x",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes two --dir x",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes 1 --dir x --cluster Shop",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes 1 --dir x --days 0",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes 1 --dir x --days 3651",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes 1 --dir x --organization ",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes 1 --dir x --spec --base-port 0",
                ErrorKind::ValueValidation,
            ),
            (
                "teff certs init --nodes 1 --dir x --base-port 5000",
                ErrorKind::MissingRequiredArgument,
            ),
        ] {
            assert_eq!(parse(line).unwrap_err(), expected, "{line}");
        }
    }
}
