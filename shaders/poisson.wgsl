// Poisson counts by inverse transform. Promises the counts of src/stimulus/poisson.rs: the number of thresholds (ascending, in
// `table_words`) at or below a random word; 0xffffffff pads and never counts.

fn thresholds_reached(first: u32, width: u32, word: u32) -> u32 {
    let limited = min(word, 0xfffffffeu);
    var low = 0u;
    var high = width;
    while low < high {
        let middle = (low + high) >> 1u;
        if table_words[first + middle] <= limited {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}
