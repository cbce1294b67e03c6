// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table: what is compared, and what GhostNV is held to.

use serde::Serialize;

use super::figures::Figures;

/// What a row must come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// At most so much of nouveau's figure.
    Ratio(f64),
    /// At most so much of nova-core's.
    OfNova(f64),
    /// At most this.
    AtMost(f64),
    /// Nothing: printed to be seen.
    None,
}

/// A row.
#[derive(Debug, Clone)]
pub struct Row {
    /// For people.
    pub title: String,
    /// The figure's name.
    pub figure: String,
    /// What it is held to.
    pub target: Target,
}

/// A row with its figures.
#[derive(Debug, Serialize)]
pub struct Line {
    title: String,
    ghostnv: Option<f64>,
    nouveau: Option<f64>,
    ratio: Option<f64>,
    target: String,
    /// Nothing if there is no target, or no figure.
    met: Option<bool>,
}

/// All rows, for these numbers of live objects.
pub fn rows(live: &[u64]) -> Vec<Row> {
    let row = |title: &str, figure: &str, target| Row {
        title: title.to_owned(),
        figure: figure.to_owned(),
        target,
    };
    let third = Target::Ratio(1.0 / 3.0);
    let mut rows = vec![
        row("EXEC to doorbell: instructions", "exec instructions", third),
        row("EXEC to doorbell: register reads", "exec reads", Target::AtMost(0.0)),
        row("EXEC to doorbell: register writes", "exec writes", Target::AtMost(1.0)),
        row("EXEC to doorbell: work items", "exec work items", Target::AtMost(0.0)),
        row("EXEC to doorbell: allocations", "exec allocations", Target::AtMost(2.0)),
        row("interrupt to waiter: work items", "completion work items", Target::AtMost(0.0)),
        row("interrupt to waiter: register reads", "completion reads", Target::None),
        row("interrupt to waiter: instructions", "completion instructions", Target::Ratio(0.6)),
        row("interrupt to waiter: ns, with counter", "completion ns", Target::Ratio(0.6)),
        row("EXEC and wait for it: ns", "ns exec", Target::None),
    ];
    for size in ["4K", "64K", "2M"] {
        for count in [1, 64, 1024] {
            let name = format!("bind-{size}-{count}");
            rows.push(row(
                &format!("VM_BIND map+unmap, {count} x {size}: instructions/op"),
                &format!("{name} instructions"),
                Target::Ratio(0.5),
            ));
            for call in ["map", "unmap"] {
                rows.push(row(
                    &format!("VM_BIND {call}, {count} x {size}: TLB invalidates"),
                    &format!("{name} {call} invalidates"),
                    Target::AtMost(1.0),
                ));
            }
        }
    }
    for (index, count) in live.iter().enumerate() {
        let target = if index + 1 == live.len() { Target::Ratio(0.5) } else { Target::None };
        rows.push(row(
            &format!("GEM create+map+free, {count} live: instructions"),
            &format!("gem-{count} instructions"),
            target,
        ));
    }
    rows.extend([
        row("RPC: instructions", "rpc instructions", Target::None),
        row("RPC round trip: ns", "ns rpc", Target::Ratio(1.0)),
        row("RPC round trip, last one of unbind: us", "rpc unload us", Target::OfNova(1.0 / 50.0)),
        row("probe to render node: s", "probe", Target::Ratio(0.7)),
        row("Vulkan device create+destroy: ms", "vk-cycle", Target::Ratio(0.7)),
        row("memory per open file: bytes", "bytes-per-file", Target::Ratio(1.0)),
        row("memory per channel: bytes", "bytes-per-channel", Target::Ratio(1.0)),
        row("memory per mapping: bytes", "bytes-per-mapping", Target::Ratio(1.0)),
        row("module .text: bytes", "text", Target::Ratio(1.0)),
    ]);
    rows
}

/// The growth of a cycle's cost with the number of live objects, and how much is logarithmic.
pub fn growth(live: &[u64], figures: &Figures) -> Option<(f64, f64)> {
    let cost = |n: &u64| figures.get(&format!("gem-{n} instructions"));
    let (first, last) = (live.first()?, live.last()?);
    Some((cost(last)? / cost(first)?, (*last as f64).log2() / (*first as f64).log2()))
}

impl Row {
    /// Its line.
    pub fn line(&self, ghostnv: &Figures, nouveau: &Figures, nova: &Figures) -> Line {
        let ours = ghostnv.get(&self.figure);
        let other = match self.target {
            Target::OfNova(_) => nova,
            _ => nouveau,
        };
        let other = other.get(&self.figure);
        let ratio = ours.zip(other).filter(|(_, n)| *n != 0.0).map(|(g, n)| g / n);
        let target = match self.target {
            Target::Ratio(most) => format!("<= {most:.2} of nouveau"),
            Target::OfNova(most) => format!("<= {most:.2} of nova-core"),
            Target::AtMost(most) => format!("<= {most}"),
            Target::None => String::new(),
        };
        let met = match self.target {
            Target::Ratio(most) | Target::OfNova(most) => ratio.map(|r| r <= most),
            Target::AtMost(most) => ours.map(|g| g <= most),
            Target::None => None,
        };
        Line { title: self.title.clone(), ghostnv: ours, nouveau: other, ratio, target, met }
    }
}

impl Line {
    /// Whether its target is missed.
    pub fn is_missed(&self) -> bool {
        self.met == Some(false)
    }

    /// Whether it has a target but no figure to hold against it.
    pub fn is_unknown(&self) -> bool {
        self.met.is_none() && !self.target.is_empty()
    }
}

/// The table's first line.
pub fn heading() -> String {
    format!("{:<50} {:>12} {:>12} {:>6}  {:<19} met", "", "ghostnv", "other", "ratio", "to reach")
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |value: Option<f64>| match value {
            None => "-".to_owned(),
            Some(v) if v.fract() == 0.0 || v.abs() >= 100.0 => format!("{v:.0}"),
            Some(v) => format!("{v:.2}"),
        };
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None if self.is_unknown() => "?",
            None => "",
        };
        write!(
            f,
            "{:<50} {:>12} {:>12} {:>6}  {:<19} {met}",
            self.title,
            number(self.ghostnv),
            number(self.nouveau),
            self.ratio.map_or_else(|| "-".into(), |r| format!("{r:.2}")),
            self.target
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_held_against_figures() {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        ours.add("a", 4.0);
        theirs.add("a", 10.0);
        let none = Figures::default();
        let cases = [
            (Target::Ratio(0.5), Some(true)),
            (Target::Ratio(0.3), Some(false)),
            (Target::AtMost(4.0), Some(true)),
            (Target::AtMost(3.0), Some(false)),
            (Target::OfNova(0.5), None),
            (Target::None, None),
        ];
        for (target, met) in cases {
            let row = Row { title: "t".into(), figure: "a".into(), target };
            let line = row.line(&ours, &theirs, &none);
            assert_eq!(line.met, met, "{target:?}");
            assert_eq!(line.is_missed(), met == Some(false));
            assert_eq!(line.is_unknown(), matches!(target, Target::OfNova(_)));
        }
    }

    #[test]
    fn growth_is_from_the_least_to_the_greatest() {
        let mut figures = Figures::default();
        figures.add("gem-1024 instructions", 10.0);
        figures.add("gem-1048576 instructions", 15.0);
        assert_eq!(growth(&[1024, 1 << 20], &figures), Some((1.5, 2.0)));
        assert_eq!(growth(&[1024, 7], &figures), None);
    }
}
