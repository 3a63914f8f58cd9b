//! Functions that stand in WGSL and in Rust, on a device and on the host with the same words: integers must be the same bit for bit
//! everywhere, floats on a driver that computes on the processor, as IEEE 754 says; a GPU may fuse a product and a sum, and round roots.

use super::device::Device;
use crate::learning::posterior;
use crate::model::math;
use crate::rng::{self, Purpose, Stream};
use crate::stimulus::poisson;

macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!("../../../shaders/", $name, ".wgsl"))
    };
}

/// Carries out `body` for every chunk of `width` words, which it finds from `words[at]` on; the words as it leaves them.
fn computed(device: &Device, parts: &[&str], body: &str, width: usize, words: &[u32]) -> Vec<u32> {
    computed_by(device, parts, body, width, words, &[0])
}

/// The same with a table that it reads.
fn computed_by(device: &Device, parts: &[&str], body: &str, width: usize, words: &[u32], table: &[u32]) -> Vec<u32> {
    let frame = format!(
        "@group(0) @binding(0) var<storage, read_write> words: array<u32>;
        @group(0) @binding(1) var<storage, read> table_words: array<u32>;
        @compute @workgroup_size(64) fn twin(@builtin(global_invocation_id) id: vec3<u32>) {{
            let at = {width}u * id.x;
            if at < arrayLength(&words) {{ {body} }}
        }}"
    );
    let text = [&[&*frame], parts].concat().join("\n");
    let kernel = device.kernel("twin", &text, "twin", &[]).unwrap_or_else(|e| panic!("{e}"));
    let (buffer, table) = (device.storage("words", words).unwrap(), device.storage("table", table).unwrap());
    let group = device.bind(&kernel, &[&buffer, &table]).unwrap();
    let mut encoder = device.raw.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups((words.len() / width).div_ceil(64) as u32, 1, 1);
    }
    device.queue.submit([encoder.finish()]);
    device.read(&[(&buffer, 0, words.len() as u64)]).unwrap().remove(0)
}

fn random(count: usize) -> Vec<u32> {
    let mut stream = Stream::new([1, 2], Purpose::Connect, 3, 4);
    (0..count).map(|_| stream.u32()).collect()
}

/// Words in the middle and at every edge: all powers of two, and what is next to them.
fn words(count: usize) -> Vec<u32> {
    let edges = (0..32).flat_map(|bit| [(1u32 << bit).wrapping_sub(1), 1 << bit, !(1 << bit)]).chain([u32::MAX]);
    edges.chain(random(count)).collect()
}

/// Units in the last place between two numbers of the same sign; 0 for two that are not numbers.
fn apart(a: f32, b: f32) -> u32 {
    if a.is_nan() && b.is_nan() || a == b { 0 } else { a.to_bits().abs_diff(b.to_bits()) }
}

/// Within `software` ulps where a driver computes on the processor, else within `real`.
#[track_caller]
pub fn agree(device: &Device, what: &str, software: u32, real: u32, found: &[u32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let limit = if device.info.real { real } else { software };
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = f32::from_bits(*found);
        assert!(apart(found, *expected) <= limit, "{what} {i}: {found:e} on {}, {expected:e} here", device.info.name);
    }
}

/// Within `relative` of a number, and of 1 where that is more: where numbers of both signs add up.
#[track_caller]
pub fn near(device: &Device, what: &str, relative: f32, found: &[u32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = f32::from_bits(*found);
        let apart = (found - expected).abs();
        assert!(apart <= relative * expected.abs().max(1.0), "{what} {i}: {found:e} on {}, {expected:e} here", device.info.name);
    }
}

#[test]
fn philox_is_the_hosts() {
    let Some(device) = Device::for_tests() else { return };
    let mut given = random(8 * 256);
    given[..8].fill(u32::MAX);
    given[8..16].fill(0);
    let body = "
        let c = vec4<u32>(words[at], words[at + 1u], words[at + 2u], words[at + 3u]);
        let drawn = philox(c, vec2<u32>(words[at + 4u], words[at + 5u]));
        for (var n = 0u; n < 4u; n++) { words[at + n] = drawn[n]; }";
    let found = computed(&device, &[shader!("philox")], body, 8, &given);
    for (given, found) in given.chunks(8).zip(found.chunks(8)) {
        let expected = rng::philox4x32([given[0], given[1], given[2], given[3]], [given[4], given[5]]);
        assert_eq!(found[..4], expected);
    }
}

/// On every device: a number within (0, 1) is 23 bits and a half, which no rounding touches.
#[test]
fn uniform_numbers_are_the_hosts() {
    let Some(device) = Device::for_tests() else { return };
    let given: Vec<u32> = (0..1 << 16).map(|k: u32| k << 16 | k).chain(words(1 << 16)).collect();
    let found =
        computed(&device, &[shader!("normal"), shader!("log")], "words[at] = bitcast<u32>(open_unit(words[at]));", 1, &given);
    for (word, found) in given.iter().zip(&found) {
        assert_eq!(*found, posterior::unit(*word).to_bits(), "{word:#x}");
        assert!(f32::from_bits(*found) > 0.0 && f32::from_bits(*found) < 1.0);
    }
}

