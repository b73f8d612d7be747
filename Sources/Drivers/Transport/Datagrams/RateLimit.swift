import Primitives

/// Lets `rate` things a second pass, and `burst` at once: what a flood may cost us.
struct TokenBucket: Sendable {
    private let burst: Double
    private let rate: Double
    private var tokens: Double
    private var filledAt: Instant

    init(burst: Double, rate: Double, now: Instant) {
        self.burst = burst
        self.rate = rate
        tokens = burst
        filledAt = now
    }

    mutating func take(now: Instant) -> Bool {
        refill(now)
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }
    /// A full bucket remembers nothing worth keeping.
    mutating func isFull(now: Instant) -> Bool {
        refill(now)
        return tokens >= burst
    }
    private mutating func refill(_ now: Instant) {
        guard now > filledAt else { return }
        tokens = min(burst, tokens + (now - filledAt).seconds * rate)
        filledAt = now
    }
}

/// A bucket for each source address, for at most `capacity` of them: those beyond share one.
struct SourceLimiter: Sendable {
    private let burst: Double
    private let rate: Double
    private let capacity: Int
    private var buckets: [IPAddress: TokenBucket] = [:]
    private var rest: TokenBucket

    init(burst: Double, rate: Double, capacity: Int = 1_024, now: Instant) {
        self.burst = burst
        self.rate = rate
        self.capacity = capacity
        rest = TokenBucket(burst: burst, rate: rate, now: now)
    }

    mutating func take(from source: IPAddress, now: Instant) -> Bool {
        if buckets[source] == nil {
            guard buckets.count < capacity else { return rest.take(now: now) }
            buckets[source] = TokenBucket(burst: burst, rate: rate, now: now)
        }
        return buckets[source]!.take(now: now)
    }

    /// Every few seconds: forgets the sources that have been quiet long enough to have a full bucket.
    mutating func prune(now: Instant) {
        for source in buckets.keys where buckets[source]!.isFull(now: now) { buckets[source] = nil }
    }
    var count: Int { buckets.count }
}
