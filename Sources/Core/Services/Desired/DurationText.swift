/// Lengths of time as people write them in a file: `250ms`, `5s`, `10m`, `1h`, `1d`.
package enum DurationText {
    private static let units: [(suffix: String, nanoseconds: Int64)] = [
        ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ]
    package static let rule = "a length of time such as 250ms, 5s, 10m, 1h or 1d"

    /// nil when it is none, negative, or longer than a year.
    package static func read(_ text: some StringProtocol) -> Duration? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard (1...9).contains(digits.count), let number = Int64(digits) else { return nil }
        let suffix = String(text.dropFirst(digits.count))
        guard let unit = units.first(where: { $0.suffix == suffix }) else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: unit.nanoseconds)
        guard !overflow, product <= 366 * 86_400_000_000_000 else { return nil }
        return .nanoseconds(product)
    }

    /// In the largest unit that it is a whole number of, so that `read` gives the same back; below a millisecond it is
    /// cut off.
    package static func write(_ duration: Duration) -> String {
        let nanoseconds = max(0, duration.nanoseconds)
        guard nanoseconds > 0 else { return "0s" }
        let unit = units.first { nanoseconds % $0.nanoseconds == 0 } ?? ("ms", 1_000_000)
        return "\(nanoseconds / unit.nanoseconds)\(unit.suffix)"
    }
}
