//! The static token file: CSV lines of `token,user,uid` and, if wanted, `"group1,group2"`.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use kubridge_bridge::proto::UserInfo;
use sha2::{Digest as _, Sha256};

use super::authenticated;
use crate::data_dir::{DataDirError, read_text};

type Hash = [u8; 32];

/// Tokens and whose they are. Only hashes are kept: a look-up takes the same time whatever was guessed right.
#[derive(Default, PartialEq)]
pub struct TokenTable {
    users: HashMap<Hash, Arc<UserInfo>>,
}

/// Why the token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] DataDirError),
    /// It is not there.
    #[error(
        "the token file {0} does not exist: --token-auth-file names a file of token,user,uid,\"group1,group2\" lines"
    )]
    Missing(String),
    /// It can be read, and is wrong; every fault with its line.
    #[error("the token file {file} has faults (a line is: token,user,uid,\"group1,group2\")\n{}", .faults.join("\n"))]
    Faults {
        /// The file.
        file: String,
        /// "line 3: the user is missing". Never a token.
        faults: Vec<String>,
    },
}

impl fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenTable({} tokens)", self.users.len())
    }
}

impl TokenTable {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Self, TokenFileError> {
        let text = read_text(file)?.ok_or_else(|| TokenFileError::Missing(file.display().to_string()))?;
        Self::parse(&text)
            .map_err(|faults| TokenFileError::Faults { file: file.display().to_string(), faults })
    }

    /// Reads and checks the text of a file.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut table = Self::default();
        let mut lines: HashMap<Hash, usize> = HashMap::new();
        let mut faults = Vec::new();
        for (line, record) in records(text) {
            let record = match record {
                Ok(record) => record,
                Err(fault) => {
                    faults.push(format!("line {line}: {fault}"));
                    continue;
                }
            };
            let mut fault = |text: String| faults.push(format!("line {line}: {text}"));
            let [token, username, uid, rest @ ..] = record.as_slice() else {
                fault(format!("{} columns where at least token, user and uid are needed", record.len()));
                continue;
            };
            if token.is_empty() {
                fault("the token is missing".into());
            }
            if token.contains(char::is_whitespace) || !token.is_ascii() {
                fault("the token has characters that no Authorization header can carry".into());
            }
            if username.is_empty() {
                fault("the user is missing".into());
            }
            if rest.len() > 1 {
                fault(format!("{} columns: groups are one column, in quotes", record.len()));
            }
            let groups = rest.first().map_or("", String::as_str);
            let groups: Vec<String> =
                groups.split(',').map(str::trim).filter(|g| !g.is_empty()).map(str::to_owned).collect();
            let hash: Hash = Sha256::digest(token.as_bytes()).into();
            if let Some(first) = lines.insert(hash, line) {
                fault(format!("the same token as in line {first}"));
            }
            let user =
                UserInfo { username: username.clone(), uid: uid.clone(), groups, ..UserInfo::default() };
            table.users.insert(hash, Arc::new(authenticated(user)));
        }
        if faults.is_empty() { Ok(table) } else { Err(faults) }
    }

    /// Whose token it is.
    pub fn find(&self, token: &str) -> Option<&Arc<UserInfo>> {
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        self.users.get(&hash)
    }
}

type Record = Result<Vec<String>, &'static str>;

/// The records of a CSV text (RFC 4180) with their lines. Empty lines and lines that begin with `#` are none.
fn records(text: &str) -> impl Iterator<Item = (usize, Record)> + '_ {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate().filter_map(|(i, line)| {
        let line = line.trim_end();
        (!line.trim_start().is_empty() && !line.starts_with('#')).then(|| (i + 1, fields(line)))
    })
}

fn fields(line: &str) -> Record {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(' ');
        let field;
        if let Some(quoted) = rest.strip_prefix('"') {
            (field, rest) = quoted_field(quoted)?;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field = rest[..end].trim_end().to_owned();
            rest = &rest[end..];
            if field.contains('"') {
                return Err("a quote in a column that does not begin with one");
            }
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.trim().is_empty() => return Ok(fields),
            None => return Err("text after a closing quote"),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or("a quote is not closed")?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}
