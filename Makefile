# What a newcomer needs; everything else is cargo and the sharpwave command.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help run test test-python test-peft wheel bench bench-peers bench-gpu-bundle

help:
	@echo 'make run         install what is missing, build, teach the built-in language model a fact, simulate the quick start'
	@echo 'make test        install what is missing, run every test'
	@echo 'make wheel       build the Python package with all that it needs into target/wheels'
	@echo 'make test-python build the wheel, install it, run its tests and notebooks'
	@echo 'make bench       build, measure every engine and device here; QUICK=1 ends in two minutes'
	@echo 'make bench-peers install NEST and Brian2 (pip) into target/peers, measure them and sharpwave in turn'
	@echo 'make bench-gpu-bundle  build target/bundle/sharpwave, which runs the suite on a bare Linux machine with a GPU driver'
	@echo 'make test-peft   install torch, transformers and peft (pip, large) into target/peft, compare adapters exported and applied'

# In the development profile, whose libraries `make test` uses as well, and which takes less time to build than the release.
run:
	@scripts/setup.sh
	@mkdir -p out
	cargo build --bins --example teach_a_fact
	target/debug/examples/teach_a_fact
	target/debug/sharpwave run models/scenarios/quickstart.toml --out out/quickstart.h5 --force
	target/debug/sharpwave plot out/quickstart.h5 --out out/quickstart --force
	@ls out/quickstart/*raster* | sed 's/^/The raster: /'
	@echo 'For work: cargo build --release, then target/release/sharpwave'

test:
	@scripts/setup.sh test
	@scripts/test.sh

# maturin builds the wheel, CMake (3.26 or newer) its HDF5 library; both come through pip.
wheel:
	@scripts/setup.sh
	@test -x target/build-wheel/bin/maturin || { python3 -m venv target/build-wheel && target/build-wheel/bin/pip install --quiet maturin cmake; }
	rm -f target/wheels/sharpwave-*.whl
	cd python && PATH="$(CURDIR)/target/build-wheel/bin:$$PATH" maturin build --release --strip --features hdf5-static --out ../target/wheels

test-python: wheel
	@scripts/test_python.sh target/wheels/sharpwave-*.whl

# SHARPWAVE_PEFT_GGUF=1 compares SmolLM2 as well, where SHARPWAVE_SHARED holds it.
test-peft:
	@scripts/setup.sh
	@test -x target/peft/bin/python || python3 -m venv target/peft
	@target/peft/bin/pip install --quiet torch transformers peft gguf accelerate
	SHARPWAVE_PYTHON=target/peft/bin/python cargo test --test it peft_gives_the_same_logits -- --nocapture
	SHARPWAVE_TEST_VENV=target/peft scripts/test_python.sh

bench:
	@scripts/setup.sh
	cargo build --release
	target/release/sharpwave bench --profile $(if $(QUICK),--quick) --force --json out/bench.json --markdown out/bench.md

bench-peers:
	@scripts/setup.sh
	cargo build --release
	@test -x target/peers/bin/python || python3 -m venv target/peers
	@target/peers/bin/pip install --quiet --requirement benches/peers/requirements.txt
	@mkdir -p out
	target/peers/bin/python benches/peers/compare.py --json out/peers.json

bench-gpu-bundle:
	@scripts/bundle.sh
