// What every pass of local learning shares: the batch's own numbers, and an element for each invocation.

struct Batch {
    first: u32,                 // its first presentation among those uploaded
    slot: u32,                  // its number among the batches uploaded
    rate: f32,                  // learning rate
    first_part: f32,            // Adam: 1 - 0.9^steps, 1 - 0.999^steps
    second_part: f32,
    time_low: u32,              // presentations that the posterior has drawn
    time_high: u32,
    updates: u32,               // 1 where the posterior moves at this batch
}

@group(0) @binding(1) var<uniform> batch: Batch;

fn own_element(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.x + group.y * groups.x) * 64u + lane;
}
