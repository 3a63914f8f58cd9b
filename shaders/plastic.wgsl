// What comes with a spike at synapses whose weight changes: `on_modulator` for every jump of their signal and `on_post` for every
// event of the target that has reached the synapse since the source's previous spike (the whole delay is dendritic: an event
// counts the delay later; a jump counts at once), in order of time, then `on_pre`. Promises the order and the inputs of the cpu
// engine. Times are ages, in steps before the end of the window, so that low words do.

// Target rows, the signal's row, then the states of the targets after each of the last steps; see remember.wgsl.
@group(0) @binding(11) var<storage, read> history: array<u32>;

var<private> own_target: u32;
var<private> own_row: u32;
// Number of the first event that is kept, and of the one that comes next.
var<private> first_kept: u32;
var<private> event_count: u32;
// Jumps of the signal that have happened.
var<private> heard: u32;
// Age of the synapse's last event that has code.
var<private> last_event: u32;

fn window_end() -> u32 {
    return window.step_low + window.steps;
}

fn in_ms(steps: u32) -> f32 {
    return f32(steps) * projection.step;
}

fn event_age(event: u32) -> u32 {
    return window_end() - history[stamp_address(own_row, event, projection.depth)];
}

fn event_column(which: u32, event: u32) -> f32 {
    return bitcast<f32>(history[column_address(own_row, event, which, projection.depth)]);
}

fn find_target(target_address: u32) {
    own_target = target_address - projection.base;
    own_row = history_row(own_target, projection.depth, projection.columns);
    event_count = history[own_row];
    first_kept = event_count - min(event_count, projection.depth);
}

// A state of the target as it was that many steps ago.
fn state_at(which: u32, age: u32) -> f32 {
    let ring = projection.dense + (which * projection.target_size + own_target) * projection.depth;
    return bitcast<f32>(history[ring + ((window_end() - age) & (projection.depth - 1u))]);
}

// A trace as constants say: in which column (0xffffffff: to 1 at each event), and its rate per ms.
fn event_trace(which: u32, before: u32) -> f32 {
    let slot = synapse_constants[which];
    var after = 1.0;
    if slot != 0xffffffffu {
        after = event_column(slot, before - 1u);
    }
    return flushed(after * exp(-since_post * bitcast<f32>(synapse_constants[which + 1u])));
}

// `since_post` and the traces where `before` events have been, the age of the present one given (on the target's clock).
fn look_back(before: u32, present: u32) {
    if before > first_kept {
        since_post = in_ms(event_age(before - 1u) - present);
        load_traces(before);
    } else {
        since_post = projection.infinity;
        clear_traces();
    }
}

fn jump_age(event: u32) -> u32 {
    return window_end() - history[stamp_address(projection.signal_row, event, projection.depth)];
}

// Did the synapses learn at the time? Otherwise it is no event to them.
fn jump_counts(event: u32) -> bool {
    return history[column_address(projection.signal_row, event, 2u, projection.depth)] == 1u;
}

// The signal after the first `count` jumps, `age` steps ago.
fn signal_at(count: u32, age: u32) -> f32 {
    let after = bitcast<f32>(history[column_address(projection.signal_row, count - 1u, 0u, projection.depth)]);
    return flushed(after * exp(-f32(jump_age(count - 1u) - age) * projection.signal_rate));
}

// The inputs that all events have, at one `present` steps ago, when the source's last spike is `since` steps before it.
fn begin_event(present: u32, since: u32) {
    since_pre = in_ms(since);
    since_event = in_ms(last_event - present);
    if READS_SIGNAL {
        if HAS_ON_MODULATOR {
            // Jumps that do not count may have come since the last event.
            var known = heard;
            while known > 1u && jump_age(known - 1u) < last_event {
                known--;
            }
            modulator_start = signal_at(known, last_event);
        }
        while !HAS_ON_MODULATOR && heard < history[projection.signal_row] && jump_age(heard) >= present {
            heard++;
        }
        modulator = signal_at(heard, present);
    }
    last_event = present;
}

