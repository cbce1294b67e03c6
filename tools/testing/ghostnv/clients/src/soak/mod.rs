// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a driver must survive for days, in minutes: faults of the GPU at every step, firmware that
//! answers nonsense, and rounds of binding, killing and pulling out, after which nothing is left.
//!
//! All of it runs in one guest on the emulated GPU, whose test port takes the faults.

pub mod absurd;
pub mod card;
pub mod faults;
pub mod leaks;
pub mod rounds;
pub mod work;

use std::time::Duration;

/// How long a client waits for a job.
const JOB: Duration = Duration::from_secs(20);
/// How long binding or unbinding may take, whatever happens to the GPU.
const BOUND: Duration = Duration::from_secs(40);

/// How much of everything to do.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds of what is repeated.
    pub count: u64,
    /// Every how many steps of a sweep to take.
    pub stride: u64,
    /// By how many percent the number of a register access grows from step to step of that sweep.
    pub growth: u64,
    /// Print each step.
    pub verbose: bool,
}

/// A line of a table of results.
#[derive(Debug, Default, Clone)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// Steps.
    pub steps: u64,
    /// Of them, those after which all went on as if nothing had happened.
    pub unharmed: u64,
    /// Of them, those that ended with an error that the log explains.
    pub refused: u64,
    /// The longest, in seconds.
    pub longest: f64,
    /// What should not have been.
    pub wrong: Vec<String>,
}

impl Row {
    /// An empty line.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Prints the line; says whether nothing was wrong. That nothing was done is wrong.
    pub fn print(&self) -> bool {
        let Self { name, steps, unharmed, refused, longest, wrong } = self;
        println!(
            "{name:<34} {steps:>5} steps {unharmed:>5} unharmed {refused:>5} refused {longest:>7.1} s longest {:>3} wrong",
            wrong.len()
        );
        wrong.iter().for_each(|text| println!("  WRONG: {text}"));
        if *steps == 0 {
            println!("  WRONG: no step");
        }
        wrong.is_empty() && *steps != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_steps_is_wrong() {
        assert!(!Row::new("nothing").print());
        assert!(Row { steps: 1, ..Row::default() }.print());
        assert!(!Row { steps: 1, wrong: vec![String::new()], ..Row::default() }.print());
    }
}
