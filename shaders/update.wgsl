// The neurons of one model, one invocation each. Promises the schedule of src/engine/mod.rs: arrived input and drives are summed as
// integers, currents are added, `integrate` runs `substeps` times, then `update`; spikes go to the list. The frame that ends in
// `step_neurons` (shared.wgsl or owned.wgsl) says which neurons an invocation takes, and in which words their input arrives.

override ring_slots: u32;
override ring_stride: u32;      // accumulators of one slot
override port_stride: u32;      // accumulators of one port
override team_count: u32;       // teams of 64 neurons, each of one population
override population_words: u32; // in `table_words`: where the populations stand, and the drives
override drive_words: u32;

struct Population {
    size: u32,
    first_id: u32,              // global id of its first neuron
    first_accumulator: u32,     // where workgroups share the accumulators
    first_state: u32,           // in `state_words`; one array a state variable
    operands: u32,              // in `table_words`: (base, stride) of each constant
    sums: u32,                  // in `table_words`: how each port sums (5 words: weight of one unit, then `Digits` of src/network/digits.rs)
    first_drive: u32,
    end_drive: u32,
    current_row: u32,           // of `currents`
    substeps: u32,
}

// kind 0: Poisson trains, `amount` = integer weight, onto `port`; table of thresholds at `table`, `width` a row.
// kind 1: a current for each neuron, f32 at `table`.
// kind 2: noise current, std `scale`, mean `offset`, redrawn every `width` steps.
struct Drive {
    kind: u32,
    port: u32,
    amount: i32,
    table: u32,
    width: u32,
    rows: u32,                  // in `table_words`: row of each neuron; 0xffffffff: all use the first
    scale: f32,
    offset: f32,
    key: vec2<u32>,
    start: vec2<u32>,           // active steps, low and high word
    stop: vec2<u32>,
}

// (population, first neuron) of every team, then what constants and drives refer to, populations and drives.
@group(0) @binding(5) var<storage, read> table_words: array<u32>;
@group(0) @binding(6) var<storage, read_write> state_words: array<u32>;
// Currents that are the same for all neurons of a population, step by step.
@group(0) @binding(7) var<storage, read> currents: array<f32>;

var<private> own_population: Population;
var<private> own_neuron: u32;
var<private> own_accumulator: u32;
var<private> own_step: u32;

// ---- the model, as its file gives it -------------------------------------------------------------------------------------
//{model}
// ---- the model's constants, states, ports and current --------------------------------------------------------------------
//{access}
// --------------------------------------------------------------------------------------------------------------------------

// Takes the neuron of that lane of a team; false: there is none.
fn find_neuron(team: u32, lane: u32) -> bool {
    if team >= team_count {
        return false;
    }
    let at = population_words + 10u * table_words[2u * team];
    own_neuron = table_words[2u * team + 1u] + lane;
    own_population = Population(
        table_words[at], table_words[at + 1u], table_words[at + 2u], table_words[at + 3u], table_words[at + 4u],
        table_words[at + 5u], table_words[at + 6u], table_words[at + 7u], table_words[at + 8u], table_words[at + 9u],
    );
    return own_neuron < own_population.size;
}

fn drive_at(which: u32) -> Drive {
    let at = drive_words + 14u * which;
    return Drive(
        table_words[at], table_words[at + 1u], bitcast<i32>(table_words[at + 2u]), table_words[at + 3u], table_words[at + 4u],
        table_words[at + 5u], bitcast<f32>(table_words[at + 6u]), bitcast<f32>(table_words[at + 7u]),
        vec2<u32>(table_words[at + 8u], table_words[at + 9u]), vec2<u32>(table_words[at + 10u], table_words[at + 11u]),
        vec2<u32>(table_words[at + 12u], table_words[at + 13u]),
    );
}

fn constant_word(which: u32) -> u32 {
    let operand = own_population.operands + 2u * which;
    return table_words[table_words[operand] + table_words[operand + 1u] * own_neuron];
}

fn state_address(which: u32) -> u32 {
    return own_population.first_state + which * own_population.size + own_neuron;
}

fn state_word(which: u32) -> u32 {
    return state_words[state_address(which)];
}

fn set_state_word(which: u32, word: u32) {
    state_words[state_address(which)] = word;
}

// A state that is no number of magnitude up to `limit` (its bits) is reported in the last mark: the smallest id, as its distance
// from the largest number.
fn set_state_float(which: u32, value: f32, limit: u32) {
    let word = bitcast<u32>(value);
    set_state_word(which, word);
    if (word & 0x7fffffffu) > limit {
        atomicMax(&marks[arrayLength(&marks) - 1u].begin, 0xffffffffu - own_population.first_id - own_neuron);
    }
}

