// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The `ghostnv-gpu` command.

fn main() -> anyhow::Result<()> {
    Ok(())
}
