import Glibc
import Primitives
import Reactor
import Testing

@Suite("the event loop runs actors, timers and descriptors on one thread")
struct EventLoopTests {
    private actor Notebook {
        let loop: EventLoop
        nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
        private(set) var lines: [String] = []
        init(on loop: EventLoop) { self.loop = loop }

        func write(_ line: String) { lines.append(line) }
        var isOnLoop: Bool { loop.isOnLoop }
        nonisolated func writeFromCallback(_ line: String) { assumeIsolated { $0.lines.append(line) } }
    }

    @Test("an actor that names the loop runs on its thread")
    func executor() async {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        #expect(await Notebook(on: loop).isOnLoop)
        #expect(!loop.isOnLoop)
    }

    @Test("timers fire in the order of their deadlines, and equal ones in the order they were set")
    func timers() async throws {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let notebook = Notebook(on: loop)
        let start = SystemClock.now
        // In one go on the loop, so that none can be due before all are set.
        loop.perform {
            for (name, delay) in [("c", 60), ("a", 20), ("b", 40), ("b2", 40)] {
                loop.schedule(at: start + .milliseconds(delay)) { notebook.writeFromCallback(name) }
            }
            let cancelled = loop.schedule(at: start + .milliseconds(30)) { notebook.writeFromCallback("never") }
            loop.cancel(cancelled)
        }
        try await loop.sleep(until: start + .milliseconds(80))
        // Whoever wakes late finds them all done: the sleeper's timer is the last.
        #expect(await notebook.lines == ["a", "b", "b2", "c"])
        #expect(SystemClock.now >= start + .milliseconds(80))
    }

    @Test("a descriptor is reported when it is readable, and no more after it was cancelled")
    func descriptors() async throws {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let notebook = Notebook(on: loop)
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let (reader, writer) = (ends[0], ends[1])
        defer { [reader, writer].forEach { close($0) } }
        let watch = loop.watch(reader, for: .readable) { _ in
            var byte: UInt8 = 0
            _ = read(reader, &byte, 1)
            notebook.writeFromCallback(String(UnicodeScalar(byte)))
        }
        for letter in "hi".utf8 { _ = withUnsafeBytes(of: letter) { write(writer, $0.baseAddress, 1) } }
        // As long as it takes: how fast is not the claim.
        for _ in 0..<6000 where await notebook.lines.count < 2 { try await loop.sleep(for: .milliseconds(5)) }
        loop.cancel(watch)
        _ = withUnsafeBytes(of: UInt8(33)) { write(writer, $0.baseAddress, 1) }
        // Two turns of the loop: it has looked at its descriptors in between.
        for _ in 0..<2 { try await loop.sleep(for: .milliseconds(1)) }
        #expect(await notebook.lines == ["h", "i"])
    }

    @Test("a timer that is set from another thread wakes a loop that waits for a later one")
    func earlierTimer() async throws {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        loop.schedule(after: .seconds(3600)) {}
        let start = SystemClock.now
        try await loop.sleep(for: .milliseconds(20))
        #expect(SystemClock.now - start < .seconds(1800))
    }

    @Test("a descriptor that was cancelled and closed elsewhere does not take its successor of the same number with it")
    func reusedDescriptor() async throws {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let notebook = Notebook(on: loop)
        var (first, second): ([Int32], [Int32]) = ([0, 0], [0, 0])
        #expect(pipe(&first) == 0 && pipe(&second) == 0)
        let (number, successor) = (first[0], second[0])
        defer { (first + second).forEach { close($0) } }
        let watch = loop.watch(number, for: .readable) { _ in notebook.writeFromCallback("first") }
        // The loop waits for us in a handler, so that whatever it would put off is still undone when it goes on.
        let (isWaiting, mayGoOn) = (Locked(false), Locked(false))
        loop.perform {
            isWaiting.withLock { $0 = true }
            while !mayGoOn.withLock({ $0 }) { sched_yield() }
            loop.watch(number, for: .readable) { _ in
                var byte: UInt8 = 0
                _ = read(number, &byte, 1)
                notebook.writeFromCallback("second")
            }
        }
        while !isWaiting.withLock({ $0 }) { await Task.yield() }
        loop.cancel(watch)
        // Closes the number and takes it again, in one step.
        #expect(dup2(successor, number) == number)
        mayGoOn.withLock { $0 = true }
        for _ in 0..<2 { try await loop.sleep(for: .milliseconds(1)) }
        _ = withUnsafeBytes(of: UInt8(33)) { write(second[1], $0.baseAddress, 1) }
        for _ in 0..<2000 where await notebook.lines.isEmpty { try await loop.sleep(for: .milliseconds(5)) }
        #expect(await notebook.lines == ["second"])
    }

    @Test("a cancelled sleep ends at once")
    func cancelledSleep() async {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let start = SystemClock.now
        let sleeper = Task { try await loop.sleep(for: .seconds(60)) }
        sleeper.cancel()
        await #expect(throws: CancellationError.self) { try await sleeper.value }
        #expect(SystemClock.now - start < .seconds(30))
    }

    @Test("work handed over from many threads is all done, in each one's order")
    func handingOver() async {
        let loop = EventLoop(name: "test")
        defer { loop.stop() }
        let notebook = Notebook(on: loop)
        await withTaskGroup(of: Void.self) { group in
            for worker in 0..<4 {
                group.addTask {
                    for number in 0..<250 { loop.perform { notebook.writeFromCallback("\(worker):\(number)") } }
                }
            }
        }
        let lines = await notebook.lines
        #expect(lines.count == 1000)
        for worker in 0..<4 {
            let own = lines.filter { $0.hasPrefix("\(worker):") }
            #expect(own == (0..<250).map { "\(worker):\($0)" })
        }
    }

    @Test("of loops that have ended nothing is left, not even the room of their stacks")
    func ended() async {
        /// Address space of this process. Unit: bytes.
        func size() -> Int {
            guard let file = fopen("/proc/self/statm", "re") else { return 0 }
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 128)
            fgets(&line, 128, file)
            let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return (words.split(separator: " ").first.flatMap { Int($0) } ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
        }
        var stack = 0
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_getstacksize(&attributes, &stack)
        pthread_attr_destroy(&attributes)
        let before = size()
        let count = 400
        for _ in 0..<count {
            let loop = EventLoop(name: "short")
            await withCheckedContinuation { done in loop.perform { done.resume() } }
            loop.stop()
        }
        // Half of them: other tests run beside this one.
        #expect(size() - before < count / 2 * stack)
    }
}
