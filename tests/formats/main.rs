//! What no input may do to a decoder: panic, break a promise (`fuzz`), or ask for more memory than in proportion to what
//! arrived, whatever it claims of itself.

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;
mod fuzz;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use revocation_hub::formats::message::{self, Options};
use revocation_hub::formats::wso2::translate::Untyped;
use revocation_hub::formats::wso2::{legacy_map, map, notify, snapshot, text};

thread_local! {
    /// The largest single request and the sum of all requests of this thread.
    static ASKED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(size: usize) {
    // While a thread ends there is nothing left to count in.
    let _ = ASKED.try_with(|asked| {
        let (largest, sum) = asked.get();
        asked.set((largest.max(size), sum.saturating_add(size)));
    });
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The largest single request and the sum while `run` runs.
fn asked(run: impl FnOnce()) -> (usize, usize) {
    ASKED.set((0, 0));
    run();
    ASKED.get()
}

fn decode_all(body: &[u8]) {
    let _ = map::decode(body);
    let _ = legacy_map::decode(body);
    let _ = text::decode(body);
    let _ = notify::decode(body);
    let _ = snapshot::decode(body);
    let options = Options { max_items: 1000, untyped: Untyped::Both };
    for content_type in ["amqp/map", "jms/map-message", "application/json", "application/cloudevents+json"] {
        let _ = message::decode(Some(content_type), body, &options);
    }
}

#[test]
fn a_length_that_is_not_there_costs_nothing() {
    // A text, a list, a map, a byte[] and entries of 2^31 - 1; the first once ended WSO2's own client.
    for hex in [
        "00000017000000010c7265766f6b6564546f6b656e987fffffff74",
        "0000000e0000000100a9000000047fffffff",
        "0000000e0000000100a87fffffff00000000",
        "0000000a0000000100a07fffffff",
        "7fffffff7fffffff",
        "7fffffff00000000",
        "0000000100037fffffff",
        "000000047fffffff",
    ] {
        let body = hex::decode(hex).expect("hexadecimal");
        let (largest, sum) = asked(|| decode_all(&body));
        assert!(largest <= 1024 && sum <= 8192, "{hex}: {largest} at once, {sum} altogether");
    }
}

#[test]
fn many_small_values_cost_a_fixed_amount_at_the_most() {
    // The cheapest entries there are, two bytes each, in an announced size that is right.
    let entries = 200_000_u32;
    let mut body = (4 + 2 * entries).to_be_bytes().to_vec();
    body.extend(entries.to_be_bytes());
    body.extend([0x00, 0xf0].repeat(entries as usize));
    let (largest, _) = asked(|| assert!(map::decode(&body).is_err()));
    assert!(largest <= 1024, "{largest}");

    // A deep nest of lists, and of JSON.
    let nest = [&0xffff_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &[0, 0xa9]].concat().repeat(5000);
    let json = "[".repeat(100_000);
    for body in [&nest[..], json.as_bytes()] {
        let (largest, sum) = asked(|| decode_all(body));
        assert!(largest <= 4 * body.len() && sum <= 32 * body.len(), "{largest} at once, {sum} altogether");
    }
}
