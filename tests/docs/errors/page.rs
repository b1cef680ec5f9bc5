//! The page, section by section.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use kubridge::availability::{BackendReason, Reason, ReasonEntry};
use kubridge_bridge::{
    model::{CATALOGUE, Entry, Severity},
    status::FAMILIES,
};

use super::scan::{Call, Found, Variant};

const HEAD: &str = "\
# Errors

Everything that Kubridge says when it refuses something, with the mend. This page is made from the code
(`UPDATE_GOLDEN=1 cargo test --test docs` writes it); parts that are filled in stand in braces.

| you have | look at |
|---|---|
| the output of `kubridge lint`, or the condition `SchemaRejected` | [faults](#faults-of-a-schema), [those of mappings](#faults-of-a-mapping), [advice](#advice-on-a-schema) |
| a condition of an APIService | [conditions](#conditions-of-an-apiservice) |
| a Status from kubectl or a client | [Status](#status), [causes](#causes) |
| a command that ends at once | [settings](#settings), [files and backends](#files-and-backends) |
| the condition `DiscoveryRejected` or `PassedWithOldOpenAPI` | [documents](#documents-of-https-backends) |
";

/// All of docs/errors.md.
pub fn page() -> String {
    let found = Found::below(&["src", "bridge/src"]);
    let mut out = HEAD.to_owned();
    schema(&mut out);
    conditions(&mut out);
    statuses(&found, &mut out);
    causes(&found, &mut out);
    settings(&found, &mut out);
    files(&found, &mut out);
    documents(&found, &mut out);
    out
}

fn section(out: &mut String, heading: &str, text: &str) {
    let _ = write!(out, "\n## {heading}\n\n{text}\n");
}

fn table<const N: usize>(out: &mut String, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let rows: BTreeSet<[String; N]> = rows.into_iter().collect();
    assert!(!rows.is_empty(), "{head:?}: the code says nothing");
    ordered(out, head, rows);
}

/// The rows as they come.
fn ordered<const N: usize>(out: &mut String, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let _ = write!(out, "\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        let _ =
            writeln!(out, "| {} |", row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | "));
    }
}

/// Text as it is said, not Markdown.
fn said(text: &str) -> String {
    let marks = if text.contains('`') { "``" } else { "`" };
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{marks}{space}{text}{space}{marks}")
}

/// `format!`'s syntax without what only it needs.
fn form(text: &str) -> String {
    text.replace(":?}", "}")
        .replace("{{", "\u{1}")
        .replace("}}", "\u{2}")
        .replace('\u{1}', "{")
        .replace('\u{2}', "}")
}

fn schema(out: &mut String) {
    let rows = |entries: &[Entry], severity: Severity| -> Vec<[String; 4]> {
        let entries = entries.iter().filter(|entry| entry.severity == severity);
        let row = |entry: &Entry| {
            [format!("`{}`", entry.code), said(&form(entry.message)), form(entry.mend), entry.when.to_owned()]
        };
        entries.map(row).collect()
    };
    let head = ["code", "said", "what to write instead", "when"];
    let [contract, mapping] = CATALOGUE;
    section(
        out,
        "Faults of a schema",
        "A schema with a fault is not served: `kubridge lint` exits with 1 and names file, message or method, and field; \
         the code stands in brackets behind. The last good schema stays in use.",
    );
    ordered(out, head, rows(contract, Severity::Fault));
    section(
        out,
        "Faults of a mapping",
        "What a service that does not keep the contract itself can get beside those above, by Google's annotations or by a \
         Mapping ([aip.md](aip.md)): it is not served either. The place is in the service's protos, or in the Mapping.",
    );
    ordered(out, head, rows(mapping, Severity::Fault));
    section(out, "Advice on a schema", "The schema is served all the same.");
    ordered(out, head, rows(&CATALOGUE.concat(), Severity::Advice));
}

fn conditions(out: &mut String) {
    section(
        out,
        "Conditions of an APIService",
        "`kubectl describe apiservice NAME` shows them; the message says what was tried, and where.",
    );
    reasons(Reason::ALL.iter().map(|reason| reason.entry()), out);
    section(
        out,
        "Conditions of a Backend",
        "`kubectl describe backend NAME` shows them. `Available` has the reason of the first APIService that is not \
         available; `MethodsUnimplemented` is as that of an APIService.",
    );
    reasons(BackendReason::ALL.iter().map(|reason| reason.entry()), out);
}

fn reasons(entries: impl Iterator<Item = ReasonEntry>, out: &mut String) {
    let rows = entries.map(|entry| {
        [
            entry.condition.to_owned(),
            entry.status.to_owned(),
            format!("`{}`", entry.reason),
            entry.when.to_owned(),
            entry.mend.to_owned(),
        ]
    });
    ordered(out, ["condition", "status", "reason", "when", "what to do"], rows);
}

/// Texts of one argument, each as it is said.
fn each(texts: &[String]) -> String {
    texts.iter().map(|text| said(text)).collect::<Vec<_>>().join("; ")
}

fn statuses(found: &Found, out: &mut String) {
    section(
        out,
        "Status",
        "The `metav1.Status` that clients get, where Kubridge itself makes it. What a backend answers becomes one by the \
         table in [contract.md](contract.md#errors), with the backend's text where that is for the client.",
    );
    let unserved = found.calls.iter().filter(|call| call.callee == "Unserved" && call.args.len() == 3);
    let unserved: Vec<&String> = unserved.flat_map(|call| &call.args[1]).collect();
    assert!(!unserved.is_empty());
    let mut messages: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for call in &found.calls {
        let Some(constructor) = call.callee.strip_prefix("ApiError::") else { continue };
        let Some(family) = FAMILIES.iter().find(|family| family.constructor == constructor) else { continue };
        // The message comes last.
        let texts = call.args.last().into_iter().flatten().filter(|text| text.contains(' '));
        // Why it is not served stands in another place.
        let texts = texts.flat_map(|text| match text.contains("{reason}") {
            true => unserved.iter().map(|reason| text.replace("{reason}", reason)).collect(),
            false => vec![text.clone()],
        });
        messages.entry(family.constructor).or_default().extend(texts);
    }
    let mut families: Vec<_> = FAMILIES.iter().map(|family| (family, (family.sample)())).collect();
    families.sort_by_key(|(_, sample)| sample.status.code);
    let rows = families.iter().map(|(family, sample)| {
        let status = &sample.status;
        [
            status.code.to_string(),
            format!("`{}`", status.reason).replace("``", ""),
            said(&status.message),
            family.when.to_owned(),
            family.mend.to_owned(),
        ]
    });
    ordered(out, ["code", "reason", "message", "when", "what to do"], rows);
    out.push_str("\nWhat `{message}` says:\n");
    let rows = families.iter().filter(|(_, sample)| sample.status.message.contains("{message}")).flat_map(
        |(family, sample)| {
            let messages = messages.get(family.constructor).into_iter().flatten();
            messages
                .map(|text| [format!("{} {}", sample.status.code, sample.status.reason), said(text)])
                .collect::<Vec<_>>()
        },
    );
    ordered(out, ["Status", "message"], rows);
}

fn causes(found: &Found, out: &mut String) {
    section(
        out,
        "Causes",
        "In `details.causes` of a 422, and in its message. Where `{field}` is not named, it is the path of the field at \
         fault.",
    );
    let of = |texts: &[String], or: &str| match texts {
        [] => or.to_owned(),
        texts => texts.join(" / "),
    };
    let field = |texts: &[String]| format!("`{}`", of(texts, "{field}"));
    let calls = found.calls_in(&["bridge/src"]).filter(|call| !call.file.starts_with("bridge/src/status"));
    let status_causes = calls.filter_map(|call| {
        let kind = call.callee.strip_prefix("StatusCause::")?;
        Some(match (kind, call.args.as_slice()) {
            ("new", [reason, place, message]) => [of(reason, ""), field(place), said(&of(message, "{text}"))],
            ("invalid", [place, _, text]) => {
                cause("FieldValueInvalid", field(place), "Invalid value: {value}: ", &of(text, "{text}"))
            }
            ("required", [place, text]) => {
                cause("FieldValueRequired", field(place), "Required value: ", &of(text, "{text}"))
            }
            ("forbidden", [place, text]) => {
                cause("FieldValueForbidden", field(place), "Forbidden: ", &of(text, "{text}"))
            }
            ("too_long", [place, text]) => {
                cause("FieldValueTooLong", field(place), "Too long: ", &of(text, "{text}"))
            }
            ("not_supported", [place, ..]) => cause(
                "FieldValueNotSupported",
                field(place),
                "Unsupported value: {value}: supported values: ",
                "{values}",
            ),
            _ => return None,
        })
    });
    let own_kinds =
        found.calls_in(&["src/registry/validation", "src/registry/backend/validation"]).filter_map(|call| {
            Some(match (call.callee.as_str(), call.args.as_slice()) {
                ("required", [place, text]) => {
                    cause("FieldValueRequired", field(place), "Required value: ", &of(text, "{text}"))
                }
                ("invalid" | "invalid_text", [place, _, text]) if !place.is_empty() => {
                    cause("FieldValueInvalid", field(place), "Invalid value: {value}: ", &of(text, "{text}"))
                }
                ("forbidden", [place, text]) => {
                    cause("FieldValueForbidden", field(place), "Forbidden: ", &of(text, "{text}"))
                }
                ("unsupported", [place, ..]) => cause(
                    "FieldValueNotSupported",
                    field(place),
                    "Unsupported value: {value}: supported values: ",
                    "{values}",
                ),
                _ => return None,
            })
        });
    // Where neither is known, the row says nothing.
    let rows =
        status_causes.chain(own_kinds).filter(|row| !(row[1] == "`{field}`" && row[2].ends_with("{text}`")));
    table(out, ["cause", "field", "message"], rows);
}

fn cause(reason: &str, field: String, words: &str, text: &str) -> [String; 3] {
    [reason.to_owned(), field, said(format!("{words}{text}").trim_end_matches(": "))]
}

fn settings(found: &Found, out: &mut String) {
    section(
        out,
        "Settings",
        "What was typed cannot be used: all faults are told at once, exit 2. `kubridge COMMAND --help` says what each setting \
         takes; a setting that is not known, or lacks its value, is told with the usage.",
    );
    let faults = found.calls_in(&["src/cli"]).filter(|call| call.callee == "fault");
    let faults = faults.filter_map(|call| {
        let [setting, problem, mend] = call.args.as_slice() else { return None };
        let setting = if setting.is_empty() { "each that takes one".to_owned() } else { each(setting) };
        Some([setting, each(problem), mend.join(" / ")])
    });
    let refused = found.calls_in(&["src/config", "src/cli"]).filter(|call| call.callee == "refused");
    let refused = refused.filter_map(|call| {
        let [_, problem, mend] = call.args.as_slice() else { return None };
        let problem = problem.iter().map(|text| format!("{{text}} {text}")).collect::<Vec<_>>();
        Some(["each of this form".to_owned(), each(&problem), mend.join(" / ")])
    });
    table(out, ["setting", "said", "what to do"], faults.chain(refused).filter(|row| !row[1].is_empty()));
}

fn files(found: &Found, out: &mut String) {
    section(
        out,
        "Files and backends",
        "What a command finds cannot be used: exit 1. After the start the same texts stand in conditions and in the log.",
    );
    let places = [
        "src/app",
        "src/authn/tokens",
        "src/config/kubeconfig",
        "src/data_dir",
        "src/pki",
        "src/registry/store",
        "src/registry/manifests",
        "src/upstream/endpoint",
        "src/upstream/schema",
        "src/server/tls",
    ];
    let of = |file: &str| {
        let room =
            file.trim_start_matches("src/").split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        match room.as_str() {
            "app" => "a command".to_owned(),
            "authn" => "`--token-auth-file`".to_owned(),
            "config" => "a kubeconfig".to_owned(),
            "data_dir" => "`--data-dir`".to_owned(),
            "pki" | "server" => "keys and certificates".to_owned(),
            "registry" if file.contains("manifests") => "a file in `--manifests`".to_owned(),
            "registry" => "the store in `--data-dir`".to_owned(),
            "upstream" => "a backend".to_owned(),
            room => room.to_owned(),
        }
    };
    let row = |file: &str, text: &str| [of(file), said(text)];
    let made = found.calls_in(&places).filter(|call| is_refusal(call)).flat_map(|call| {
        let texts = call.args.last().into_iter().flatten().filter(|text| text.contains(' '));
        texts.map(|text| row(&call.file, text)).collect::<Vec<_>>()
    });
    // A variant may only hand on what another error says.
    let declared = found.variants_in(&places).filter(|variant| variant.text.contains(' '));
    let declared = declared.map(|Variant { file, text }| row(file, text));
    table(out, ["what", "said"], made.chain(declared));
}

/// What makes an error that a command ends with.
fn is_refusal(call: &Call) -> bool {
    match call.callee.as_str() {
        "bail" | "anyhow" | "Err" => true,
        "unusable" | "fault" => call.args.len() == 1,
        "context" | "with_context" => call.file.starts_with("src/app"),
        _ => false,
    }
}

fn documents(found: &Found, out: &mut String) {
    section(
        out,
        "Documents of HTTPS backends",
        "A discovery or OpenAPI document with a fault never replaces a good one. The place is a JSON pointer into the \
         document.",
    );
    let places = ["bridge/src/openapi_doc", "bridge/src/discovery_doc"];
    let faults =
        found.calls_in(&places).filter_map(|call| match (call.callee.as_str(), call.args.as_slice()) {
            ("fault", [message, mend]) | ("Fault::new", [_, message, mend]) if !message.is_empty() => {
                Some([each(message), mend.join(" / ")])
            }
            _ => None,
        });
    let declared =
        found.variants_in(&places).map(|variant| [said(&variant.text), "correct the document".to_owned()]);
    table(out, ["said", "what to do"], faults.chain(declared));
}