// Whatever reached the synapse `present` steps ago or before, but less than `back` steps before that. The source's last spike
// was `since` steps before. Returns the number of all events of the target that have reached it.
fn catch_up(present: u32, delay: u32, back: u32, since: u32) -> u32 {
    let reach = present + delay;
    var end = event_count;
    while end > first_kept && event_age(end - 1u) < reach {
        end--;
    }
    var next = end;
    while next > first_kept && event_age(next - 1u) - reach < back {
        next--;
    }
    last_event = present + min(since, 0xffffffffu - present);
    if HAS_ON_POST && next > first_kept {
        last_event = min(last_event, event_age(next - 1u) - delay);
    }
    var jumped = 0u;
    if READS_SIGNAL {
        let count = history[projection.signal_row];
        let first = count - min(count, projection.depth) + 1u;
        jumped = count;
        while jumped > first && jump_age(jumped - 1u) < present {
            jumped--;
        }
        heard = jumped;
        while heard > first && jump_age(heard - 1u) - present < back {
            heard--;
        }
        var counted = heard - 1u;
        while HAS_ON_MODULATOR && counted >= first && !jump_counts(counted) {
            counted--;
        }
        if HAS_ON_MODULATOR && jump_counts(counted) {
            last_event = min(last_event, jump_age(counted));
        }
    }
    while next < end || (HAS_ON_MODULATOR && heard < jumped) {
        if HAS_ON_MODULATOR && heard < jumped && (next == end || jump_age(heard) + delay >= event_age(next)) {
            if jump_counts(heard) {
                let own = jump_age(heard);
                begin_event(own, since - (own - present));
                look_back(next, own + delay);
                jump = bitcast<f32>(history[column_address(projection.signal_row, heard, 1u, projection.depth)]);
                on_modulator();
            }
            heard++;
        } else {
            if HAS_ON_POST {
                let own = event_age(next) - delay;
                begin_event(own, since - (own - present));
                look_back(next, own + delay);
                load_states_of_event(next);
                on_post();
            }
            next++;
        }
    }
    return end;
}

// The last spike of a source that its synapses have learned from, `previous` being its last of all.
fn last_seen(source: u32, previous: u32) -> u32 {
    if projection.paused == 0u || (previous != 0xffffffffu && window_end() - previous < window_end() - projection.learns_from) {
        return previous;
    }
    return synapse_constants[projection.first_source_word + source];
}

// Steps from a source's last spike to `stamp`; a source starts as if it had spiked at 0.
fn steps_since(last: u32, stamp: u32) -> u32 {
    if last == 0xffffffffu {
        return select(stamp, 0xffffffffu, window.step_high > 0u);
    }
    return stamp - last;
}

fn arrive(source: u32, stamp: u32, previous: u32, delay: u32, target_address: u32) {
    if projection.learns == 0u {
        return;
    }
    find_target(target_address);
    let last = last_seen(source, previous);
    let since = steps_since(last, stamp);
    let present = window_end() - stamp;
    elapsed = select(in_ms(since), projection.infinity, last == 0xffffffffu);
    let end = catch_up(present, delay, min(since, stamp - projection.flushed), since);
    begin_event(present, since);
    // An event at this very moment is part of no trace yet.
    let together = end > first_kept && event_age(end - 1u) == present + delay;
    look_back(end - u32(together), present + delay);
    recall_states(present + delay);
}

// A weight that has left its bound stays as it is, so that the message shows what the first mistake made of it.
fn run_on_pre() {
    if projection.learns == 0u || beyond(w) {
        psc = w;
        return;
    }
    on_pre();
    elapsed = 0.0;
    since_pre = 0.0;
    since_event = 0.0;
    modulator_start = modulator;
}

// Brings the synapses of all sources up to `flush_to`, one workgroup (or several) a source; of a reading also where nothing happens.
@compute @workgroup_size(lanes)
fn flush(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32,
) {
    let source = group.x + group.y * groups.x;
    if source >= projection.source_count || projection.learns == 0u {
        return;
    }
    let last = last_seen(source, latest[projection.first_source + source].y);
    let present = window_end() - projection.flush_to;
    if last != 0xffffffffu && window_end() - last <= present {
        return;
    }
    let since = steps_since(last, projection.flush_to);
    let row = rows[source];
    let teams = lanes / team;
    load_constants();
    for (var s = group.z * teams + lane / team; s < row.y; s += groups.z * teams) {
        let stretch = stretches[row.x + s];
        for (var k = lane % team; k < stretch.count_and_form; k += team) {
            own_synapse = stretch.base + k;
            w = bitcast<f32>(synapse_words[own_synapse]);
            load_states();
            find_target(stream[stretch.position + k]);
            let end = catch_up(present, stretch.delay - projection.twice_axonal, min(since, projection.flush_to - projection.flushed), since);
            if HAS_ON_READ && projection.reading == 1u {
                begin_event(present, since);
                elapsed = since_pre;
                look_back(end, present + stretch.delay - projection.twice_axonal);
                on_read();
            }
            store_states();
        }
    }
}
