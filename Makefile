# What a newcomer needs; everything else is cargo and the sharpwave command.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help run test

help:
	@echo 'make run     install what is missing, build, simulate the quick start, draw its raster (out/quickstart/)'
	@echo 'make test    install what is missing, run every test'

run:
	@scripts/setup.sh
	@mkdir -p out
	cargo build --release
	cargo run --release --quiet -- run models/scenarios/quickstart.toml --out out/quickstart.h5 --force
	cargo run --release --quiet -- plot out/quickstart.h5 --out out/quickstart --force
	@ls out/quickstart/*raster* | sed 's/^/The raster: /'

test:
	@scripts/setup.sh test
	@scripts/test.sh