fn drive_active(drive: Drive) -> bool {
    let step = step_number(own_step);
    return !step_before(step, drive.start) && step_before(step, drive.stop);
}

// Events of a Poisson drive in this step.
fn poisson_count(drive: Drive) -> u32 {
    let step = step_number(own_step);
    let block = philox(vec4<u32>(own_neuron >> 2u, step.x, step.y, 7u), drive.key);
    var row = 0u;
    if drive.rows != 0xffffffffu {
        row = table_words[drive.rows + own_neuron];
    }
    return thresholds_reached(drive.table + row * drive.width, drive.width, block[own_neuron & 3u]);
}

// The integer sum that arrives in this step at a port, or at a digit of one; the slot is left empty for a later step.
fn port_units(port: u32) -> i32 {
    let slot = (window.slot + own_step) % ring_slots;
    var units = take_units(slot * ring_stride + port * port_stride + own_accumulator);
    for (var d = own_population.first_drive; d < own_population.end_drive; d++) {
        let drive = drive_at(d);
        if drive.kind == 0u && drive.port == port && drive_active(drive) {
            units += i32(poisson_count(drive)) * drive.amount;
        }
    }
    return units;
}

var<private> digits: array<i32, 16>;

// 2 ^ exponent, from -126 to 127.
fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(exponent + 127) << 23u);
}

// What arrives at a port in this step: whole units, and what is summed in digits. Each digit hands its carry upwards, so that those
// below the highest are not negative and the parts add up from the largest on without one cancelling another.
fn port_sum(port: u32) -> f32 {
    let at = own_population.sums + 5u * port;
    let plain = f32(port_units(port)) * bitcast<f32>(table_words[at]);
    let count = min(table_words[at + 2u], 16u);
    if count == 0u {
        return plain;
    }
    let bits = table_words[at + 3u];
    let lowest = bitcast<i32>(table_words[at + 4u]);
    var carry = 0;
    for (var k = 0u; k < count; k++) {
        let units = port_units(table_words[at + 1u] + k) + carry;
        carry = select(units >> bits, 0, k + 1u == count);
        digits[k] = units - (carry << bits);
    }
    var sum = 0.0;
    for (var k = count; k > 0u; k--) {
        sum += f32(digits[k - 1u]) * power_of_two(lowest + i32((k - 1u) * bits));
    }
    return plain + sum;
}

// A step number by an interval: quotient, low and high word (schoolbook division by halves of 16 bits; divisor below 65,536).
fn step_quotient(step: vec2<u32>, divisor: u32) -> vec2<u32> {
    let high = step.y / divisor;
    let a = ((step.y % divisor) << 16u) | (step.x >> 16u);
    let b = ((a % divisor) << 16u) | (step.x & 0xffffu);
    return vec2<u32>(((a / divisor) << 16u) | (b / divisor), high);
}

// Box-Muller, see src/stimulus/current.rs.
fn noise_current(drive: Drive) -> f32 {
    let step = step_number(own_step);
    let since = vec2<u32>(step.x - drive.start.x, step.y - drive.start.y - select(0u, 1u, step.x < drive.start.x));
    let interval = step_quotient(since, drive.width);
    let block = philox(vec4<u32>(own_neuron >> 2u, interval.x, interval.y, 9u), drive.key);
    let j = own_neuron & 2u;
    let pair = normal_pair((f32(block[j]) + 0.5) * 0x1p-32f, f32(block[j + 1u]) * 0x1p-32f);
    return drive.offset + drive.scale * pair[own_neuron & 1u];
}

fn current_sum() -> f32 {
    var sum = currents[own_population.current_row * window.batch_steps + window.first + own_step];
    for (var d = own_population.first_drive; d < own_population.end_drive; d++) {
        let drive = drive_at(d);
        if drive.kind == 1u && drive_active(drive) {
            sum += bitcast<f32>(table_words[drive.table + own_neuron]);
        } else if drive.kind == 2u && drive_active(drive) {
            sum += noise_current(drive);
        }
    }
    return sum;
}

// Steps of this window, from one on and before another.
fn advance_neuron(from_step: u32, end_step: u32) {
    load_constants();
    load_states();
    for (own_step = from_step; own_step < end_step; own_step++) {
        load_inputs();
        spike = false;          // a substep may set it
        for (var substep = 0u; substep < own_population.substeps; substep++) {
            integrate();
        }
        update();
        if spike {
            record_spike(own_step, own_population.first_id + own_neuron, spike_count());
        }
    }
    store_states();
}