#[test]
fn normal_numbers_are_the_hosts() {
    let Some(device) = Device::for_tests() else { return };
    let all = words(1 << 17);
    let given = &all[..all.len() & !1];
    let body = "
        let pair = normal_pair(open_unit(words[at]), open_unit(words[at + 1u]));
        words[at] = bitcast<u32>(pair.x);
        words[at + 1u] = bitcast<u32>(pair.y);";
    let found = computed(&device, &[shader!("normal"), shader!("log")], body, 2, given);
    let pair = |w: &[u32]| posterior::normal_pair(posterior::unit(w[0]), posterior::unit(w[1]));
    let expected: Vec<f32> = given.chunks(2).flat_map(pair).collect();
    if device.info.real {
        // Near a zero of the cosine a fused product shifts its ulps without limit, but never the number.
        for (found, expected) in found.iter().zip(&expected) {
            let found = f32::from_bits(*found);
            assert!(apart(found, *expected) <= 8 || (found - expected).abs() < 1e-6, "{found:e} {expected:e}");
        }
    } else {
        agree(&device, "normal", 0, 0, &found, &expected);
    }
}

#[test]
fn exponentials_and_logarithms_are_the_hosts() {
    let Some(device) = Device::for_tests() else { return };
    let parts = [shader!("exp"), shader!("log")];
    // Every finite number whose exponential is normal, and all logarithms of normal numbers.
    let x: Vec<f32> = (0..1 << 16).map(|k| -87.3 + 176.0 * k as f32 / 65_536.0).chain([0.0, 1e-30, -1e-30]).collect();
    let found = computed(&device, &parts, "words[at] = bitcast<u32>(exp(bitcast<f32>(words[at])));", 1, bytemuck::cast_slice(&x));
    // Mesa's software driver rounds one of its operations another way; that the text is the host's model/agreement.rs tells to the bit.
    agree(&device, "exp", 1, 2, &found, &x.iter().map(|x| math::exp(*x)).collect::<Vec<_>>());
    let x: Vec<f32> = (0x0080_0000..0x7F80_0000).step_by(32_771).map(f32::from_bits).chain([1.0, f32::MAX]).collect();
    let found = computed(&device, &parts, "words[at] = bitcast<u32>(log(bitcast<f32>(words[at])));", 1, bytemuck::cast_slice(&x));
    agree(&device, "log", 0, 2, &found, &x.iter().map(|x| math::log(*x)).collect::<Vec<_>>());
    assert!(x.iter().all(|x| math::log(*x) == math::log_normal(*x)));
    let x: Vec<f32> =
        (0..1 << 16).map(|k| -12.0 + 24.0 * k as f32 / 65_536.0).chain([0.0, 1e-20, -1e-20, 0.625, -0.625]).collect();
    let found =
        computed(&device, &parts, "words[at] = bitcast<u32>(tanh(bitcast<f32>(words[at])));", 1, bytemuck::cast_slice(&x));
    agree(&device, "tanh", 4, 8, &found, &x.iter().map(|x| math::tanh(*x)).collect::<Vec<_>>());
    let x: Vec<f32> = (0..1 << 14).flat_map(|k| [0.01 + (k % 128) as f32 * 0.3, -4.0 + (k / 128) as f32 * 0.07]).collect();
    let body = "words[at] = bitcast<u32>(pow(bitcast<f32>(words[at]), bitcast<f32>(words[at + 1u])));";
    let found = computed(&device, &parts, body, 2, bytemuck::cast_slice(&x));
    for (x, found) in x.chunks(2).zip(found.chunks(2)) {
        let (expected, found) = (math::pow(x[0], x[1]), f32::from_bits(found[0]));
        let limit = 2.0 + 2.0 * (x[1] * x[0].ln()).abs();
        assert!(apart(found, expected) as f32 <= limit, "pow({}, {}): {found:e} {expected:e}", x[0], x[1]);
    }
}

/// On every device, denormal numbers included, whatever a driver makes of them elsewhere.
#[test]
fn small_numbers_are_flushed_as_by_the_host() {
    let Some(device) = Device::for_tests() else { return };
    let edges = [math::FLUSHED, 0x0FFF_FFFF, 0x1000_0000, 0x8FFF_FFFF, 0x9000_0000, 0x7F80_0000, 0xFF80_0000];
    let given: Vec<u32> = edges.into_iter().chain(words(1 << 12)).filter(|w| !f32::from_bits(*w).is_nan()).collect();
    let body = "words[at] = bitcast<u32>(flushed(bitcast<f32>(words[at])));";
    let found = computed(&device, &[shader!("flush")], body, 1, &given);
    for (word, found) in given.iter().zip(&found) {
        assert_eq!(*found, math::flush(f32::from_bits(*word)).to_bits(), "{word:#x}");
    }
}

#[test]
fn poisson_counts_are_the_hosts() {
    let Some(device) = Device::for_tests() else { return };
    let table = poisson::Table::of_means(&[0.0, 1e-6, 0.3, 8.0, 120.0, 500.0]);
    let width = table.width as u32;
    for row in 0..6 {
        // A word below, at and above every threshold.
        let edges = table.row(row).iter().flat_map(|t| [t.wrapping_sub(1), *t, t.wrapping_add(1)]);
        let given: Vec<u32> = edges.chain(words(1 << 10)).collect();
        let body = format!("words[at] = thresholds_reached({}u, {width}u, words[at]);", row as u32 * width);
        let found = computed_by(&device, &[shader!("poisson")], &body, 1, &given, &table.rows);
        for (word, found) in given.iter().zip(&found) {
            assert_eq!(*found, poisson::count(table.row(row), *word), "row {row}, {word:#x}");
        }
    }
}
