// c = alpha a b + beta c of dense matrices with any strides; orthogonal projection x - H'(Hx) is two of them (y = x H', x -= y H).
// Promises sums in ascending order of the inner index, so that a product with spikes (0 or 1) is the sum of the weights of those
// that fired, to the last bit. 64 x 64 values of c a workgroup, 4 x 4 an invocation.

struct Product {
    rows: u32,
    columns: u32,
    inner: u32,
    a_first: u32,
    a_row: u32,                 // from one row of a to the next, from one column to the next
    a_column: u32,
    b_first: u32,
    b_row: u32,
    b_column: u32,
    c_first: u32,               // c is row-major and dense
    alpha: f32,
    beta: f32,
}

@group(0) @binding(0) var<uniform> op: Product;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

const SIDE = 64u;
const DEPTH = 16u;
const PITCH = 65u;              // of a row of SIDE values, so that columns meet different banks

var<workgroup> left: array<f32, 1040>;      // DEPTH x PITCH
var<workgroup> right: array<f32, 1040>;

// The value of a tile that an invocation loads, as (along the side, along the inner index); neighbours are neighbours in memory.
fn place(e: u32, inner_is_dense: bool) -> vec2<u32> {
    return select(vec2<u32>(e % SIDE, e / SIDE), vec2<u32>(e / DEPTH, e % DEPTH), inner_is_dense);
}

fn store(row: u32, column: u32, sum: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        if row < op.rows && column + n < op.columns {
            let at = op.c_first + row * op.columns + column + n;
            var value = op.alpha * sum[n];
            if op.beta != 0.0 {
                value += op.beta * c[at];
            }
            c[at] = value;
        }
    }
}

@compute @workgroup_size(256)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_row = group.y * SIDE;
    let first_column = group.x * SIDE;
    let y = lane / 16u * 4u;
    let x = lane % 16u * 4u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var first = 0u; first < op.inner; first += DEPTH) {
        for (var e = lane; e < SIDE * DEPTH; e += 256u) {
            let of_a = place(e, op.a_column == 1u);
            let row = first_row + of_a.x;
            let a_inner = first + of_a.y;
            var value = 0.0;
            if row < op.rows && a_inner < op.inner {
                value = a[op.a_first + row * op.a_row + a_inner * op.a_column];
            }
            left[of_a.y * PITCH + of_a.x] = value;
            let of_b = place(e, op.b_row == 1u);
            let column = first_column + of_b.x;
            let b_inner = first + of_b.y;
            value = 0.0;
            if column < op.columns && b_inner < op.inner {
                value = b[op.b_first + b_inner * op.b_row + column * op.b_column];
            }
            right[of_b.y * PITCH + of_b.x] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let l = k * PITCH + y;
            let r = k * PITCH + x;
            let across = vec4<f32>(right[r], right[r + 1u], right[r + 2u], right[r + 3u]);
            s0 += left[l] * across;
            s1 += left[l + 1u] * across;
            s2 += left[l + 2u] * across;
            s3 += left[l + 3u] * across;
        }
        workgroupBarrier();
    }
    store(first_row + y, first_column + x, s0);
    store(first_row + y + 1u, first_column + x, s1);
    store(first_row + y + 2u, first_column + x, s2);
    store(first_row + y + 3u, first_column + x, s3);
}
