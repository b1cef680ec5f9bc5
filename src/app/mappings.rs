//! Mapping files, as the command line names them.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::Context as _;
use kubridge_bridge::mapping::MappingFile;

/// Reads mapping files; an error has every fault of all of them.
pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<MappingFile>> {
    let (mut read, mut faults) = (Vec::new(), String::new());
    for file in files {
        let name = file.display().to_string();
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read the mapping file {name}"))?;
        match MappingFile::read(&name, &text) {
            Ok(mappings) => read.extend(mappings),
            Err(found) => found.iter().for_each(|fault| {
                let _ = write!(faults, "\n- {fault}");
            }),
        }
    }
    anyhow::ensure!(faults.is_empty(), "what a mapping file says cannot be used:{faults}");
    Ok(read)
}
