// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table of tests: a TOML file with variables per chip and tests that may name them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// A table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// By chip: what `{NAME}` in a script stands for.
    #[serde(default)]
    chip: BTreeMap<String, BTreeMap<String, String>>,
    /// Shell functions and settings that every script starts with.
    #[serde(default)]
    prelude: String,
    /// The tests.
    test: Vec<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    /// Its name.
    name: String,
    /// What it shows, in one sentence.
    about: String,
    /// Kernel driver to bind.
    driver: Option<String>,
    /// Or several, one VM each; the test's full name then starts with the driver's.
    #[serde(default)]
    drivers: Vec<String>,
    /// Chips to run on, one VM each.
    chips: Vec<String>,
    /// Further options of scripts/vm.
    #[serde(default)]
    options: Vec<String>,
    /// Seconds until the VM is stopped.
    timeout: u64,
    /// Fault script of the emulated GPU; each of its faults must fire.
    fault: Option<String>,
    /// What runs in the guest.
    script: String,
}

/// One test on one chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Test and chip.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Kernel driver to bind.
    pub driver: String,
    /// Chip.
    pub chip: String,
    /// Further options of scripts/vm.
    pub options: Vec<String>,
    /// Seconds until the VM is stopped.
    pub timeout: u64,
    /// Fault script of the emulated GPU; each of its faults must fire.
    pub fault: Option<String>,
    /// What runs in the guest.
    pub script: String,
}

impl Table {
    /// Reads and checks a table.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Self = toml::from_str(text)?;
        for (i, test) in table.test.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            ensure!(test.name.chars().all(plain), "test name \"{}\"", test.name);
            let first = table.test.iter().position(|t| t.name == test.name);
            ensure!(first == Some(i), "two tests are named {}", test.name);
            ensure!(!test.chips.is_empty(), "{} names no chip", test.name);
            ensure!(
                test.driver.is_some() == test.drivers.is_empty(),
                "{} needs either driver or drivers",
                test.name
            );
        }
        Ok(table)
    }

    /// All tests with all their drivers on all their chips.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for test in &self.test {
            for driver in test.driver.iter().chain(&test.drivers) {
                cases.extend(test.chips.iter().map(|chip| self.case(test, driver, chip)));
            }
        }
        cases
    }

    fn case(&self, test: &Test, driver: &str, chip: &str) -> Case {
        let name = if test.driver.is_some() {
            test.name.clone()
        } else {
            format!("{driver}-{}", test.name)
        };
        let mut script = format!("{}\n{}", self.prelude, test.script).replace("{driver}", driver);
        for (name, value) in self.chip.get(chip).into_iter().flatten() {
            script = script.replace(&format!("{{{name}}}"), value);
        }
        Case {
            name: format!("{name}/{chip}"),
            about: test.about.clone(),
            driver: driver.to_owned(),
            chip: chip.to_owned(),
            options: test.options.clone(),
            timeout: test.timeout,
            fault: test.fault.clone(),
            script,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVER: &str = "driver = \"nouveau\"";
    const TEXT: &str = r#"
        prelude = "set -e"
        [chip.ga102]
        gpu = "RTX 3090"
        [chip.tu102]
        gpu = "RTX 2080 Ti"
        [[test]]
        name = "list"
        about = "Lists."
        driver = "nouveau"
        chips = ["ga102", "tu102"]
        timeout = 9
        script = "grep '{gpu}' ${HOME}"
    "#;

    #[test]
    fn a_test_runs_once_a_chip_with_its_variables() {
        let cases = Table::parse(TEXT).unwrap().cases();
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[1].name, "list/tu102");
        assert_eq!(cases[1].script, "set -e\ngrep 'RTX 2080 Ti' ${HOME}");
    }

    #[test]
    fn a_test_runs_once_a_driver() {
        let text = TEXT.replace(DRIVER, "drivers = [\"nouveau\", \"ghostnv\"]");
        let cases = Table::parse(&text.replace("{gpu}", "{driver}")).unwrap().cases();
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let wanted = [
            "nouveau-list/ga102",
            "nouveau-list/tu102",
            "ghostnv-list/ga102",
            "ghostnv-list/tu102",
        ];
        assert_eq!(names, wanted);
        assert_eq!(cases[2].driver, "ghostnv");
        assert_eq!(cases[2].script, "set -e\ngrep 'ghostnv' ${HOME}");
    }

    #[test]
    fn mistakes_are_told() {
        for (from, to) in [
            ("timeout = 9", "timeout = 9\nretries = 3"),
            ("name = \"list\"", "name = \"../list\""),
            ("[\"ga102\", \"tu102\"]", "[]"),
            (DRIVER, ""),
            (DRIVER, "driver = \"ghostnv\"\ndrivers = [\"nouveau\"]"),
        ] {
            assert!(Table::parse(&TEXT.replace(from, to)).is_err(), "{to}");
        }
        let (head, test) = TEXT.split_once("[[test]]").unwrap();
        assert!(Table::parse(&format!("{head}[[test]]{test}[[test]]{test}")).is_err());
    }

    #[test]
    fn our_tables_are_sound() {
        let tables = [
            include_str!("../peers.toml"),
            include_str!("../faults.toml"),
            include_str!("../debug.toml"),
            include_str!("../soak.toml"),
        ];
        let cases = tables.iter().flat_map(|t| Table::parse(t).unwrap().cases());
        let cases: Vec<Case> = cases.collect();
        let drivers = ["nouveau", "nova-core", "ghostnv", "none"];
        assert!(cases.iter().all(|c| drivers.contains(&c.driver.as_str())));
        for case in cases {
            for known in ["{gpu}", "{mib}"] {
                assert!(!case.script.contains(known), "{}: {known} has no value", case.name);
            }
        }
    }
}
