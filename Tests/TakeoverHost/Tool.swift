import Glibc
import Machine
import Primitives
import Reactor

/// One line at a time, at once: the process may be killed the moment after.
func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = write(STDOUT_FILENO, line, line.count)
}

func runTool(_ arguments: [String]) -> Never {
    switch arguments.first {
    case "hold" where arguments.count >= 5: hold(Array(arguments.dropFirst()))
    case "probe" where arguments.count == 3: probe(journal: arguments[1], specification(arguments[2]))
    case "sample" where arguments.count == 3: sample(interface: arguments[1], IPAddress(arguments[2])!)
    case "measure" where arguments.count == 3: measure(journal: arguments[1], specification(arguments[2]))
    default:
        say("usage: hold JOURNAL LEASE-MS RENEW-MS ADDRESS… | probe JOURNAL ADDRESS | sample INTERFACE ADDRESS")
        exit(2)
    }
}

/// `10.0.0.9`, `10.0.0.9@eth1`, `10.0.0.9=virtual/51`, `10.0.0.9=takeover/eth1/02:00:00:00:00:09`
func specification(_ text: String) -> FloatingAddress {
    let parts = text.split(separator: "=").map { String($0) }
    let place = parts[0].split(separator: "@").map { String($0) }
    var result = FloatingAddress(IPAddress(place[0])!, interface: place.count > 1 ? place[1] : nil)
    let mode = parts.count > 1 ? parts[1].split(separator: "/").map { String($0) } : []
    switch mode.first {
    case "virtual": result.mode = .virtual(UInt8(mode[1])!)
    case "takeover": result.mode = .takeover(spare: mode[1], HardwareAddress(mode[2])!)
    default: break
    }
    return result
}

/// Runs on the loop's executor, and ends the process.
private func onLoop(_ body: @escaping @Sendable (EventLoop) async throws -> Void) -> Never {
    let loop = EventLoop(name: "takeover")
    Task(executorPreference: loop) {
        do {
            try await body(loop)
            exit(0)
        } catch let error as TakeoverError {
            say("error \(error.problem); \(error.remedy)")
        } catch {
            say("error \(error)")
        }
        exit(1)
    }
    while true { pause() }
}

private func hold(_ arguments: [String]) -> Never {
    let lease = Duration.milliseconds(Int(arguments[1])!)
    let pace = Duration.milliseconds(Int(arguments[2])!)
    let floating = arguments.dropFirst(3).map(specification)
    Signals.block()
    onLoop { loop in
        let takeover = AddressTakeover(on: loop, journal: arguments[0]) { say("event \($0)") }
        let isOver = Locked(false)
        let signals = Signals(on: loop) { _ in isOver.withLock { $0 = true } }
        try await takeover.start()
        try await takeover.prepare(floating)
        say("ready")
        let first = SystemClock.now + lease
        try await takeover.hold(floating, epoch: 1, until: first)
        say("until \(first.nanoseconds)")
        while !isOver.withLock({ $0 }) {
            try await loop.sleep(for: pace)
            // As a lease does: the right counts from before it was asked for.
            let until = SystemClock.now + lease
            say("until \(until.nanoseconds)")
            try await takeover.renew(Dictionary(uniqueKeysWithValues: floating.map { ($0.address, until) }))
        }
        await takeover.stop()
        say("stopped")
        withExtendedLifetime(signals) {}
    }
}

private func probe(journal: String, _ floating: FloatingAddress) -> Never {
    onLoop { loop in
        let takeover = AddressTakeover(on: loop, journal: journal) { say("event \($0)") }
        try await takeover.start()
        switch await takeover.probe(floating) {
        case .silence: say("silence")
        case .held: say("held")
        case .taken(let owner, let after): say("taken \(owner) \(after.milliseconds)")
        case .failed(let error): say("failed \(error.problem)")
        }
        await takeover.stop()
    }
}

/// What the parts of a takeover cost here.
private func measure(journal: String, _ floating: FloatingAddress) -> Never {
    onLoop { loop in
        let takeover = AddressTakeover(on: loop, journal: journal) { _ in }
        try await takeover.start()
        try await takeover.prepare([floating])
        func row(_ name: String, _ times: [Int64]) {
            let sorted = times.sorted()
            let texts = [sorted[sorted.count / 2], sorted[sorted.count * 99 / 100], sorted.last!].map {
                "\(Double($0 / 100) / 10) µs"
            }
            say("\(name): median \(texts[0]), 99 % \(texts[1]), most \(texts[2])")
        }
        func time(_ body: () async throws -> Void) async rethrows -> Int64 {
            let start = SystemClock.monotonicNanoseconds
            try await body()
            return SystemClock.monotonicNanoseconds - start
        }
        var (holds, releases, renewals) = ([Int64](), [Int64](), [Int64]())
        for round in 0..<200 {
            let until = SystemClock.now + .seconds(2)
            holds.append(try await time { try await takeover.hold([floating], epoch: UInt64(round), until: until) })
            for _ in 0..<10 {
                let until = SystemClock.now + .seconds(2)
                renewals.append(try await time { try await takeover.renew([floating.address: until]) })
            }
            releases.append(await time { await takeover.release([floating.address]) })
        }
        row("hold (look, gate, add, first announcement)", holds)
        row("renew (gate)", renewals)
        row("release (gate, remove)", releases)
        await takeover.stop()
    }
}
