// What comes with a spike at synapses whose weight stays: the time since the source's previous spike.

fn arrive(source: u32, stamp: u32, previous: u32, delay: u32, target_address: u32) {
    elapsed = select(f32(stamp - previous) * projection.step, projection.infinity, previous == 0xffffffffu);
}

fn run_on_pre() {
    on_pre();
    elapsed = 0.0;
}
