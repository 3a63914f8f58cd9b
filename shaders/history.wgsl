// The recent events of the targets of plastic synapses, a row a neuron (and the jumps of a signal, one row more): how many there were, how many there were when all
// synapses were last brought up to date, and up to which stamp that was; then the last `depth` stamps, then columns of what holds
// just after each event (traces). Events are counted from the first; the one numbered k stands at k modulo `depth`. Promises
// addresses only: the host sees to it that nothing needed is overwritten.

const HISTORY_HEAD: u32 = 3u;

fn history_row(neuron: u32, depth: u32, columns: u32) -> u32 {
    return neuron * (HISTORY_HEAD + depth * (1u + columns));
}

fn stamp_address(row: u32, event: u32, depth: u32) -> u32 {
    return row + HISTORY_HEAD + (event & (depth - 1u));
}

fn column_address(row: u32, event: u32, column: u32, depth: u32) -> u32 {
    return row + HISTORY_HEAD + (column + 1u) * depth + (event & (depth - 1u));
}
