# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The commands of GhostNV. Each sets up what it needs by itself and keeps it in
# ${GHOSTNV_CACHE:-~/.cache/ghostnv}, so the second time is quick and needs no network.

.PHONY: help run test soak bench lint vectors setup clean clean-cache

help:
	@scripts/help

run:
	@scripts/run $(if $(CHIP),--chip $(CHIP))

test:
	@scripts/test

soak:
	@scripts/soak $(if $(KERNEL),--kernel $(KERNEL)) $(if $(CHIP),--chip $(CHIP)) $(PARTS)

bench:
	@scripts/bench $(if $(CHIP),--chip $(CHIP))

lint:
	@scripts/lint

vectors:
	@scripts/vectors $(if $(CHIP),--chip $(CHIP)) $(FILES)

setup:
	@scripts/setup

clean:
	@rm -rf tools/testing/ghostnv/target

clean-cache:
	@scripts/clean-cache
