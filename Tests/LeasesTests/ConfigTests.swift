import Leases
import Primitives
import Testing

@Suite("numbers that could let two nodes act at once are refused")
struct ConfigTests {
    @Test("every profile is safe as it is", arguments: LeaseConfig.Profile.allCases, [true, false])
    func profiles(profile: LeaseConfig.Profile, isPair: Bool) throws {
        try LeaseConfig(profile, isPair: isPair).validate()
    }

    @Test("T is as short as the inequality allows, and not a nanosecond shorter", arguments: [true, false])
    func tight(isPair: Bool) throws {
        var config = LeaseConfig(.fast, isPair: isPair)
        config.takeover = config.shortestTakeover(for: config.term)
        try config.validate()
        // T(1−ρ) ≥ L(1+ρ) + E + (m+1)h, with the numbers of `fast`.
        let needed = isPair ? 250 * 1.01 + 10 + 3 * 50 : 500 * 1.01 + 10
        #expect(abs(config.takeover.milliseconds * 0.99 - needed) < 0.001)
        config.takeover -= .nanoseconds(2)
        #expect(throws: LeaseNumbersError.self) { try config.validate() }
    }

    @Test("the refusal has every figure of the inequality in it")
    func figures() throws {
        var config = LeaseConfig(.fast, isPair: true)
        config.takeover = .milliseconds(400)
        let error = try #require(throws: LeaseNumbersError.self) { try config.validate() }
        for figure in ["T = 400 ms", "L = 250 ms", "E = 10 ms", "m = 2", "h = 50 ms", "ρ = 0.01", "416.7 ms"] {
            #expect(error.problem.contains(figure), "\(error.problem)")
        }
        #expect(!error.remedy.isEmpty)
    }

    @Test("a term that two renewals do not fit into is refused")
    func renewal() {
        var config = LeaseConfig(.fast, isPair: false)
        config.term = .milliseconds(299)
        #expect(throws: LeaseNumbersError.termTooShort(config, needed: .milliseconds(300))) { try config.validate() }
    }

    @Test("the longest term for a T, put into the inequality again, asks for no more than that T")
    func roundTrip() {
        for isPair in [true, false] {
            let config = LeaseConfig(.calm, isPair: isPair)
            for takeover in [500, 1000, 2600, 9999] {
                let term = config.longestTerm(for: .milliseconds(takeover))
                #expect(config.shortestTakeover(for: term) <= .milliseconds(takeover))
                #expect(config.shortestTakeover(for: term + .microseconds(2)) > .milliseconds(takeover))
            }
        }
    }

    @Test("a restarted voter is silent for longer than any attempt lives, on clocks as wrong as allowed")
    func quarantine() {
        for profile in LeaseConfig.Profile.allCases {
            let config = LeaseConfig(profile, isPair: false)
            let silence = config.quarantine(longest: .zero)
            #expect(silence.seconds / (1 + config.clockError) >= config.term.seconds / (1 - config.clockError))
        }
    }
}

@Suite("T follows the gaps that are measured")
struct GapTests {
    @Test("a thousand gaps of 10 ms ask for 30 to 36 ms, and long ones widen at once")
    func widens() {
        var monitor = GapMonitor()
        var now = Instant.zero
        for _ in 0..<999 { #expect(!monitor.add(.milliseconds(10), now: now)) }
        #expect(monitor.add(.milliseconds(10), now: now))
        #expect((30.0...36.0).contains(monitor.wanted?.milliseconds ?? 0))
        now = now + .seconds(60)
        var isWider = false
        for _ in 0..<3 { isWider = monitor.add(.milliseconds(400), now: now) || isWider }
        #expect(isWider)
        #expect((1200.0...1430.0).contains(monitor.wanted?.milliseconds ?? 0))
    }

    @Test("one long gap in ten thousand changes nothing")
    func rare() {
        var monitor = GapMonitor()
        for _ in 0..<10_000 { _ = monitor.add(.milliseconds(10), now: .zero) }
        #expect(!monitor.add(.seconds(2), now: .zero))
    }

    @Test("it narrows after two hours without need, and not before")
    func narrows() {
        var monitor = GapMonitor()
        _ = monitor.advance(now: .zero)
        for _ in 0..<1001 { _ = monitor.add(.milliseconds(400), now: .zero) }
        #expect(monitor.wanted != nil)
        #expect(!monitor.advance(now: .zero + .seconds(7199)))
        #expect(monitor.advance(now: .zero + .seconds(7200)))
        #expect(monitor.wanted == nil)
    }

    @Test("gaps that ask for more than 10 s get 10 s, and the rest is told")
    func bounded() {
        var monitor = GapMonitor()
        for _ in 0..<1001 { _ = monitor.add(.seconds(5), now: .zero) }
        #expect(monitor.wanted == LeaseConfig.widestTakeover)
        #expect(monitor.unbounded ?? .zero > LeaseConfig.widestTakeover)
    }
}
