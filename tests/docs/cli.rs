//! docs/cli.md: each command with its examples and its flags, made of clap's own definition.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use kubridge::cli::Cli;

const HEAD: &str = "\
# Command line

One program. Each command helps with `--help`; flags with a variable can be given by the environment. This page is made of
the program's own definition (`UPDATE_GOLDEN=1 cargo test --test docs` writes it).

Exit codes: 0 done, 1 failed, 2 what was typed cannot be used. What can go wrong, and the mend: [errors.md](errors.md).
";

/// Said of commands that need more than their help.
const NOTES: [(&str, &str); 6] = [
    ("serve", "[running.md](running.md) says how these play together."),
    (
        "describe",
        "Of a server, the page is made of what the aggregator says of itself at `/kubridge/describe/apis/GROUP/VERSION` \
         (JSON, to whoever may get that path: `kubectl get --raw` works, too), and of the conditions of the APIServices. \
         Where another server serves the API, or ours does not tell, it is made of discovery and OpenAPI: verbs and fields, \
         but not who does what.",
    ),
    (
        "register",
        "An APIService is created, or changed so that it says what is wanted; labels and annotations of others stay. One that \
         belongs to another backend is left alone without `--force`, one that the server keeps by itself (`--backend`, \
         `--manifests`) in any case. `--service` is for a cluster, where the kube-apiserver asks Kubridge.",
    ),
    (
        "manifests",
        "[cluster.md](cluster.md) says how they are used. The schema of a `--backend` is read for its groups and versions only, \
         from here, where the URL may lead nowhere: then `--descriptor-set` has it.",
    ),
    (
        "doctor",
        "A hop is ok, broken, a warning, or not tried: what cannot be looked at from here, or with these rights, is nobody's \
         fault and does not change the exit code. Rights that are needed: to get APIServices, and for the other hops to get \
         Services, EndpointSlices and the ConfigMap `kube-system/extension-apiserver-authentication`, to list the API's first \
         resource, and to create SubjectAccessReviews (which are not stored).",
    ),
    (
        "protos",
        "There is no module of these protos to depend on: generate them together with yours. buf takes the directory as one \
         more module of your workspace; [contract.md](contract.md#getting-the-protos) has the words for Go and Python.",
    ),
];

#[test]
fn the_page_has_every_command_and_every_flag() {
    let cli = Cli::command();
    let page = page(&cli);
    for command in cli.get_subcommands() {
        for flag in command.get_arguments().filter_map(Arg::get_long).filter(|flag| *flag != "help") {
            assert!(page.contains(&format!("`--{flag}")), "{}: --{flag}", command.get_name());
        }
    }
    assert!(NOTES.iter().all(|(name, _)| cli.find_subcommand(name).is_some()));
    super::same("cli.md", &page);
}

/// All of docs/cli.md.
fn page(cli: &Command) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n| command | |\n|---|---|\n");
    for command in cli.get_subcommands() {
        let name = command.get_name();
        let _ = writeln!(out, "| [`kubridge {name}`](#kubridge-{name}) | {} |", text(command.get_about()));
    }
    for command in cli.get_subcommands() {
        self::command(command, &mut out);
    }
    out
}

fn command(command: &Command, out: &mut String) {
    let name = command.get_name();
    let about = command.get_long_about().or(command.get_about());
    let _ = write!(out, "\n## kubridge {name}\n\n{}\n", text(about).trim_end());
    if let Some((_, note)) = NOTES.iter().find(|(of, _)| *of == name) {
        let _ = write!(out, "\n{note}\n");
    }
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let lines = examples.trim_start_matches("Examples:\n").lines();
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        let _ = write!(out, "\n```sh\n{}\n```\n", lines.join("\n"));
    }
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help").collect();
    if arguments.is_empty() {
        return;
    }
    out.push_str("\n| flag | variable | default | |\n|---|---|---|---|\n");
    for arg in arguments {
        let variable = arg.get_env().map_or_else(String::new, |name| format!("`{}`", name.to_string_lossy()));
        let default = arg.get_default_values().first().filter(|_| takes_value(arg));
        let default = default.map_or_else(String::new, |value| format!("`{}`", value.to_string_lossy()));
        let mut help = text(arg.get_help()).replace('|', "\\|").replace('\n', " ");
        let values: Vec<String> =
            arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if !values.is_empty() && takes_value(arg) {
            let _ = write!(help, ": {}", values.join(", "));
        }
        let _ = writeln!(out, "| {} | {variable} | {default} | {help} |", flag(arg));
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// `--backend URL`, or `GROUP[/VERSION]` of what has no dashes.
fn flag(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.to_string());
    let value = value.filter(|_| takes_value(arg)).unwrap_or_default();
    let typed = match (arg.get_long(), arg.get_short()) {
        (Some(long), Some(short)) => format!("--{long} {value}`, `-{short} {value}"),
        (Some(long), None) => format!("--{long} {value}"),
        (None, Some(short)) => format!("-{short} {value}"),
        (None, None) => value,
    };
    format!("`{}`", typed.trim_end().replace('|', "\\|"))
}

/// Help as clap has it, in one paragraph a line.
fn text(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}
