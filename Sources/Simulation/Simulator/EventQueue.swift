/// What happens next: a binary heap by time, and among equal times by the order of arrival, so that two runs of one
/// seed pop the same things in the same order.
///
/// Payloads lie still in a slab; only 24-byte keys move through the heap.
struct EventQueue<Payload> {
    private struct Key {
        var time: Int64
        var order: UInt64
        var slot: Int

        func precedes(_ other: Key) -> Bool { time != other.time ? time < other.time : order < other.order }
    }
    private var heap: [Key] = []
    private var slab: [Payload?] = []
    private var free: [Int] = []
    private var nextOrder: UInt64 = 0

    var count: Int { heap.count }
    var nextTime: TrueTime? { heap.first.map { TrueTime(nanoseconds: $0.time) } }

    mutating func schedule(_ payload: Payload, at time: TrueTime) {
        let slot: Int
        if let reused = free.popLast() {
            slot = reused
            slab[slot] = payload
        } else {
            slot = slab.count
            slab.append(payload)
        }
        heap.append(Key(time: time.nanoseconds, order: nextOrder, slot: slot))
        nextOrder += 1
        siftUp(heap.count - 1)
    }

    mutating func popFirst() -> (time: TrueTime, payload: Payload)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown(0)
        }
        free.append(first.slot)
        guard let payload = slab[first.slot].take() else { preconditionFailure("a slot in the heap is never empty") }
        return (TrueTime(nanoseconds: first.time), payload)
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        let moving = heap[child]
        while child > 0 {
            let parent = (child - 1) / 2
            guard moving.precedes(heap[parent]) else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = moving
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        let moving = heap[parent]
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(moving) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = moving
    }
}
