// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The judge: counts what no correct driver does.
//!
//! A *violation* is something hardware would reject, or would silently get wrong: DMA to memory
//! that the guest did not map, a stale TLB entry that is used, a malformed RPC. A *note* is an
//! oddity that a correct driver may cause, such as a read of a register the model does not know.
//! Violations named in an allow-list (one per driver) are counted apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many texts are kept for each rule; all are counted.
const KEPT_TEXTS: usize = 8;

/// What happened under one rule.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// The first few, each with its time in nanoseconds.
    pub texts: Vec<(u64, String)>,
}

impl Tally {
    fn add(&mut self, now: u64, text: String) {
        self.count += 1;
        if self.texts.len() < KEPT_TEXTS {
            self.texts.push((now, text));
        }
    }
}

/// One allowed deviation of a peer driver: a rule, a part of its text, and why.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Name of the rule.
    pub rule: String,
    /// The violation's text must contain this.
    #[serde(default)]
    pub contains: String,
    /// The explanation from the driver's source; must not be empty.
    pub why: String,
}

/// An allow-list file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowList {
    /// The `[[allow]]` entries.
    #[serde(default)]
    pub allow: Vec<Allowance>,
}

/// Collects violations and notes.
#[derive(Default)]
pub struct Judge {
    /// Violations by rule.
    pub violations: BTreeMap<&'static str, Tally>,
    /// Violations that the allow-list explains, by rule.
    pub allowed: BTreeMap<&'static str, Tally>,
    /// Oddities by name.
    pub notes: BTreeMap<String, u64>,
    /// What the allow-list explains.
    pub allow: Vec<Allowance>,
    /// Print violations to standard error as they happen.
    pub loud: bool,
}

/// Most distinct notes kept, because their names come from the guest.
const MOST_NOTES: usize = 4096;

impl Judge {
    /// Whether the allow-list explains a violation.
    pub fn allows(&self, rule: &str, text: &str) -> bool {
        self.allow.iter().any(|a| a.rule == rule && text.contains(&a.contains))
    }

    /// Counts a violation. Units call [`super::Env::violation`], which also traces it.
    pub fn violation(&mut self, now: u64, rule: &'static str, text: String) {
        let allowed = self.allows(rule, &text);
        let map = if allowed { &mut self.allowed } else { &mut self.violations };
        let tally = map.entry(rule).or_default();
        if self.loud && !allowed && tally.count < KEPT_TEXTS as u64 {
            eprintln!("violation: {rule}: {text}");
        }
        tally.add(now, text);
    }

    /// Counts an oddity.
    pub fn note(&mut self, name: impl Into<String>) {
        let name = name.into();
        if let Some(count) = self.notes.get_mut(&name) {
            *count += 1;
        } else if self.notes.len() < MOST_NOTES {
            self.notes.insert(name, 1);
        }
    }

    /// Number of violations that no allow-list explains.
    pub fn count(&self) -> u64 {
        self.violations.values().map(|t| t.count).sum()
    }

    /// Whether a rule was violated; for tests.
    pub fn caught(&self, rule: &str) -> bool {
        self.violations.contains_key(rule)
    }
}
