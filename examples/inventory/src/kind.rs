//! What the two kinds have in common, and what tells them apart: validation, and who keeps the status.

use std::collections::BTreeSet;

use prost_types::Timestamp;

use crate::{
    contract::{Condition, Time},
    fault::Violation,
    meta::Meta,
    v1::{Machine, MachineStatus, PowerState, Rack},
};

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but what the inventory keeps itself.
    Main,
    /// The status.
    Status,
}

/// A kind of object in the inventory.
pub(crate) trait Kind: prost::Message + Default + Clone + PartialEq + 'static {
    /// Its name in the database and in messages.
    const PLURAL: &'static str;
    const NAMESPACED: bool;

    fn meta(&self) -> Option<&Meta>;
    fn meta_mut(&mut self) -> &mut Meta;
    /// What is wrong with it.
    fn violations(&self) -> Vec<Violation>;
    /// A selectable field, by its path. `None`: not selectable.
    fn selectable(&self, path: &str) -> Option<&str>;
    /// Fills in what the inventory keeps itself.
    fn prepare_create(&mut self, _generation: i64, _now: Timestamp) {}
    /// Takes from the stored object what this write is not about.
    fn prepare_update(&mut self, _stored: &Self, _part: Part, _generation: i64, _now: Timestamp) {}
}

impl Kind for Machine {
    const PLURAL: &'static str = "machines";
    const NAMESPACED: bool = true;

    fn meta(&self) -> Option<&Meta> {
        self.metadata.as_ref()
    }

    fn meta_mut(&mut self) -> &mut Meta {
        self.metadata.get_or_insert_default()
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let spec = self.spec.clone().unwrap_or_default();
        if spec.serial.is_empty() {
            found.push(Violation::new("spec.serial", "Required value"));
        } else if !is_serial(&spec.serial) {
            let text = "must be letters, digits, '.', '_' or '-', start with a letter or digit, and be at most 63 long";
            found.push(Violation::new("spec.serial", text));
        }
        if PowerState::try_from(spec.power).is_err() {
            found.push(Violation::new("spec.power", "must be On or Off"));
        }
        if spec.cpus < 0 {
            found.push(Violation::new("spec.cpus", "must be greater than or equal to 0"));
        }
        if spec.memory.as_ref().is_some_and(|memory| !is_quantity(&memory.string)) {
            found.push(Violation::new("spec.memory", "must be a quantity such as \"16Gi\""));
        }
        let mut names = BTreeSet::new();
        for (i, disk) in spec.disks.iter().enumerate() {
            if disk.name.is_empty() {
                found.push(Violation::new(format!("spec.disks[{i}].name"), "Required value"));
            } else if !names.insert(&disk.name) {
                found.push(Violation::new(
                    format!("spec.disks[{i}].name"),
                    format!("Duplicate value: {:?}", disk.name),
                ));
            }
            if disk.size.as_ref().is_some_and(|size| !is_quantity(&size.string)) {
                found.push(Violation::new(
                    format!("spec.disks[{i}].size"),
                    "must be a quantity such as \"500Gi\"",
                ));
            }
        }
        if spec.power_off_grace.is_some_and(|grace| !is_up_to_an_hour(grace)) {
            found.push(Violation::new("spec.powerOffGrace", "must be between 0s and 3600s"));
        }
        if self.status.as_ref().is_some_and(|status| status.power_cycles < 0) {
            found.push(Violation::new("status.powerCycles", "must be greater than or equal to 0"));
        }
        found
    }

    fn selectable(&self, path: &str) -> Option<&str> {
        (path == "spec.rack").then(|| self.spec.as_ref().map_or("", |spec| &spec.rack))
    }

    fn prepare_create(&mut self, generation: i64, now: Timestamp) {
        let mut status = MachineStatus::default();
        set_power(&mut status, wanted_power(self), generation, now);
        self.status = Some(status);
    }

    fn prepare_update(&mut self, stored: &Self, part: Part, generation: i64, now: Timestamp) {
        match part {
            Part::Status => self.spec = stored.spec.clone(),
            Part::Main => {
                let mut status = stored.status.clone().unwrap_or_default();
                if wanted_power(self) != wanted_power(stored) {
                    set_power(&mut status, wanted_power(self), generation, now);
                } else if self.spec != stored.spec {
                    status.observed_generation = generation;
                }
                self.status = Some(status);
            }
        }
    }
}

impl Kind for Rack {
    const PLURAL: &'static str = "racks";
    const NAMESPACED: bool = false;

    fn meta(&self) -> Option<&Meta> {
        self.metadata.as_ref()
    }

    fn meta_mut(&mut self) -> &mut Meta {
        self.metadata.get_or_insert_default()
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let spec = self.spec.clone().unwrap_or_default();
        if !(0..=100).contains(&spec.units) {
            found.push(Violation::new("spec.units", "must be between 0 and 100"));
        }
        if spec.battery_time.is_some_and(|time| time.seconds < 0 || time.nanos < 0) {
            found.push(Violation::new("spec.batteryTime", "must not be negative"));
        }
        found
    }

    fn selectable(&self, path: &str) -> Option<&str> {
        (path == "spec.location").then(|| self.spec.as_ref().map_or("", |spec| &spec.location))
    }
}

/// Writes a machine's power, and the condition that follows from it.
pub(crate) fn set_power(status: &mut MachineStatus, power: PowerState, generation: i64, now: Timestamp) {
    status.power = power.into();
    status.observed_generation = generation;
    let on = power == PowerState::On;
    let mut ready = Condition {
        r#type: "Ready".to_owned(),
        status: if on { "True" } else { "False" }.to_owned(),
        observed_generation: generation,
        last_transition_time: Some(Time { seconds: now.seconds, nanos: 0 }),
        reason: if on { "PoweredOn" } else { "PoweredOff" }.to_owned(),
        message: if on { "The machine is powered." } else { "The machine has no power." }.to_owned(),
    };
    match status.conditions.iter_mut().find(|condition| condition.r#type == "Ready") {
        Some(old) => {
            if old.status == ready.status {
                ready.last_transition_time = old.last_transition_time;
            }
            *old = ready;
        }
        None => status.conditions.push(ready),
    }
}

/// Whether a duration is between nothing and an hour.
pub(crate) fn is_up_to_an_hour(time: prost_types::Duration) -> bool {
    (0..3600).contains(&time.seconds) && time.nanos >= 0 || (time.seconds == 3600 && time.nanos == 0)
}

fn wanted_power(machine: &Machine) -> PowerState {
    match machine.spec.as_ref().map(|spec| spec.power()) {
        Some(PowerState::Off) => PowerState::Off,
        _ => PowerState::On,
    }
}

/// Whether a text will do as a serial number.
pub(crate) fn is_serial(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Kubernetes' syntax: a decimal number, then a suffix or an exponent.
fn is_quantity(text: &str) -> bool {
    let number = text.trim_start_matches(['+', '-']);
    let digits = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (number, suffix) = number.split_at(digits);
    let suffixes = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let exponent = || suffix.strip_prefix(['e', 'E']).is_some_and(|power| power.parse::<i16>().is_ok());
    text.len() - digits - suffix.len() <= 1
        && number.matches('.').count() <= 1
        && number.contains(|c: char| c.is_ascii_digit())
        && (suffixes.contains(&suffix) || exponent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_quantity() {
        for good in ["1", "16Gi", "500m", "1.5", "+1k", "-2", "1e3", "1E-3", ".5", "5."] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "Gi", "1 Gi", "1.2.3", "1GiB", "--1", "1e", "x"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
